//! `MetalLB` before 0.13: one text in a `ConfigMap`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use podway_model::{Labels, Operator, Requirement, Selector};
use serde::Deserialize;

use super::error::Problems;
use super::objects::{Communities, duration};
use super::{
    AddressPool, BgpAdvertisement, BgpPeer, Config, ConfigError, ConfigProblem,
    Layer2Advertisement, Password, PeerAs, PeerEnd, PoolChoice, check,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Text {
    #[serde(default)]
    peers: Vec<Peer>,
    #[serde(default)]
    bgp_communities: BTreeMap<String, String>,
    #[serde(default)]
    address_pools: Vec<Pool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Peer {
    my_asn: u32,
    peer_asn: u32,
    peer_address: String,
    peer_port: Option<u16>,
    hold_time: Option<String>,
    router_id: Option<String>,
    password: Option<String>,
    #[serde(default)]
    node_selectors: Vec<NodeSelector>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct NodeSelector {
    #[serde(default)]
    match_labels: Labels,
    #[serde(default)]
    match_expressions: Vec<Expression>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expression {
    key: String,
    operator: String,
    #[serde(default)]
    values: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Pool {
    name: String,
    protocol: String,
    addresses: Vec<String>,
    #[serde(default)]
    avoid_buggy_ips: bool,
    auto_assign: Option<bool>,
    bgp_advertisements: Option<Vec<Advertisement>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Advertisement {
    aggregation_length: Option<u8>,
    // The one key that has no hyphen.
    localpref: Option<u32>,
    #[serde(default)]
    communities: Vec<String>,
}

/// Reads the text of key `config` of `metallb-system/config`.
///
/// # Errors
/// Everything that is wrong with it; what is no YAML, or has an unknown key, with
/// line and column.
pub fn parse_config_map(text: &str) -> Result<Config, ConfigError> {
    let parsed: Text = serde_saphyr::from_str(text).map_err(|error| {
        let error = error.without_snippet();
        let object = error.location().map_or_else(
            || "the text".to_owned(),
            |location| format!("{}:{}", location.line(), location.column()),
        );
        let message = error.to_string();
        let end = message.rfind(" at line ").unwrap_or(message.len());
        ConfigError(vec![ConfigProblem {
            object,
            what: message[..end].to_owned(),
        }])
    })?;
    let mut problems = Problems::default();
    let communities = Communities::of(&parsed.bgp_communities, &mut problems);
    let mut config = Config::default();
    for (index, peer) in parsed.peers.into_iter().enumerate() {
        config.peers.extend(peer.read(index, &mut problems));
    }
    for pool in parsed.address_pools {
        pool.read(&communities, &mut config, &mut problems);
    }
    check::check(config, problems)
}

impl Peer {
    fn read(self, index: usize, problems: &mut Problems) -> Option<BgpPeer> {
        let name = format!("peer-{index}");
        let object = format!("peers[{index}]");
        for (field, asn) in [("my-asn", self.my_asn), ("peer-asn", self.peer_asn)] {
            if asn == 0 {
                problems.push(&object, format!("{field}: there is no AS 0"));
            }
        }
        let address = problems.take(&object, "peer-address", self.peer_address.parse());
        let router_id = self
            .router_id
            .and_then(|id| problems.take(&object, "router-id", id.parse()));
        let hold_time = self
            .hold_time
            .and_then(|text| problems.take(&object, "hold-time", duration(&text)));
        if hold_time.is_some_and(|time| !time.is_zero() && time < Duration::from_secs(3)) {
            problems.push(&object, "hold-time: it is 0 or at least 3s (RFC 4271)");
        }
        let selectors = self.node_selectors.into_iter();
        let nodes = selectors.map(|s| s.read(&object, problems)).collect();
        Some(BgpPeer {
            name,
            my_asn: self.my_asn,
            peer_asn: PeerAs::Number(self.peer_asn),
            end: PeerEnd::Address(address?),
            source: None,
            port: self.peer_port.unwrap_or(179),
            hold_time,
            keepalive_time: None,
            connect_time: None,
            router_id,
            nodes,
            password: self.password.filter(|p| !p.is_empty()).map(Password::Text),
            bfd_profile: None,
            graceful_restart: false,
            multi_hop: false,
        })
    }
}

impl NodeSelector {
    fn read(self, object: &str, problems: &mut Problems) -> Selector {
        let mut requirement = |expression: Expression| {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In(expression.values),
                "NotIn" => Operator::NotIn(expression.values),
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    let what = format!("node-selectors: there is no operator {other:?}");
                    problems.push(object, what);
                    Operator::Unknown(other.to_owned())
                }
            };
            Requirement {
                key: expression.key,
                operator,
            }
        };
        Selector {
            labels: self.match_labels,
            requirements: self
                .match_expressions
                .into_iter()
                .map(&mut requirement)
                .collect(),
        }
    }
}

impl Pool {
    fn read(self, communities: &Communities, config: &mut Config, problems: &mut Problems) {
        let object = format!("address pool {}", self.name);
        if self.name.is_empty() {
            problems.push(&object, "name: it is empty");
        }
        if self.addresses.is_empty() {
            problems.push(&object, "addresses: there is none");
        }
        let choice = PoolChoice {
            names: [self.name.clone()].into(),
            selectors: Vec::new(),
        };
        match (self.protocol.as_str(), self.bgp_advertisements) {
            ("layer2", None) => config.layer2.push(Layer2Advertisement {
                name: self.name.clone(),
                pools: choice,
                ..Layer2Advertisement::default()
            }),
            ("layer2", Some(_)) => {
                problems.push(&object, "bgp-advertisements: the pool's protocol is layer2");
            }
            ("bgp", advertisements) => {
                let given = advertisements.unwrap_or_else(|| vec![Advertisement::default()]);
                for (index, advertisement) in given.into_iter().enumerate() {
                    let object = format!("{object}: bgp-advertisements[{index}]");
                    let name = format!("{}-{index}", self.name);
                    let mut advertisement = advertisement.read(&object, communities, problems);
                    advertisement.name = name;
                    advertisement.pools = choice.clone();
                    config.bgp.push(advertisement);
                }
            }
            (other, _) => {
                let what = format!("protocol: {other:?} is neither \"layer2\" nor \"bgp\"");
                problems.push(&object, what);
            }
        }
        let ranges = self.addresses.iter();
        let ranges = ranges.filter_map(|text| problems.take(&object, "addresses", text.parse()));
        config.pools.push(AddressPool {
            ranges: ranges.collect(),
            name: self.name,
            labels: Labels::new(),
            auto_assign: self.auto_assign.unwrap_or(true),
            avoid_buggy: self.avoid_buggy_ips,
            allocation: None,
        });
    }
}

impl Advertisement {
    fn read(
        &self,
        object: &str,
        communities: &Communities,
        problems: &mut Problems,
    ) -> BgpAdvertisement {
        let (plain, large) = communities.resolve(object, &self.communities, problems);
        let aggregation = self.aggregation_length.unwrap_or(32);
        if aggregation > 32 {
            let what = format!("aggregation-length: {aggregation} is more than 32");
            problems.push(object, what);
        }
        BgpAdvertisement {
            name: String::new(),
            pools: PoolChoice::default(),
            aggregation,
            aggregation_v6: 128,
            local_pref: self.localpref,
            communities: plain,
            large_communities: large,
            peers: BTreeSet::new(),
            nodes: Vec::new(),
            services: Vec::new(),
        }
    }
}
