//! The corpora of cyclonus and of Kubernetes' end-to-end tests, as they lie
//! outside the repository.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use podway_model::{IpFamily, Protocol};
use serde::Deserialize;
use serde_json::Value;

/// One file: a suite on a layout of one family.
#[derive(Debug, Deserialize)]
pub(crate) struct Corpus {
    pub(crate) cases: Vec<Case>,
}

/// A case: steps that follow each other.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) index: usize,
    pub(crate) description: String,
    /// What cyclonus calls it; the end-to-end tests have no groups.
    #[serde(default)]
    pub(crate) group: String,
    pub(crate) steps: Vec<Step>,
}

/// What there is after a step, and who reaches whom then.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// The order of rows and columns.
    pub(crate) pods: Vec<String>,
    pub(crate) pod_info: Vec<PodInfo>,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub(crate) policies: Vec<Value>,
    /// By `TCP/80` a row for each source: `.` is allowed, `X` is not.
    pub(crate) expected: BTreeMap<String, Vec<String>>,
}

/// A pod, with its address in the corpus' layout.
#[derive(Debug, Deserialize)]
pub(crate) struct PodInfo {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    pub(crate) labels: BTreeMap<String, String>,
}

impl PodInfo {
    /// `namespace/name`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Vec<Value>, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

/// Where the corpora are; `None` where they are not.
pub(crate) fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora/netpol");
    let named = std::env::var_os("PODWAY_CORPORA").map(PathBuf::from);
    let usual = PathBuf::from("/work/shared/corpora/netpol");
    [named, Some(beside), Some(usual)]
        .into_iter()
        .flatten()
        .find(|folder| folder.is_dir())
}

impl Corpus {
    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// `TCP/80`.
pub(crate) fn flow(text: &str) -> (Protocol, u16) {
    let (protocol, port) = text.split_once('/').expect("PROTOCOL/PORT");
    let protocol = Protocol::parse(protocol).expect("a protocol");
    (protocol, port.parse().expect("a port"))
}

impl Step {
    /// The family of the layout.
    pub(crate) fn family(&self) -> IpFamily {
        IpFamily::of(&self.pod_info[0].ip)
    }

    /// What the corpus says of a connection.
    pub(crate) fn allows(&self, flow: &str, from: usize, to: usize) -> bool {
        self.expected[flow][from].as_bytes()[to] == b'.'
    }

    /// The policies for pods at these addresses (one of each family, by name):
    /// a block that was drawn around a pod is drawn around it again. With them,
    /// whether each block holds the pods that it held, so that the corpus' own
    /// table is true here as well.
    pub(crate) fn policies_at(&self, at: &BTreeMap<String, Vec<IpAddr>>) -> (Vec<Value>, bool) {
        let mut policies = self.policies.clone();
        let mut same = true;
        for policy in &mut policies {
            for block in blocks(policy) {
                same &= self.move_block(block, at);
            }
        }
        (policies, same)
    }

    fn move_block(&self, block: &mut Value, at: &BTreeMap<String, Vec<IpAddr>>) -> bool {
        let address = |pod: &PodInfo, family| {
            let of_family = |ip: &&IpAddr| IpFamily::of(ip) == family;
            at[&pod.full_name()].iter().find(of_family).copied()
        };
        let before = prefixes(block);
        let drawn: Vec<_> = before.iter().filter(|net| is_drawn(net)).collect();
        // cyclonus draws around z/c, the last of those that are inside.
        let is_inside = |pod: &&PodInfo| drawn.iter().all(|net| net.contains(&pod.ip));
        let centre = self.pod_info.iter().rev().find(is_inside);
        if let Some(pod) = centre.filter(|_| !drawn.is_empty()) {
            for text in texts(block) {
                let net = prefix(text);
                if is_drawn(&net) {
                    let own = address(pod, IpFamily::of(&net.addr())).expect("both families");
                    let around = IpNet::new(own, net.prefix_len()).expect("a length");
                    *text = around.trunc().to_string().into();
                }
            }
        }
        let after = prefixes(block);
        self.pod_info.iter().all(|pod| {
            let here = address(pod, IpFamily::of(&pod.ip)).expect("both families");
            let held = before.iter().map(|net| net.contains(&pod.ip));
            held.eq(after.iter().map(|net| net.contains(&here)))
        })
    }
}

/// Not one that spans the world, or nobody.
fn is_drawn(net: &IpNet) -> bool {
    net.prefix_len() > 8 && !net.addr().is_unspecified()
}

fn prefix(text: &Value) -> IpNet {
    let net = text.as_str().and_then(|text| text.parse().ok());
    net.unwrap_or_else(|| panic!("{text} is no prefix"))
}

/// The block itself and its exceptions.
fn texts(block: &mut Value) -> impl Iterator<Item = &mut Value> {
    let fields = block.as_object_mut().expect("a block").iter_mut();
    fields.flat_map(|(_, value)| match value {
        Value::Array(except) => except.iter_mut().collect::<Vec<_>>(),
        cidr => vec![cidr],
    })
}

fn prefixes(block: &Value) -> Vec<IpNet> {
    texts(&mut block.clone()).map(|text| prefix(text)).collect()
}

/// Every `ipBlock` of a policy.
fn blocks(policy: &mut Value) -> impl Iterator<Item = &mut Value> {
    let sides = policy["spec"].as_object_mut().expect("a spec").iter_mut();
    sides
        .filter_map(|(key, side)| {
            let peers = match key.as_str() {
                "ingress" => "from",
                "egress" => "to",
                _ => return None,
            };
            Some((peers, side.as_array_mut()?))
        })
        .flat_map(|(peers, rules)| {
            rules
                .iter_mut()
                .filter_map(move |rule| rule.get_mut(peers)?.as_array_mut())
        })
        .flatten()
        .filter_map(|peer| peer.get_mut("ipBlock"))
}
