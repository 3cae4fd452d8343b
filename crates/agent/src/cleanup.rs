//! Removes what an agent leaves in the kernel, and only that.

use std::collections::BTreeSet;

use podway_cni::HOST_PORTS_TABLE;
use podway_dataplane::names::{
    LOOPBACK_TABLE, MASQUERADE_TABLE, POLICY_TABLE, PROXY_TABLE, SERVICE_TABLE,
};
use podway_dataplane::overlay;
use podway_dataplane::service::{
    self, Anchor, Removal, ServiceBackend as _, ServiceSettings, Succession, nftables,
};
use podway_kernel::nft::{self, Nft, Nftables, Operation, Transaction};
use podway_kernel::route::{self, Rtnetlink};

use crate::error::Error;
use crate::feature::chain;
use crate::run::require_privilege;

/// Removes the nftables tables, the tunnels and the pods' interfaces of the
/// calling thread's network namespace, and returns the names of what was there.
/// Pods that run lose their network.
///
/// # Errors
/// [`Error::Cleanup`] with all that could not be removed; the rest is gone.
pub fn cleanup() -> Result<Vec<String>, Error> {
    require_privilege()?;
    let mut removed = Vec::new();
    let mut failures = Vec::new();
    let mut note = |object: String, outcome: Result<bool, String>| match outcome {
        Ok(true) => removed.push(object),
        Ok(false) => {}
        Err(error) => failures.push(format!("{object}: {error}")),
    };
    match remove_services() {
        Ok(modes) => {
            for mode in modes {
                note(format!("services in mode {mode}"), Ok(true));
            }
        }
        Err(error) => note("services".to_owned(), Err(chain(&error))),
    }
    for table in [
        SERVICE_TABLE,
        PROXY_TABLE,
        LOOPBACK_TABLE,
        POLICY_TABLE,
        MASQUERADE_TABLE,
        HOST_PORTS_TABLE,
    ] {
        let outcome = remove_table(table).map_err(|error| chain(&error));
        note(format!("table inet {table}"), outcome);
    }
    match remove_overlays() {
        Ok(removed) => {
            for object in removed {
                note(object, Ok(true));
            }
        }
        Err(error) => note("the overlay".to_owned(), Err(error)),
    }
    let outcome = remove_pod_links().map_err(|error| chain(&error));
    note("interfaces of pods".to_owned(), outcome);
    if failures.is_empty() {
        Ok(removed)
    } else {
        Err(Error::Cleanup(failures))
    }
}

/// Every mode that has something here.
fn remove_services() -> Result<BTreeSet<&'static str>, service::Error> {
    let modes = Anchor::open()?.notes()?;
    if !modes.is_empty() {
        Succession::open(&nftables::SPEC, ServiceSettings::default())?.cleanup()?;
    }
    Ok(modes)
}

/// Removes what serves Services in any mode, and nothing else of ours.
///
/// # Errors
/// [`Error::Cleanup`] with what could not be removed.
pub fn cleanup_proxy() -> Result<Vec<String>, Error> {
    require_privilege()?;
    let modes = remove_services().map_err(|error| Error::Cleanup(vec![chain(&error)]))?;
    let said = |mode| format!("services in mode {mode}");
    Ok(modes.into_iter().map(said).collect())
}

/// Removes what kube-proxy has left in the calling thread's network namespace.
///
/// # Errors
/// [`Error::Cleanup`] with what could not be removed.
pub fn remove_kube_proxy() -> Result<Vec<Removal>, Error> {
    require_privilege()?;
    service::remove_kube_proxy().map_err(|error| Error::Cleanup(vec![chain(&error)]))
}

fn remove_table(table: &str) -> Result<bool, nft::Error> {
    let mut nft = Nft::open()?;
    if nft.dump(table)?.is_none() {
        return Ok(false);
    }
    let mut transaction = Transaction::new(table);
    transaction.push(Operation::DeleteTable);
    nft.apply(&transaction)?;
    Ok(true)
}

fn remove_overlays() -> Result<Vec<String>, String> {
    let mut socket = Rtnetlink::open().map_err(|error| chain(&error))?;
    overlay::cleanup(&mut socket).map_err(|error| chain(&error))
}

fn remove_pod_links() -> route::Result<bool> {
    Rtnetlink::open()?.delete_group(podway_cni::LINK_GROUP)
}
