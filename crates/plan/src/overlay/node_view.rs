//! What the overlay reads of a Node.

use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;
use podway_model::{IpFamily, Node};

use super::annotation;
use super::{OverlayMode, OverlaySettings, OwnEnd, PeerData, Refusal, VtepMac};

/// flannel's ports, one for the device of each family.
const WIREGUARD_PORTS: [NonZeroU16; 2] = [port(51820), port(51821)];

/// The node's pods of a family.
pub(super) fn prefix_of(node: &Node, family: IpFamily) -> Option<IpNet> {
    node.pod_prefixes
        .iter()
        .find(|prefix| IpFamily::of(&prefix.addr()) == family)
        .map(IpNet::trunc)
}

/// This node's own end; `prefix` is its own beyond doubt.
pub(super) fn own_end(
    node: &Node,
    prefix: IpNet,
    settings: &OverlaySettings,
) -> Result<OwnEnd, Refusal> {
    let family = IpFamily::of(&prefix.addr());
    let networks = &settings.networks;
    if !networks.is_empty() && !networks.iter().any(|network| network.contains(&prefix)) {
        let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
        let networks = networks.join(", ");
        return Err(Refusal::OutsideNetwork { prefix, networks });
    }
    let addresses = node.addresses.iter().copied();
    let local: IpAddr = addresses
        .into_iter()
        .find(|address| IpFamily::of(address) == family)
        .ok_or(Refusal::NoNodeAddress)?;
    let overwrite = annotation::overwrite(&node.annotations, family)?;
    Ok(OwnEnd {
        prefix,
        local,
        public: overwrite.unwrap_or(local),
        data: own_data(node, family, settings)?,
    })
}

fn own_data(
    node: &Node,
    family: IpFamily,
    settings: &OverlaySettings,
) -> Result<PeerData, Refusal> {
    match settings.mode {
        OverlayMode::Vxlan => {
            let stored = annotation::data(&node.annotations, family, settings);
            let prefix = settings.mac_prefix;
            // A node that was flannel's, or ours under another rule, keeps the
            // address that its peers know.
            if let Ok(PeerData::Vxlan { mac }) = stored
                && prefix.is_none_or(|prefix| mac.has_prefix(prefix))
            {
                return Ok(PeerData::Vxlan { mac });
            }
            let mac = VtepMac::of_node(&node.name, family);
            let mac = prefix.map_or(mac, |prefix| mac.with_prefix(prefix));
            Ok(PeerData::Vxlan { mac })
        }
        OverlayMode::WireGuard => {
            let [first, second] = WIREGUARD_PORTS;
            let port = match (family, settings.port) {
                (IpFamily::V4, port) => port.unwrap_or(first),
                // Two devices cannot listen on one port.
                (IpFamily::V6, Some(port)) => port.checked_add(1).unwrap_or(second),
                (IpFamily::V6, None) => second,
            };
            let key = settings.public_key.ok_or(Refusal::NoKey)?;
            Ok(PeerData::WireGuard { key, port })
        }
        _ => Ok(PeerData::Nothing),
    }
}

const fn port(number: u16) -> NonZeroU16 {
    match NonZeroU16::new(number) {
        Some(port) => port,
        None => NonZeroU16::MIN,
    }
}
