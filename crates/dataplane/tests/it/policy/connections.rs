//! Real connections through a node: who gets through, what stays when policies
//! change, and what is never asked.

use std::net::SocketAddr;
use std::process::Command;

use podway_dataplane::policy::PolicyBackend as _;
use podway_dataplane::policy::nftables::NftPolicies;
use podway_kernel::nft::Nft;
use podway_model::{Change, ClusterState, NetworkPolicy, ObjectRef};
use podway_plan::policy::PolicyPlanner;
use podway_testkit::builders::{IntoObject, name};
use podway_testkit::policy_scenario::parse;

use super::node::{Host, Node, is_alive};

const PODS: &str = "namespace x
pod x/a node1 10.244.1.2,fd00:10:244:1::2 app=a
pod x/b node1 10.244.1.3,fd00:10:244:1::3 app=b
case the node
";

/// A node that enforces what its planner says.
struct Enforced {
    node: Node,
    state: ClusterState,
    planner: PolicyPlanner,
    backend: NftPolicies<Nft>,
}

impl Enforced {
    fn new() -> Self {
        let node = Node::new();
        let state = parse("pods", PODS).remove(0).state;
        let planner = PolicyPlanner::plan(Some("node1".into()), &state);
        let nft = node.node.run(Nft::open).expect("nf_tables");
        let mut backend = NftPolicies::new(nft);
        backend.sync(planner.table(), None).expect("the first sync");
        for host in [&node.node, &node.a, &node.b, &node.outside] {
            host.serve(80);
            host.serve(81);
        }
        Self {
            node,
            state,
            planner,
            backend,
        }
    }

    fn apply(&mut self, change: Change) {
        let updates = self.state.apply(change);
        let change = self.planner.update(&self.state, &updates);
        self.backend
            .sync(self.planner.table(), Some(&change))
            .expect("a sync");
    }

    /// Puts policies in force, as a scenario writes them.
    fn enforce(&mut self, policies: &str) {
        let case = parse("policies", &format!("case policies\n{policies}")).remove(0);
        let policies: Vec<NetworkPolicy> = case
            .state
            .policies()
            .map(|policy| (**policy).clone())
            .collect();
        for policy in policies {
            self.apply(Change::Upsert(policy.object()));
        }
    }
}

/// Tries TCP and UDP in both families, and expects the same of all four.
fn expect(from: &Host, to: &Host, port: u16, open: bool, why: &str) {
    for address in to.addresses {
        let to = SocketAddr::new(address, port);
        let source = from.addresses;
        assert_eq!(
            from.connect(to).is_some(),
            open,
            "{source:?} to {to}/tcp: {why}"
        );
        assert_eq!(from.ask(to), open, "{source:?} to {to}/udp: {why}");
    }
}

fn pings(from: &Host, to: &Host) -> [bool; 2] {
    to.addresses.map(|address| {
        from.run(|| {
            let output = Command::new("ping")
                .args(["-c1", "-W1", "-i0.1", &address.to_string()])
                .output()
                .expect("the ping program");
            output.status.success()
        })
    })
}

/// Both the other pod and the outside reach a, or neither does.
fn expect_into_a(node: &Node, open: bool, why: &str) {
    expect(&node.b, &node.a, 80, open, why);
    expect(&node.outside, &node.a, 80, open, why);
}

#[test]
fn a_policy_closes_and_its_deletion_opens() {
    let mut enforced = Enforced::new();
    expect_into_a(&enforced.node, true, "no policy");

    enforced.enforce("policy x/p app=a\ningress none\n");
    let node = &enforced.node;
    expect_into_a(node, false, "ingress none");
    expect(&node.a, &node.b, 80, true, "egress is open");
    expect(&node.a, &node.outside, 80, true, "egress is open");
    expect(&node.node, &node.a, 80, true, "its own node");

    enforced.apply(Change::Delete(ObjectRef::NetworkPolicy(name("x/p"))));
    expect_into_a(&enforced.node, true, "no policy any more");
}

#[test]
fn who_is_allowed_gets_through_and_nobody_else() {
    let mut enforced = Enforced::new();
    enforced.enforce("policy x/q app=a\ningress from pods app=b ports tcp/80 udp/80\n");
    let node = &enforced.node;
    expect(&node.b, &node.a, 80, true, "allowed");
    expect(&node.b, &node.a, 81, false, "another port");
    expect(&node.outside, &node.a, 80, false, "another peer");

    enforced.enforce("policy x/r app=b\negress none\n");
    let node = &enforced.node;
    expect(&node.b, &node.a, 80, false, "the source's side");
}

#[test]
fn a_pod_and_its_node() {
    let mut enforced = Enforced::new();
    enforced.enforce(
        "policy x/p app=a\ningress none\negress to block 172.16.0.250/32 | block fd00:172:16::250/128\n",
    );
    let Node {
        node,
        a,
        b,
        outside,
    } = &enforced.node;
    expect(a, outside, 80, true, "the block");
    expect(a, node, 80, false, "the node is an address like any other");
    expect(a, b, 80, false, "not in the block");
    expect(node, a, 80, true, "the node reaches its pods");
    // The pod found its gateway's link address, IPv6's as well, or nothing
    // above would have been open.
}

#[test]
fn established_connections_outlive_syncs_and_changes() {
    let mut enforced = Enforced::new();
    enforced.enforce("policy x/p app=a\ningress from pods app=b\n");
    let targets = enforced
        .node
        .a
        .addresses
        .map(|address| SocketAddr::new(address, 80));
    let mut streams = targets.map(|to| enforced.node.b.connect(to).expect("allowed"));
    let all_alive = |streams: &mut [std::net::TcpStream; 2], when: &str| {
        let alive = streams.each_mut().map(is_alive);
        assert_eq!(alive, [true; 2], "{when}");
    };
    all_alive(&mut streams, "at first");

    let report = enforced.backend.sync(enforced.planner.table(), None);
    assert_eq!(report.expect("a full sync").writes, 0);
    all_alive(&mut streams, "after a full sync");

    let nft = enforced.node.node.run(Nft::open).expect("nf_tables");
    let mut restarted = NftPolicies::new(nft);
    let report = restarted.sync(enforced.planner.table(), None);
    assert_eq!(report.expect("after a restart").writes, 0);
    all_alive(&mut streams, "after a restart");

    enforced.enforce("policy x/p app=a\ningress none\n");
    all_alive(&mut streams, "after a policy that would not let it begin");
    for to in targets {
        assert!(
            enforced.node.b.connect(to).is_none(),
            "{to} is closed to new ones"
        );
    }
}

#[test]
fn replies_of_an_isolated_pod_pass() {
    let mut enforced = Enforced::new();
    enforced.enforce("policy x/p app=a\ningress none\negress to pods app=b\n");
    expect(
        &enforced.node.a,
        &enforced.node.b,
        80,
        true,
        "the answers come back",
    );
    enforced.enforce("policy x/q app=b\negress none\n");
    expect(
        &enforced.node.a,
        &enforced.node.b,
        80,
        true,
        "b only answers",
    );
}

#[test]
fn echo_passes_where_a_rule_allows_the_peer_every_port() {
    let mut enforced = Enforced::new();
    assert_eq!(pings(&enforced.node.b, &enforced.node.a), [true; 2], "open");
    enforced.enforce("policy x/p app=a\ningress from pods app=b ports tcp udp sctp\n");
    assert_eq!(
        pings(&enforced.node.b, &enforced.node.a),
        [false; 2],
        "some ports"
    );
    enforced.enforce("policy x/p app=a\ningress from pods app=b\n");
    assert_eq!(
        pings(&enforced.node.b, &enforced.node.a),
        [true; 2],
        "every port"
    );
    assert_eq!(
        pings(&enforced.node.outside, &enforced.node.a),
        [false; 2],
        "others"
    );
    assert_eq!(
        pings(&enforced.node.node, &enforced.node.a),
        [true; 2],
        "the node"
    );
}

#[test]
fn errors_about_allowed_packets_come_back() {
    let mut enforced = Enforced::new();
    // Nobody listens on 82: the answer is ICMP port unreachable, related to the
    // datagram that a may send, though nothing else may reach a.
    enforced.enforce("policy x/p app=a\ningress none\negress to pods app=b\n");
    for address in enforced.node.b.addresses {
        let to = SocketAddr::new(address, 82);
        let error = enforced.node.a.run(|| {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = std::net::UdpSocket::bind(any).expect("a port");
            socket.connect(to).expect("a route");
            let wait = std::time::Duration::from_secs(10);
            socket.set_read_timeout(Some(wait)).expect("a timeout");
            socket.send(b"?").expect("sent");
            socket.recv(&mut [0; 8]).expect_err("nobody is there")
        });
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{to}");
    }
}
