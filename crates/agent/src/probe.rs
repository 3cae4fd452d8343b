//! Whether the kernel can do what the configuration asks for.
//!
//! Asked of the kernel itself, by doing it in a network namespace that nobody
//! else sees and that goes away at once: version numbers and configuration
//! files do not say what a distribution left out.

use std::net::Ipv4Addr;

use podway_dataplane as dataplane;
use podway_kernel::netns::NetNs;
use podway_kernel::route::{self, NewLink, Rtnetlink, VethPeer, Vxlan};
use podway_model::ClusterState;

use crate::config::Configuration;
use crate::error::Error;
use crate::feature::{Scope, WriteError};
use crate::features::{Counters, Features};

/// Tries everything that is switched on; the error names what is missing.
pub(crate) fn probe(config: &Configuration) -> Result<(), Error> {
    let namespace = match NetNs::anonymous() {
        Ok(namespace) => namespace,
        Err(error) => {
            // Needs CAP_SYS_ADMIN, which the agent itself does not.
            tracing::info!(%error, "kernel not probed");
            return Ok(());
        }
    };
    let outcome = namespace.run(|| {
        probe_links(config)?;
        probe_tables(config)
    });
    outcome.unwrap_or_else(|source| {
        Err(Error::Open {
            feature: "a namespace for probing the kernel",
            source: Box::new(source),
        })
    })
}

type MakeLink = fn(&mut Rtnetlink) -> route::Result<()>;

/// The kinds of links, for which section they are needed, and how one is made.
const LINKS: [(&str, &str, &str, MakeLink); 2] = [
    (
        "pods",
        "veth pairs",
        "load the module veth, or build the kernel with CONFIG_VETH",
        |socket| {
            let peer = VethPeer::new("probe-peer");
            socket
                .create_link(&NewLink::veth("probe-veth", peer))
                .map(|_| ())
        },
    ),
    (
        "overlay",
        "vxlan devices",
        "load the module vxlan, or build the kernel with CONFIG_VXLAN",
        |socket| {
            let vxlan = Vxlan {
                vni: 1,
                port: 8472,
                local: Ipv4Addr::LOCALHOST.into(),
                lower: None,
                learning: false,
            };
            socket
                .create_link(&NewLink::vxlan("probe-vxlan", vxlan))
                .map(|_| ())
        },
    ),
];

fn probe_links(config: &Configuration) -> Result<(), Error> {
    let mut socket = Rtnetlink::open().map_err(|source| Error::Open {
        feature: "rtnetlink",
        source: Box::new(source),
    })?;
    for (section, missing, remedy, make) in LINKS {
        let is_needed = match section {
            "pods" => config.pods.enabled,
            _ => config.overlay.enabled,
        };
        if is_needed {
            make(&mut socket).map_err(|source| Error::Kernel {
                section,
                missing: missing.to_owned(),
                remedy,
                source: Box::new(source),
            })?;
        }
    }
    Ok(())
}

/// Writes every feature's tables for an empty cluster: all of their chains and
/// expressions, and no element.
fn probe_tables(config: &Configuration) -> Result<(), Error> {
    let services = dataplane::service::backend(&config.services.mode);
    if let Some(spec) = services.filter(|_| config.services.enabled) {
        (spec.probe)().map_err(|source| refused("services", Box::new(source)))?;
    }
    let features = Features::open(config, &"probe".into(), &Counters::default())?;
    let state = ClusterState::default();
    for mut feature in features.all {
        feature.plan_all(&state);
        feature
            .write(Scope::Everything)
            .map_err(|source| refused(feature.name(), source))?;
    }
    Ok(())
}

fn refused(section: &'static str, source: WriteError) -> Error {
    Error::Kernel {
        section,
        missing: "an nftables expression or table type".to_owned(),
        remedy: "use kernel 5.15 or later with CONFIG_NF_TABLES_INET, NFT_NAT, NFT_MASQ, NFT_CT, NFT_NUMGEN, NFT_FIB_INET and NFT_REJECT",
        source,
    }
}
