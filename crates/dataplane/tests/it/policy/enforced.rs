//! A node that enforces what its planner says, as an agent has it do.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use podway_dataplane::policy::nftables::{SPEC, TABLE};
use podway_dataplane::policy::{Established, PolicyBackend, PolicyOptions};
use podway_kernel::nft::{Nft, Nftables as _, Type, Value};
use podway_model::{Change, ClusterState, NetworkPolicy, ObjectRef};
use podway_plan::policy::PolicyPlanner;
use podway_testkit::builders::{IntoObject, name};
use podway_testkit::policy_scenario::parse;

use super::node::{Node, POD_INTERFACES};

const PODS: &str = "namespace x
pod x/a node1 10.244.1.2,fd00:10:244:1::2 app=a
pod x/b node1 10.244.1.3,fd00:10:244:1::3 app=b
case the node
";

/// As an agent has it by default.
pub(super) const DEFAULT: PolicyOptions = PolicyOptions {
    established: Established::Cut,
    anti_spoofing: Some(POD_INTERFACES),
    log: None,
};

/// The node with its agent's parts.
pub(super) struct Enforced {
    pub(super) node: Node,
    pub(super) state: ClusterState,
    pub(super) planner: PolicyPlanner,
    pub(super) backend: Box<dyn PolicyBackend>,
    options: PolicyOptions,
}

impl Enforced {
    pub(super) fn new() -> Self {
        Self::with(DEFAULT)
    }

    pub(super) fn with(options: PolicyOptions) -> Self {
        let node = Node::new();
        let state = parse("pods", PODS).remove(0).state;
        let planner = PolicyPlanner::plan(Some("node1".into()), &state);
        let backend = open(&node, options);
        let mut enforced = Self {
            node,
            state,
            planner,
            backend,
            options,
        };
        enforced.sync_everything();
        for host in [
            &enforced.node.node,
            &enforced.node.a,
            &enforced.node.b,
            &enforced.node.outside,
        ] {
            host.serve(80);
            host.serve(81);
        }
        enforced
    }

    /// What the kernel is told for everything to be as it should: how many
    /// messages.
    pub(super) fn sync_everything(&mut self) -> u64 {
        let report = self.backend.sync(self.planner.table(), None);
        report.expect("a full sync").writes
    }

    /// A change that the agent does not hear of.
    pub(super) fn apply_unheard(&mut self, change: Change) {
        let updates = self.state.apply(change);
        self.planner.update(&self.state, &updates);
    }

    pub(super) fn apply(&mut self, change: Change) {
        let updates = self.state.apply(change);
        let change = self.planner.update(&self.state, &updates);
        self.backend
            .sync(self.planner.table(), Some(&change))
            .expect("a sync");
    }

    /// Puts policies in force, as a scenario writes them.
    pub(super) fn enforce(&mut self, policies: &str) {
        for policy in read(policies) {
            self.apply(Change::Upsert(policy.object()));
        }
    }

    pub(super) fn delete(&mut self, policy: &str) {
        self.apply(Change::Delete(ObjectRef::NetworkPolicy(name(policy))));
    }

    /// Another process of the agent, which knows what the kernel tells it.
    pub(super) fn restart(&mut self) -> u64 {
        self.backend = open(&self.node, self.options);
        self.sync_everything()
    }

    /// Lets the backend do what it left to be done.
    pub(super) fn settle(&mut self) {
        let mut now = Instant::now();
        while let Some(due) = self.backend.follow_up(now).expect("a follow-up") {
            std::thread::sleep(Duration::from_millis(1));
            now = now.max(due);
        }
    }

    /// Whose connections are judged packet by packet.
    pub(super) fn suspects(&self) -> BTreeSet<IpAddr> {
        let mut nft = self.node.node.run(Nft::open).expect("nf_tables");
        let held = nft.dump(TABLE).expect("a dump").expect("the table");
        let mut suspects = BTreeSet::new();
        for (set, kind) in [("suspects4", Type::Ipv4), ("suspects6", Type::Ipv6)] {
            for element in &held.sets[set].elements {
                match Value::decode(kind, &element.key) {
                    Some(Value::Ip(address)) => suspects.insert(address),
                    other => panic!("{other:?} in {set}"),
                };
            }
        }
        suspects
    }
}

/// The policies of a scenario.
pub(super) fn read(policies: &str) -> Vec<NetworkPolicy> {
    let case = parse("policies", &format!("case policies\n{policies}")).remove(0);
    let policies = case.state.policies();
    policies.map(|policy| (**policy).clone()).collect()
}

fn open(node: &Node, options: PolicyOptions) -> Box<dyn PolicyBackend> {
    let opened = node.node.run(|| (SPEC.open)(options));
    opened.expect("the backend opens")
}
