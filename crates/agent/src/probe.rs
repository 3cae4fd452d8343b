//! Whether the kernel can do what the configuration asks for.
//!
//! Asked of the kernel itself, by doing it in a network namespace that nobody
//! else sees and that goes away at once: version numbers and configuration
//! files do not say what a distribution left out.

use podway_dataplane as dataplane;
use podway_dataplane::overlay::Need;
use podway_kernel::netns::NetNs;
use podway_kernel::route::{LinkChange, NewLink, Rtnetlink, VethPeer};
use podway_model::ClusterState;
use podway_plan::overlay::OverlayMode;

use crate::config::Configuration;
use crate::error::Error;
use crate::feature::{Scope, WriteError};
use crate::features::{Counters, Features, OverlayConfig};

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

/// What attaching pods takes.
const PODS_NEED: [Need; 1] = [Need {
    what: "veth pairs",
    remedy: "load the module veth, or build the kernel with CONFIG_VETH",
    try_out: |socket| {
        let peer = VethPeer::new("probe-peer");
        let link = NewLink::veth("probe-veth", peer);
        Ok(socket.create_link(&link).map(drop)?)
    },
}];

fn probe_links(config: &Configuration) -> Result<(), Error> {
    let unusable = |source| Error::Open {
        feature: "rtnetlink",
        source: Box::new(source),
    };
    let mut socket = Rtnetlink::open().map_err(unusable)?;
    // As on every node; in a new namespace it is down, and routes need it.
    if let Some(loopback) = socket.link("lo").map_err(unusable)? {
        let up = LinkChange::new().up();
        socket.change_link(loopback.index, &up).map_err(unusable)?;
    }
    let mut needs = Vec::new();
    if config.pods.enabled {
        needs.extend(PODS_NEED.iter().map(|need| ("pods", need)));
    }
    if config.overlay.enabled {
        let overlay = OverlayConfig::read(&config.overlay).map_err(|source| Error::Open {
            feature: "overlay",
            source: Box::new(source),
        })?;
        let needed = overlay.modes().flat_map(needs_of);
        needs.extend(needed.map(|need| ("overlay", need)));
    }
    for (section, need) in needs {
        (need.try_out)(&mut socket).map_err(|source| Error::Kernel {
            section,
            missing: need.what.to_owned(),
            remedy: need.remedy,
            source: Box::new(source),
        })?;
    }
    Ok(())
}

fn needs_of(mode: OverlayMode) -> &'static [Need] {
    let mut specs = dataplane::overlay::BACKENDS.iter();
    specs
        .find(|spec| spec.mode == mode)
        .map_or(&[], |spec| spec.needs)
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
