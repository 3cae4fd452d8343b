//! The annotations on a Node: flannel's, and one of ours.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use podway_model::{IpFamily, Labels, Node};
use serde_json::{Map, Value, json};

use super::{
    OverlayMode, OverlaySettings, OverlayTable, PeerData, Refusal, VtepMac, VtepMacError,
    WireGuardKey, WireGuardKeyError,
};

/// Annotations to write: `None` takes one away.
pub type Annotations = BTreeMap<&'static str, Option<String>>;

const TAKES_PART: &str = "flannel.alpha.coreos.com/kube-subnet-manager";
const BACKEND_TYPE: &str = "flannel.alpha.coreos.com/backend-type";
const BACKEND_DATA: &str = "flannel.alpha.coreos.com/backend-data";
const BACKEND_V6_DATA: &str = "flannel.alpha.coreos.com/backend-v6-data";
const PUBLIC_IP: &str = "flannel.alpha.coreos.com/public-ip";
const PUBLIC_IPV6: &str = "flannel.alpha.coreos.com/public-ipv6";
const PUBLIC_IP_OVERWRITE: &str = "flannel.alpha.coreos.com/public-ip-overwrite";
const PUBLIC_IPV6_OVERWRITE: &str = "flannel.alpha.coreos.com/public-ipv6-overwrite";

/// The modes that a node takes packets of besides the one that it sends by, with
/// what each needs: `{"host-gw":{"IPv4":null},"vxlan":{"IPv4":{"VNI":1,…}}}`.
/// Flannel has no word for it; a node is moved from one mode to another with it.
const ALSO: &str = "podway.dev/overlay-also";

/// The names of one family's annotations.
#[derive(Debug, Clone, Copy)]
struct Names {
    data: &'static str,
    address: &'static str,
    /// Set by an administrator: published instead of the node's address.
    address_overwrite: &'static str,
}

const fn names(family: IpFamily) -> Names {
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
/// peers can reach it, by the mode that it sends by and those of which it takes
/// packets as well; empty when they say it already.
///
/// Where somebody else connects the nodes, flannel's annotations may be theirs,
/// and stay.
#[must_use]
pub fn publish(
    node: &Node,
    main: (&OverlaySettings, &OverlayTable),
    also: &[(&OverlaySettings, &OverlayTable)],
) -> Annotations {
    let (settings, table) = main;
    let mut wanted = Annotations::new();
    if settings.mode != OverlayMode::None {
        let takes_part = !table.own.is_empty();
        wanted.insert(TAKES_PART, takes_part.then(|| "true".into()));
        let backend = settings.mode.annotation();
        wanted.insert(BACKEND_TYPE, takes_part.then(|| backend.into()));
        for family in IpFamily::ALL {
            let names = names(family);
            let own = table.own.get(&family);
            wanted.insert(names.address, own.map(|own| own.public.to_string()));
            let data = own.map(|own| encode(&own.data, settings).to_string());
            wanted.insert(names.data, data);
        }
    }
    let also: Map<String, Value> = also.iter().map(|also| encode_all(also.0, also.1)).collect();
    wanted.insert(ALSO, (!also.is_empty()).then(|| json!(also).to_string()));
    wanted.retain(|name, value| node.annotations.get(*name) != value.as_ref());
    wanted
}

fn encode_all(settings: &OverlaySettings, table: &OverlayTable) -> (String, Value) {
    let families = table.own.iter();
    let data: Map<String, Value> = families
        .map(|(family, own)| (family.to_string(), encode(&own.data, settings)))
        .collect();
    (settings.mode.name().to_owned(), Value::Object(data))
}

fn encode(data: &PeerData, settings: &OverlaySettings) -> Value {
    match data {
        PeerData::Vxlan { mac } => json!({ "VNI": settings.vni, "VtepMAC": mac.to_string() }),
        PeerData::WireGuard { key, port } => {
            json!({ "PublicKey": key.to_string(), "Port": port })
        }
        // What flannel writes where a backend has none.
        PeerData::Nothing => Value::Null,
    }
}

/// What a node says about itself for one mode and family: where it is reached,
/// and what the mode needs.
pub(super) fn offer(
    annotations: &Labels,
    family: IpFamily,
    settings: &OverlaySettings,
) -> Result<(IpAddr, PeerData), Refusal> {
    if annotations.get(TAKES_PART).map(String::as_str) != Some("true") {
        return Err(Refusal::NotTakingPart {
            annotation: TAKES_PART,
        });
    }
    let mode = settings.mode;
    let text = find(annotations, BACKEND_TYPE)?;
    let data = if text == mode.annotation() || text == mode.name() {
        data(annotations, family, settings)?
    } else {
        also(annotations, family, settings)?.ok_or_else(|| Refusal::OtherBackend {
            theirs: text.clone(),
            ours: mode.name(),
        })?
    };
    Ok((address(annotations, family, names(family).address)?, data))
}

/// Reads the administrator's word about the published address, where there is
/// one.
pub(super) fn overwrite(annotations: &Labels, family: IpFamily) -> Result<Option<IpAddr>, Refusal> {
    let name = names(family).address_overwrite;
    if !annotations.contains_key(name) {
        return Ok(None);
    }
    address(annotations, family, name).map(Some)
}

/// Reads `backend-data` or `backend-v6-data`.
pub(super) fn data(
    annotations: &Labels,
    family: IpFamily,
    settings: &OverlaySettings,
) -> Result<PeerData, Refusal> {
    let annotation = names(family).data;
    if !has_data(settings.mode) {
        return Ok(PeerData::Nothing);
    }
    let value = find(annotations, annotation)?;
    let decoded = match serde_json::from_str(value) {
        Ok(json) => decode(&json, settings),
        Err(error) => Err(Undecodable::Broken(format!("it is not JSON: {error}"))),
    };
    decoded.map_err(|error| error.in_annotation(annotation, value))
}

/// Reads what a node says about a mode that it does not send by; `None` where it
/// does not take it.
fn also(
    annotations: &Labels,
    family: IpFamily,
    settings: &OverlaySettings,
) -> Result<Option<PeerData>, Refusal> {
    let Some(text) = annotations.get(ALSO) else {
        return Ok(None);
    };
    let json: Value = serde_json::from_str(text).map_err(|error| Refusal::BrokenAnnotation {
        annotation: ALSO,
        value: text.clone(),
        reason: format!("it is not JSON: {error}"),
    })?;
    let of_mode = json.get(settings.mode.name());
    let Some(data) = of_mode.and_then(|of_mode| of_mode.get(family.to_string())) else {
        return Ok(None);
    };
    let decoded = decode(data, settings).map_err(|error| error.in_annotation(ALSO, text))?;
    Ok(Some(decoded))
}

/// Why data cannot be used.
enum Undecodable {
    Broken(String),
    OtherNetwork(u32, u32),
}

impl Undecodable {
    fn in_annotation(self, annotation: &'static str, value: &str) -> Refusal {
        match self {
            Self::Broken(reason) => Refusal::BrokenAnnotation {
                annotation,
                value: value.to_owned(),
                reason,
            },
            Self::OtherNetwork(theirs, ours) => Refusal::OtherNetwork { theirs, ours },
        }
    }
}

const fn has_data(mode: OverlayMode) -> bool {
    matches!(mode, OverlayMode::Vxlan | OverlayMode::WireGuard)
}

fn decode(json: &Value, settings: &OverlaySettings) -> Result<PeerData, Undecodable> {
    let broken = |reason: &str| Undecodable::Broken(reason.to_owned());
    let number = |key| json.get(key).and_then(Value::as_u64);
    let text = |key| json.get(key).and_then(Value::as_str);
    match settings.mode {
        OverlayMode::Vxlan => {
            let vni = number("VNI")
                .and_then(|vni| u32::try_from(vni).ok())
                .ok_or_else(|| broken("VNI is missing or not a number of 24 bits"))?;
            if vni != settings.vni {
                return Err(Undecodable::OtherNetwork(vni, settings.vni));
            }
            let mac: VtepMac = text("VtepMAC")
                .ok_or_else(|| broken("VtepMAC is missing"))?
                .parse()
                .map_err(|error: VtepMacError| broken(&error.to_string()))?;
            Ok(PeerData::Vxlan { mac })
        }
        OverlayMode::WireGuard => {
            let key: WireGuardKey = text("PublicKey")
                .ok_or_else(|| broken("PublicKey is missing"))?
                .parse()
                .map_err(|error: WireGuardKeyError| broken(&error.to_string()))?;
            let port = number("Port")
                .and_then(|port| u16::try_from(port).ok())
                .and_then(NonZeroU16::new)
                .ok_or_else(|| broken("Port is missing or not a port"))?;
            Ok(PeerData::WireGuard { key, port })
        }
        _ => Ok(PeerData::Nothing),
    }
}

fn address(
    annotations: &Labels,
    family: IpFamily,
    annotation: &'static str,
) -> Result<IpAddr, Refusal> {
    let value = find(annotations, annotation)?;
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

fn find<'a>(annotations: &'a Labels, annotation: &'static str) -> Result<&'a String, Refusal> {
    annotations
        .get(annotation)
        .ok_or(Refusal::MissingAnnotation { annotation })
}
