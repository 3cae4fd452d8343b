//! Flannel's annotations on a Node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use podway_model::{IpFamily, Labels, Node};
use serde_json::{Value, json};

use super::table::{OverlaySettings, OverlayTable, PeerData, Refusal, VtepMac};

/// Annotations to write: `None` takes one away.
pub type Annotations = BTreeMap<&'static str, Option<String>>;

pub(super) const TAKES_PART: &str = "flannel.alpha.coreos.com/kube-subnet-manager";
pub(super) const BACKEND_TYPE: &str = "flannel.alpha.coreos.com/backend-type";
const BACKEND_DATA: &str = "flannel.alpha.coreos.com/backend-data";
const BACKEND_V6_DATA: &str = "flannel.alpha.coreos.com/backend-v6-data";
const PUBLIC_IP: &str = "flannel.alpha.coreos.com/public-ip";
const PUBLIC_IPV6: &str = "flannel.alpha.coreos.com/public-ipv6";
const PUBLIC_IP_OVERWRITE: &str = "flannel.alpha.coreos.com/public-ip-overwrite";
const PUBLIC_IPV6_OVERWRITE: &str = "flannel.alpha.coreos.com/public-ipv6-overwrite";

/// The names of one family's annotations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    pub(super) data: &'static str,
    pub(super) address: &'static str,
    /// Set by an administrator: published instead of the node's address.
    pub(super) address_overwrite: &'static str,
}

pub(super) const fn names(family: IpFamily) -> Names {
    match family {
        IpFamily::V4 => Names {
            data: BACKEND_DATA,
            address: PUBLIC_IP,
            address_overwrite: PUBLIC_IP_OVERWRITE,
        },
        IpFamily::V6 => Names {
            data: BACKEND_V6_DATA,
            address: PUBLIC_IPV6,
            address_overwrite: PUBLIC_IPV6_OVERWRITE,
        },
    }
}

/// What this node must change about its own Node's annotations so that its
/// peers can reach it; empty when they say it already.
#[must_use]
pub fn publish(table: &OverlayTable, node: &Node, settings: &OverlaySettings) -> Annotations {
    let takes_part = !table.own.is_empty();
    let mut wanted = Annotations::new();
    wanted.insert(TAKES_PART, takes_part.then(|| "true".into()));
    wanted.insert(BACKEND_TYPE, takes_part.then(|| settings.backend.into()));
    for family in IpFamily::ALL {
        let names = names(family);
        let own = table.own.get(&family);
        wanted.insert(names.address, own.map(|own| own.public.to_string()));
        wanted.insert(names.data, own.map(|own| encode(&own.data, settings)));
    }
    wanted.retain(|name, value| node.annotations.get(*name) != value.as_ref());
    wanted
}

fn encode(data: &PeerData, settings: &OverlaySettings) -> String {
    match data {
        PeerData::Vxlan { mac } => json!({
            "VNI": settings.vni,
            "VtepMAC": mac.to_string(),
        })
        .to_string(),
    }
}

/// Reads `public-ip` or `public-ipv6`.
pub(super) fn address(annotations: &Labels, family: IpFamily) -> Result<IpAddr, Refusal> {
    read_address(annotations, family, names(family).address)
}

/// Reads the administrator's word, where there is one.
pub(super) fn overwrite(annotations: &Labels, family: IpFamily) -> Result<Option<IpAddr>, Refusal> {
    let name = names(family).address_overwrite;
    if !annotations.contains_key(name) {
        return Ok(None);
    }
    read_address(annotations, family, name).map(Some)
}

fn read_address(
    annotations: &Labels,
    family: IpFamily,
    annotation: &'static str,
) -> Result<IpAddr, Refusal> {
    let value = annotations
        .get(annotation)
        .ok_or(Refusal::MissingAnnotation { annotation })?;
    let broken = |reason: String| Refusal::BrokenAnnotation {
        annotation,
        value: value.clone(),
        reason,
    };
    let address: IpAddr = value
        .parse()
        .map_err(|_| broken("it is not an IP address".into()))?;
    if IpFamily::of(&address) != family {
        return Err(broken(format!("it is not an {family} address")));
    }
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Err(broken("no other node can be reached there".into()));
    }
    Ok(address)
}

/// Reads `backend-data` or `backend-v6-data` of a VXLAN node.
pub(super) fn vxlan_data(
    annotations: &Labels,
    family: IpFamily,
    settings: &OverlaySettings,
) -> Result<PeerData, Refusal> {
    let annotation = names(family).data;
    let value = annotations
        .get(annotation)
        .ok_or(Refusal::MissingAnnotation { annotation })?;
    let broken = |reason: String| Refusal::BrokenAnnotation {
        annotation,
        value: value.clone(),
        reason,
    };
    let json: Value =
        serde_json::from_str(value).map_err(|error| broken(format!("it is not JSON: {error}")))?;
    let vni = json
        .get("VNI")
        .and_then(Value::as_u64)
        .and_then(|vni| u32::try_from(vni).ok())
        .ok_or_else(|| broken("VNI is missing or not a number of 24 bits".into()))?;
    if vni != settings.vni {
        return Err(Refusal::OtherNetwork {
            theirs: vni,
            ours: settings.vni,
        });
    }
    let mac: VtepMac = json
        .get("VtepMAC")
        .and_then(Value::as_str)
        .ok_or_else(|| broken("VtepMAC is missing".into()))?
        .parse()
        .map_err(|error: super::VtepMacError| broken(error.to_string()))?;
    Ok(PeerData::Vxlan { mac })
}
