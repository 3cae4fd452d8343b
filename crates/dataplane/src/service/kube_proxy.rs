//! What kube-proxy leaves on a node: it may serve beside us, and is removed only
//! when somebody asks for it.

use podway_kernel::nft::{Family, Nft};

use super::anchor::Anchor;
use super::{Error, ServiceBackend as _, ServiceSettings, iptables, ipvs};

/// kube-proxy's nf_tables table, in families ip and ip6.
const TABLE: &str = "kube-proxy";

/// What became of something of kube-proxy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// It was there, and is not any more.
    Removed(String),
    /// It is kept, and why.
    Kept(String),
}

/// Removes everything of kube-proxy in the calling thread's network namespace,
/// whichever of its modes it was in. Connections that it has translated go on as
/// long as somebody serves here (the anchor is there); virtual servers that have
/// connections stay, and take no new ones.
///
/// # Errors
/// What could not be removed; the rest may be there still.
pub fn remove_kube_proxy() -> Result<Vec<Removal>, Error> {
    let mut done = Vec::new();
    let mut nftables = Nft::open()?;
    for (family, name) in [(Family::Ip, "ip"), (Family::Ip6, "ip6")] {
        if nftables.delete_table_of(family, TABLE)? {
            done.push(Removal::Removed(format!("table {name} {TABLE}")));
        }
    }
    let ours = Anchor::open()?.notes()?;
    let named_alike = [iptables::SPEC.name, ipvs::SPEC.name];
    if let Some(mode) = named_alike.into_iter().find(|mode| ours.contains(mode)) {
        done.push(Removal::Kept(format!(
            "chains KUBE-*: mode {mode} of Podway has taken them over"
        )));
        return Ok(done);
    }
    done.extend(remove_virtual_servers()?);
    done.extend(remove_rules()?);
    Ok(done)
}

/// Before the rules: those of both modes have names in common.
fn remove_virtual_servers() -> Result<Option<Removal>, Error> {
    if !ipvs::is_there()? {
        return Ok(None);
    }
    let mut backend = (ipvs::SPEC.open)(ServiceSettings::default())?;
    Ok(Some(if backend.leave()? {
        Removal::Removed("virtual servers, their sets, rules and interface".to_owned())
    } else {
        let what = "virtual servers that have connections: ask again when these have ended";
        Removal::Kept(what.to_owned())
    }))
}

fn remove_rules() -> Result<Option<Removal>, Error> {
    let mut backend = iptables::open_kernel(ServiceSettings::default())?;
    let is_there = backend.is_there()?;
    if is_there {
        backend.cleanup()?;
    }
    Ok(is_there.then(|| Removal::Removed("iptables chains KUBE-*".to_owned())))
}
