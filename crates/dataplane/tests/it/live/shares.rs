//! Each endpoint's share of many connections, by weight.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use podway_dataplane::service::{iptables, nftables, userspace};
use podway_testkit::builders::ip;
use podway_testkit::scenario;

use super::stage::Stage;
use super::wire::{Answer, Ask};
use super::{Mode, Scene, plan};

const SCENARIO: &str = "
    node node1 192.168.0.2 2001:db8::2
    on node1 node1 detector=10.180.0.0/24,fd00:10::/64
    service ns/even ip=172.30.0.1,fd00:30::1 port=p:80/tcp@30001
    endpoint ns/even:p 10.180.0.1:80 node1
    endpoint ns/even:p 10.180.0.2:80 node1
    endpoint ns/even:p 10.180.1.1:80 node2
    endpoint ns/even:p [fd00:10::1]:80 node1
    endpoint ns/even:p [fd00:10::2]:80 node1
    endpoint ns/even:p [fd00:10:1::1]:80 node2
    service ns/uneven ip=172.30.0.2,fd00:30::2 port=p:80/tcp
    endpoint ns/uneven:p 10.180.0.1:80 node1 weight=100
    endpoint ns/uneven:p 10.180.0.2:80 node1 weight=50
    endpoint ns/uneven:p 10.180.1.1:80 node2 weight=9
    endpoint ns/uneven:p [fd00:10::1]:80 node1 weight=100
    endpoint ns/uneven:p [fd00:10::2]:80 node1 weight=50
    endpoint ns/uneven:p [fd00:10:1::1]:80 node2 weight=9
    flow pod 10.180.0.9 > 172.30.0.1:80 = 10.180.0.1:80 10.180.0.2:80 10.180.1.1:80
    flow pod fd00:10::9 > [fd00:30::1]:80 = [fd00:10::1]:80 [fd00:10::2]:80 [fd00:10:1::1]:80
    flow pod 10.180.0.9 > 172.30.0.2:80 = 10.180.0.1:80 10.180.0.2:80 10.180.1.1:80
    flow pod fd00:10::9 > [fd00:30::2]:80 = [fd00:10::1]:80 [fd00:10::2]:80 [fd00:10:1::1]:80
    flow outside 203.0.113.2 > 192.168.0.2:30001 = 10.180.0.1:80 10.180.0.2:80 10.180.1.1:80 M
    flow outside 2001:db8:f::2 > [2001:db8::2]:30001 = [fd00:10::1]:80 [fd00:10::2]:80 [fd00:10:1::1]:80 M
";

/// Client, frontend, and the weights of the endpoints in order of address.
const COUNTED: [(&str, &str, [u32; 3]); 6] = [
    ("10.180.0.9", "172.30.0.1:80", [1, 1, 1]),
    ("fd00:10::9", "[fd00:30::1]:80", [1, 1, 1]),
    ("10.180.0.9", "172.30.0.2:80", [100, 50, 9]),
    ("fd00:10::9", "[fd00:30::2]:80", [100, 50, 9]),
    ("203.0.113.2", "192.168.0.2:30001", [1, 1, 1]),
    ("2001:db8:f::2", "[2001:db8::2]:30001", [1, 1, 1]),
];

#[test]
fn endpoints_get_their_shares_in_nftables() {
    judge(Mode::Spec(&nftables::SPEC));
}

#[test]
fn endpoints_get_their_shares_in_iptables() {
    judge(Mode::Spec(&iptables::SPEC));
}

#[test]
fn endpoints_get_their_shares_in_iptables_legacy() {
    judge(Mode::Legacy);
}

#[test]
fn endpoints_get_their_shares_in_userspace() {
    judge(Mode::Spec(&userspace::SPEC));
}

fn judge(mode: Mode) {
    let cases = scenario::parse("shares", SCENARIO);
    let (case, stage) = (&cases[0], Stage::new(cases.iter()));
    let context = &case.contexts["node1"];
    let scene = Scene {
        mode,
        stage: &stage,
        context,
        table: plan(&case.state, context),
    };
    // That every endpoint answers at all, and whom it sees.
    let wrong = scene.play(&case.flows.iter().collect::<Vec<_>>());
    assert!(wrong.is_empty(), "{}\n{wrong}", mode.name());

    let mut backend = mode.start_in(&stage.node, context);
    backend.sync(&scene.table, None).unwrap();
    for (client, to, weights) in COUNTED {
        let counts = count(&stage, ip(client), to.parse().unwrap());
        let found: Vec<f64> = counts.values().map(|count| f64::from(*count)).collect();
        let (total, weight) = (connections(), weights.iter().sum::<u32>());
        let share = |one: u32| f64::from(total) * f64::from(one) / f64::from(weight);
        let expected = weights.map(share);
        let pairs = found.iter().zip(expected);
        let chi_squared: f64 = pairs.map(|(n, share)| (n - share).powi(2) / share).sum();
        // Two degrees of freedom: beyond 27.6 once in a million runs.
        assert!(
            found.len() == weights.len() && chi_squared < 27.6,
            "{}: {client} > {to}: {counts:?} in place of {expected:?}: {chi_squared}",
            mode.name()
        );
    }
}

/// In the long form as many as the issue of services asks for.
fn connections() -> u32 {
    if crate::is_full() { 10_000 } else { 1_500 }
}

fn count(stage: &Stage, from: IpAddr, to: SocketAddr) -> BTreeMap<SocketAddr, u32> {
    let ask = Ask {
        from,
        to,
        is_udp: false,
    };
    let mut counts = BTreeMap::new();
    let all = || {
        for _ in 0..connections() {
            match ask.patiently(stage.next_port()) {
                Answer::From { answered, .. } => *counts.entry(answered).or_default() += 1,
                other => panic!("{from} > {to}: {other:?}"),
            }
        }
    };
    stage.hosts[&from].run(all).unwrap();
    counts
}
