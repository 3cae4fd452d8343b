//! Policies in nf_tables: what is written, and what it does to packets.

#[allow(dead_code, reason = "`plan` reads other corpora with it")]
#[path = "../../../plan/tests/it/policy/cluster_corpus.rs"]
mod cluster_corpus;
mod connections;
mod denials;
mod enforced;
mod established;
mod golden;
#[allow(dead_code, reason = "what `plan` reads of other corpora")]
#[path = "../../../plan/tests/it/policy/kubernetes_json.rs"]
mod kubernetes_json;
mod node;
mod packets;
mod path_mtu;
mod scale;
mod shape;
mod shapes;
mod spoofing;
mod successors;
mod wire;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use podway_dataplane::policy::nftables::NftPolicies;
use podway_dataplane::policy::{Established, PolicyOptions};
use podway_kernel::conntrack::FakeMarker;
use podway_kernel::netns::NetNs;
use podway_kernel::nft::Nftables;
use podway_plan::policy::{Changed, PolicyChange, PolicyPlanner, PolicyTable};
use podway_testkit::policy_scenario::{PolicyCase, parse};

/// The cases that `plan` decides, for other judges.
fn cases() -> Vec<PolicyCase> {
    let text = include_str!("../../../plan/tests/it/policy/cases.txt");
    let mut cases = parse("cases.txt", text);
    let text = include_str!("../../../plan/tests/it/policy/tiers.txt");
    cases.extend(parse("tiers.txt", text));
    cases
}

/// The table of all nodes at once, so that one kernel judges both sides.
fn table(case: &PolicyCase) -> PolicyTable {
    PolicyPlanner::plan(None, &case.state).table().clone()
}

/// What leads from one table to another.
fn change(before: &PolicyTable, after: &PolicyTable) -> PolicyChange {
    fn changed<K: Ord + Clone, V: PartialEq>(
        before: &BTreeMap<K, Arc<V>>,
        after: &BTreeMap<K, Arc<V>>,
    ) -> BTreeMap<K, Changed<V>> {
        let keys = before.keys().chain(after.keys());
        keys.filter(|key| before.get(key) != after.get(key))
            .map(|key| {
                let changed = Changed {
                    before: before.get(key).cloned(),
                    after: after.get(key).cloned(),
                };
                (key.clone(), changed)
            })
            .collect()
    }
    PolicyChange {
        pods: changed(&before.pods, &after.pods),
        peers: changed(&before.peers, &after.peers),
    }
}

/// A network namespace of the test's own.
///
/// # Panics
/// Without root: a test that could not run must not be green.
fn namespace() -> NetNs {
    NetNs::anonymous().expect("tests with packets need root (CAP_SYS_ADMIN, CAP_NET_ADMIN)")
}

/// A backend that has nobody to mark connections for it: who is suspect stays so.
fn backend<K: Nftables>(nft: K) -> NftPolicies<K, FakeMarker> {
    NftPolicies::new(nft, FakeMarker::default(), PolicyOptions::default())
}

/// A backend that leaves connections alone: it writes what policies say and no
/// more.
fn plain_backend<K: Nftables>(nft: K) -> NftPolicies<K, FakeMarker> {
    let options = PolicyOptions {
        established: Established::Leave,
        ..PolicyOptions::default()
    };
    NftPolicies::new(nft, FakeMarker::default(), options)
}
