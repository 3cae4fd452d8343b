use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use podway_plan::announce::{Candidate, Layer2Address};
use podway_wire::Moment;
use podway_wire::layer2::{
    ArpOperation, ArpPacket, ETHERTYPE_ARP, EthernetFrame, Interface, MacAddress,
};
use podway_wire::mesh::{Incarnation, Key};

use super::{Layer2, Plan};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 200);
const CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xff]);

/// Nodes on one segment that loses nothing, in simulated time.
struct Segment {
    nodes: Vec<Option<Layer2>>,
    now: Moment,
}

fn name(index: usize) -> Arc<str> {
    format!("node{index}").into()
}

fn node_address(index: usize) -> IpAddr {
    Ipv4Addr::new(172, 16, 0, 11 + u8::try_from(index).expect("few nodes")).into()
}

fn mac(index: usize) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, u8::try_from(index).expect("few nodes")])
}

/// The lower the number, the better the node.
fn plan(nodes: usize, interfaces: Option<&str>) -> Plan {
    let candidate = |index| Candidate {
        node: name(index),
        rank: index as u128,
    };
    let address = Layer2Address {
        candidates: (0..nodes).map(candidate).collect(),
        interfaces: interfaces.map(|name| BTreeSet::from([name.to_owned()])),
        services: BTreeSet::new(),
    };
    Plan {
        voters: (0..nodes).map(|i| (name(i), node_address(i))).collect(),
        addresses: BTreeMap::from([(ADDRESS.into(), address)]),
        ready: true,
    }
}

impl Segment {
    fn new(nodes: usize, plan: &Plan) -> Self {
        let now = Moment::after_origin(Duration::from_secs(1000));
        let node = |index| {
            let key = Key::from_secret(b"secret");
            let mut lives = 0;
            let life = move || {
                lives += 1;
                Incarnation::new(lives, 7)
            };
            let mut node = Layer2::new(name(index), key, Box::new(life), now);
            let interface = |number, name: &str| {
                let interface = Interface {
                    index: number,
                    mac: mac(index),
                    ipv6: false,
                    up: true,
                };
                (name.to_owned(), interface)
            };
            node.set_interfaces(&[interface(1, "eth0"), interface(2, "eth1")].into(), now);
            node.set_plan(plan.clone(), now);
            Some(node)
        };
        Self {
            nodes: (0..nodes).map(node).collect(),
            now,
        }
    }

    /// Lets time pass, in steps of a few milliseconds.
    fn pass(&mut self, time: Duration) {
        const STEP: Duration = Duration::from_millis(5);
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            let now = self.now;
            let mut sent = VecDeque::new();
            for node in self.nodes.iter_mut().flatten() {
                sent.extend(node.tick(now).datagrams);
            }
            while let Some((to, bytes)) = sent.pop_front() {
                let to = (0..self.nodes.len()).find(|index| node_address(*index) == to);
                if let Some(Some(node)) = to.map(|index| &mut self.nodes[index]) {
                    let outbox = node.receive_datagram(&bytes, now).expect("from a voter");
                    sent.extend(outbox.datagrams);
                }
            }
        }
    }

    /// Who answers a client's question that comes in by this interface.
    fn answers(&mut self, interface: u32) -> Vec<MacAddress> {
        let question = ArpPacket {
            operation: ArpOperation::Request,
            sender_mac: CLIENT,
            sender: Ipv4Addr::new(172, 16, 0, 250),
            target_mac: MacAddress::ZERO,
            target: ADDRESS,
        };
        let frame = EthernetFrame {
            destination: MacAddress::BROADCAST,
            source: CLIENT,
            ethertype: ETHERTYPE_ARP,
            payload: &question.encode(),
        };
        let frame = frame.encode();
        let now = self.now;
        let nodes = self.nodes.iter_mut().flatten();
        let answers = nodes.filter_map(|node| node.receive_frame(interface, &frame, now));
        let answer = |answer: super::Outgoing| {
            assert_eq!(answer.interface, interface);
            EthernetFrame::decode(&answer.frame)
                .expect("a frame")
                .source
        };
        answers.map(answer).collect()
    }
}

const SETTLED: Duration = Duration::from_secs(3);
const FAILED_OVER: Duration = Duration::from_millis(520);

#[test]
fn one_answers_and_another_when_it_is_gone() {
    let mut segment = Segment::new(3, &plan(3, None));
    assert_eq!(segment.answers(1), [], "nobody before a majority votes");
    segment.pass(SETTLED);
    assert_eq!(segment.answers(1), [mac(0)]);
    segment.nodes[0] = None;
    segment.pass(FAILED_OVER);
    assert_eq!(segment.answers(1), [mac(1)]);
    // One of three is no majority: better silent than two who answer.
    segment.nodes[1] = None;
    segment.pass(SETTLED);
    assert_eq!(segment.answers(1), []);
}

#[test]
fn a_node_that_cannot_serve_gives_way_until_it_can() {
    let mut segment = Segment::new(3, &plan(3, None));
    segment.pass(SETTLED);
    let now = segment.now;
    for (change, answers) in [
        (
            Plan {
                ready: false,
                ..plan(3, None)
            },
            vec![mac(1)],
        ),
        (plan(3, None), vec![mac(0)]),
    ] {
        let node = segment.nodes[0].as_mut().expect("it is there");
        node.set_plan(change.clone(), segment.now);
        segment.pass(SETTLED);
        assert_eq!(segment.answers(1), answers, "{change:#?}");
    }
    assert!(segment.now > now);
}

#[test]
fn only_the_chosen_interface_answers() {
    let mut segment = Segment::new(1, &plan(1, Some("eth1")));
    segment.pass(SETTLED);
    assert_eq!(
        (segment.answers(1), segment.answers(2)),
        (vec![], vec![mac(0)])
    );
}

#[test]
fn a_node_alone_needs_nobody_and_an_empty_plan_no_time() {
    let mut segment = Segment::new(1, &plan(1, None));
    segment.pass(SETTLED);
    assert_eq!(segment.answers(1), [mac(0)]);
    let now = segment.now;
    let node = segment.nodes[0].as_mut().expect("it is there");
    node.set_plan(Plan::default(), now);
    let _ = node.tick(now);
    assert_eq!(node.next_deadline(now), None);
    assert_eq!(segment.answers(1), []);
}

#[test]
fn a_cluster_that_outgrows_its_timing_goes_on() {
    let mut segment = Segment::new(3, &plan(3, None));
    segment.pass(SETTLED);
    // 60 voters of which 3 answer are no majority; then the others are deleted.
    let mut many = plan(3, None);
    many.voters
        .extend((3..60).map(|index| (name(index), node_address(index))));
    let now = segment.now;
    for node in segment.nodes.iter_mut().flatten() {
        node.set_plan(many.clone(), now);
    }
    segment.pass(SETTLED);
    assert_eq!(segment.answers(1), []);
    let now = segment.now;
    for node in segment.nodes.iter_mut().flatten() {
        node.set_plan(plan(3, None), now);
    }
    segment.pass(SETTLED);
    assert_eq!(segment.answers(1), [mac(0)]);
}
