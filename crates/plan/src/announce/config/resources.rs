//! `MetalLB`'s custom resources, as the API server gives them.

use std::collections::BTreeSet;

use podway_model::{Labels, Operator, Requirement, Selector};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::objects::{
    BfdProfileObject, BgpAdvertisementObject, BgpPeerObject, IpAddressPool, Objects,
};
use super::{ConfigProblem, Layer2Advertisement, PoolChoice, Preference, ServiceAllocation};

/// The API group of all of them.
pub const GROUP: &str = "metallb.io";

/// A kind of custom resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// Its kind.
    pub kind: &'static str,
    /// Its name in paths.
    pub plural: &'static str,
    /// The version that is read.
    pub version: &'static str,
}

const fn resource(kind: &'static str, plural: &'static str, version: &'static str) -> Resource {
    Resource {
        kind,
        plural,
        version,
    }
}

/// Every kind that is read.
pub const RESOURCES: &[Resource] = &[
    resource("IPAddressPool", "ipaddresspools", "v1beta1"),
    resource("L2Advertisement", "l2advertisements", "v1beta1"),
    resource("BGPAdvertisement", "bgpadvertisements", "v1beta1"),
    resource("BGPPeer", "bgppeers", "v1beta2"),
    resource("Community", "communities", "v1beta1"),
    resource("BFDProfile", "bfdprofiles", "v1beta1"),
];

#[derive(Deserialize)]
struct Custom<S> {
    metadata: Metadata,
    spec: S,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    labels: Labels,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pool {
    #[serde(default)]
    addresses: Vec<String>,
    auto_assign: Option<bool>,
    #[serde(default, rename = "avoidBuggyIPs")]
    avoid_buggy_ips: bool,
    service_allocation: Option<Allocation>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Allocation {
    priority: u32,
    namespaces: BTreeSet<String>,
    namespace_selectors: Vec<LabelSelector>,
    service_selectors: Vec<LabelSelector>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Pools {
    ip_address_pools: BTreeSet<String>,
    ip_address_pool_selectors: Vec<LabelSelector>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Layer2 {
    #[serde(flatten)]
    pools: Pools,
    node_selectors: Vec<LabelSelector>,
    interfaces: BTreeSet<String>,
    service_selectors: Vec<LabelSelector>,
    preferred_node_selectors: Vec<Preferred>,
}

#[derive(Deserialize)]
struct Preferred {
    weight: u32,
    #[serde(default)]
    selector: LabelSelector,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Bgp {
    #[serde(flatten)]
    pools: Pools,
    aggregation_length: Option<u8>,
    aggregation_length_v6: Option<u8>,
    local_pref: u32,
    communities: Vec<String>,
    peers: BTreeSet<String>,
    node_selectors: Vec<LabelSelector>,
    service_selectors: Vec<LabelSelector>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Peer {
    #[serde(rename = "myASN")]
    my_asn: u32,
    #[serde(rename = "peerASN")]
    peer_asn: u32,
    #[serde(rename = "dynamicASN")]
    dynamic_asn: String,
    peer_address: String,
    interface: String,
    source_address: String,
    peer_port: Option<u16>,
    hold_time: Option<String>,
    keepalive_time: Option<String>,
    connect_time: Option<String>,
    #[serde(rename = "routerID")]
    router_id: String,
    node_selectors: Vec<LabelSelector>,
    password: String,
    password_secret: Reference,
    bfd_profile: String,
    enable_graceful_restart: bool,
    ebgp_multi_hop: bool,
    vrf: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reference {
    name: String,
}

#[derive(Deserialize)]
struct Communities {
    #[serde(default)]
    communities: Vec<Alias>,
}

#[derive(Deserialize)]
struct Alias {
    name: String,
    value: String,
}

#[derive(Clone, Copy, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Bfd {
    receive_interval: Option<u32>,
    transmit_interval: Option<u32>,
    detect_multiplier: Option<u32>,
    passive_mode: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct LabelSelector {
    match_labels: Labels,
    match_expressions: Vec<Expression>,
}

#[derive(Deserialize)]
struct Expression {
    key: String,
    operator: String,
    #[serde(default)]
    values: BTreeSet<String>,
}

impl Objects {
    /// Adds an object of a kind of [`RESOURCES`]; of other kinds nothing. Fields
    /// that are not known are left out: the resource's own schema has refused
    /// what is wrong, and later versions of it know more.
    ///
    /// # Errors
    /// A field that is not what it should be, with its path.
    pub fn insert(&mut self, kind: &str, object: &Value) -> Result<(), ConfigProblem> {
        match kind {
            "IPAddressPool" => self.pools.push(read(kind, object, pool)?),
            "L2Advertisement" => self.layer2.push(read(kind, object, layer2)?),
            "BGPAdvertisement" => self.bgp.push(read(kind, object, bgp)?),
            "BGPPeer" => self.peers.push(read(kind, object, peer)?),
            "Community" => {
                let aliases = read(kind, object, |_, spec: Communities| spec.communities)?;
                let aliases = aliases.into_iter().map(|alias| (alias.name, alias.value));
                self.communities.extend(aliases);
            }
            "BFDProfile" => self.bfd_profiles.push(read(kind, object, bfd)?),
            _ => {}
        }
        Ok(())
    }
}

fn read<S: DeserializeOwned, T>(
    kind: &str,
    object: &Value,
    make: impl FnOnce(Metadata, S) -> T,
) -> Result<T, ConfigProblem> {
    let custom: Result<Custom<S>, _> = serde_path_to_error::deserialize(object);
    let custom = custom.map_err(|error| {
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or("without a name");
        ConfigProblem {
            object: format!("{kind} {name}"),
            what: match error.path().to_string().as_str() {
                "." => error.inner().to_string(),
                path => format!("{path}: {}", error.inner()),
            },
        }
    })?;
    Ok(make(custom.metadata, custom.spec))
}

fn pool(metadata: Metadata, spec: Pool) -> IpAddressPool {
    let allocation = |allocation: Allocation| ServiceAllocation {
        priority: allocation.priority,
        namespaces: allocation.namespaces,
        namespace_selectors: selectors(allocation.namespace_selectors),
        service_selectors: selectors(allocation.service_selectors),
    };
    IpAddressPool {
        name: metadata.name,
        labels: metadata.labels,
        addresses: spec.addresses,
        auto_assign: spec.auto_assign,
        avoid_buggy_ips: spec.avoid_buggy_ips,
        service_allocation: spec.service_allocation.map(allocation),
    }
}

fn layer2(metadata: Metadata, spec: Layer2) -> Layer2Advertisement {
    let preference = |preferred: Preferred| Preference {
        weight: preferred.weight,
        nodes: preferred.selector.into(),
    };
    let preferences = spec.preferred_node_selectors.into_iter();
    Layer2Advertisement {
        name: metadata.name,
        pools: spec.pools.into(),
        nodes: selectors(spec.node_selectors),
        interfaces: spec.interfaces,
        services: selectors(spec.service_selectors),
        preferences: preferences.map(preference).collect(),
    }
}

fn bgp(metadata: Metadata, spec: Bgp) -> BgpAdvertisementObject {
    BgpAdvertisementObject {
        name: metadata.name,
        pools: spec.pools.into(),
        aggregation_length: spec.aggregation_length,
        aggregation_length_v6: spec.aggregation_length_v6,
        local_pref: spec.local_pref,
        communities: spec.communities,
        peers: spec.peers,
        nodes: selectors(spec.node_selectors),
        services: selectors(spec.service_selectors),
    }
}

fn peer(metadata: Metadata, spec: Peer) -> BgpPeerObject {
    BgpPeerObject {
        name: metadata.name,
        my_asn: spec.my_asn,
        peer_asn: spec.peer_asn,
        dynamic_asn: spec.dynamic_asn,
        peer_address: spec.peer_address,
        interface: spec.interface,
        source_address: spec.source_address,
        peer_port: spec.peer_port,
        hold_time: spec.hold_time,
        keepalive_time: spec.keepalive_time,
        connect_time: spec.connect_time,
        router_id: spec.router_id,
        nodes: selectors(spec.node_selectors),
        password: spec.password,
        password_secret: spec.password_secret.name,
        bfd_profile: spec.bfd_profile,
        graceful_restart: spec.enable_graceful_restart,
        multi_hop: spec.ebgp_multi_hop,
        vrf: spec.vrf,
    }
}

fn bfd(metadata: Metadata, spec: Bfd) -> BfdProfileObject {
    BfdProfileObject {
        name: metadata.name,
        receive_interval: spec.receive_interval,
        transmit_interval: spec.transmit_interval,
        detect_multiplier: spec.detect_multiplier,
        passive_mode: spec.passive_mode,
    }
}

fn selectors(all: Vec<LabelSelector>) -> Vec<Selector> {
    all.into_iter().map(Selector::from).collect()
}

impl From<Pools> for PoolChoice {
    fn from(pools: Pools) -> Self {
        Self {
            names: pools.ip_address_pools,
            selectors: selectors(pools.ip_address_pool_selectors),
        }
    }
}

impl From<LabelSelector> for Selector {
    fn from(selector: LabelSelector) -> Self {
        let requirement = |expression: Expression| Requirement {
            operator: match &*expression.operator {
                "In" => Operator::In(expression.values),
                "NotIn" => Operator::NotIn(expression.values),
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                _ => Operator::Unknown(expression.operator),
            },
            key: expression.key,
        };
        let requirements = selector.match_expressions.into_iter();
        Self {
            labels: selector.match_labels,
            requirements: requirements.map(requirement).collect(),
        }
    }
}
