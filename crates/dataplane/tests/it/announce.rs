//! Addresses on a real segment: who answers is asked with `arping` and `ndisc6`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use podway_dataplane::announce::layer2::{Handle, Plan, Settings, Task, View};
use podway_kernel::netns::NetNs;
use podway_kernel::route::{LinkChange, NewLink, Rtnetlink, VethPeer};
use podway_kernel::sysctl;
use podway_plan::announce::{Candidate, Layer2Address};
use podway_testkit::builders::{ip, prefix};
use podway_wire::mesh::Key;

const V4: &str = "172.16.0.200";
const V6: &str = "fd00:172:16::200";
/// A test that waits longer for something that must come has failed.
const LIMIT: Duration = Duration::from_secs(20);

/// A bridge, three nodes and a client on it.
struct Segment {
    bridge: Rtnetlink,
    client: NetNs,
    nodes: Vec<Option<Node>>,
}

struct Node {
    mac: String,
    /// Ends the task when it is dropped.
    handle: Option<Handle>,
    task: Option<JoinHandle<()>>,
    seen: Arc<(Mutex<View>, Condvar)>,
}

fn name(number: u8) -> Arc<str> {
    format!("node{number}").into()
}

fn addresses(number: u8) -> [String; 2] {
    [
        format!("172.16.0.1{number}/24"),
        format!("fd00:172:16::1{number}/64"),
    ]
}

/// What every node may hold; the lowest number first.
fn plan() -> Plan {
    let candidate = |number: u8| Candidate {
        node: name(number),
        rank: number.into(),
    };
    let address = Layer2Address {
        candidates: (1..=3).map(candidate).collect(),
        interfaces: None,
        services: BTreeSet::new(),
    };
    let voter = |number: u8| (name(number), prefix(&addresses(number)[0]).addr());
    Plan {
        voters: (1..=3).map(voter).collect(),
        addresses: BTreeMap::from([(ip(V4), address.clone()), (ip(V6), address)]),
        ready: true,
    }
}

impl Segment {
    fn new() -> Self {
        let namespace = NetNs::anonymous().expect("tests of interfaces need root");
        let mut bridge = Rtnetlink::open_in(&namespace).unwrap();
        bridge.create_link(&NewLink::bridge("bridge").up()).unwrap();
        let client = host(&mut bridge, 9);
        let nodes = (1..=3).map(|number| {
            let namespace = host(&mut bridge, number);
            Some(Node::start(&namespace, number))
        });
        let nodes = nodes.collect();
        Self {
            bridge,
            client,
            nodes,
        }
    }

    /// Waits until a node says that it holds both addresses.
    fn wait_for_holder(&self, number: u8) {
        let node = self.nodes[usize::from(number) - 1].as_ref().unwrap();
        let (view, changed) = &*node.seen;
        let mut view = view.lock();
        while view.held != BTreeSet::from([ip(V4), ip(V6)]) {
            let waited = changed.wait_for(&mut view, LIMIT);
            assert!(!waited.timed_out(), "node{number} sees {view:#?}");
        }
    }

    /// The link addresses that answer a client's question.
    fn answers(&self, program: &str, arguments: &[&str]) -> BTreeSet<String> {
        let run = || Command::new(program).args(arguments).output();
        let output = self.client.run(run).unwrap();
        let output = output.unwrap_or_else(|error| panic!("{program} (scripts/prepare): {error}"));
        let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
        eprintln!(
            "{program}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let macs = text.split(|c: char| !(c.is_ascii_hexdigit() || c == ':'));
        macs.filter(|word| word.len() == 17 && word.matches(':').count() == 5)
            .map(str::to_owned)
            .collect()
    }

    fn ask(&self, address: IpAddr) -> BTreeSet<String> {
        match address {
            // All answers of a second, not the first one alone.
            IpAddr::V4(_) => self.answers("arping", &["-c2", "-w1", "-ieth0", V4]),
            IpAddr::V6(_) => self.answers("ndisc6", &["-m", "-r3", "-w1000", V6, "eth0"]),
        }
    }

    fn assert_answered_by(&self, number: u8) {
        let node = self.nodes[usize::from(number) - 1].as_ref().unwrap();
        for address in [ip(V4), ip(V6)] {
            let answers = self.ask(address);
            assert_eq!(answers, BTreeSet::from([node.mac.clone()]), "{address}");
        }
    }

    fn assert_silent(&self) {
        for address in [ip(V4), ip(V6)] {
            assert_eq!(self.ask(address), BTreeSet::new(), "{address}");
        }
    }
}

/// A namespace with `eth0` on the bridge.
fn host(bridge: &mut Rtnetlink, number: u8) -> NetNs {
    let namespace = NetNs::anonymous().unwrap();
    // Link-local addresses are there at once, not after a second or two.
    let no_detection = || sysctl::write("net/ipv6/conf/default/accept_dad", "0");
    namespace.run(no_detection).unwrap().unwrap();
    let index = bridge.link("bridge").unwrap().unwrap().index;
    let peer = VethPeer::new("eth0").in_namespace(&namespace).up();
    let veth = NewLink::veth(format!("host{number}"), peer)
        .master(index)
        .up();
    bridge.create_link(&veth).unwrap();
    let mut inside = Rtnetlink::open_in(&namespace).unwrap();
    let lo = inside.link("lo").unwrap().unwrap().index;
    inside.change_link(lo, &LinkChange::new().up()).unwrap();
    let eth0 = inside.link("eth0").unwrap().unwrap().index;
    for address in addresses(number) {
        inside.add_address(eth0, prefix(&address)).unwrap();
    }
    namespace
}

impl Node {
    fn start(namespace: &NetNs, number: u8) -> Self {
        let mut inside = Rtnetlink::open_in(namespace).unwrap();
        let eth0 = inside.link("eth0").unwrap().unwrap();
        let settings = Settings {
            node: name(number),
            key: Key::from_secret(b"shared"),
            port: 7946,
            pod_group: None,
        };
        let seen = Arc::new((Mutex::new(View::default()), Condvar::new()));
        let told = seen.clone();
        let observer = Box::new(move |view, _| {
            *told.0.lock() = view;
            told.1.notify_all();
        });
        let opened = namespace.run(|| Task::open(settings, observer)).unwrap();
        let (task, handle) = opened.unwrap();
        handle.set_plan(plan());
        Self {
            mac: eth0.mac.unwrap().to_string(),
            handle: Some(handle),
            task: Some(thread::spawn(move || task.run().unwrap())),
            seen,
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.handle.take());
        if let Some(task) = self.task.take() {
            let _ = task.join();
        }
    }
}

#[test]
fn one_node_answers_and_the_next_when_it_is_gone() {
    let mut segment = Segment::new();
    segment.wait_for_holder(1);
    segment.assert_answered_by(1);
    // Its agent ends; then the wire of the next is cut.
    segment.nodes[0] = None;
    segment.wait_for_holder(2);
    segment.assert_answered_by(2);
    let wire = segment.bridge.link("host2").unwrap().unwrap().index;
    segment.bridge.delete_link(wire).unwrap();
    // One node of three holds nothing.
    let two = segment.nodes[1].as_ref().unwrap();
    let (view, changed) = &*two.seen;
    let mut view = view.lock();
    while !view.held.is_empty() {
        assert!(!changed.wait_for(&mut view, LIMIT).timed_out(), "{view:#?}");
    }
    drop(view);
    segment.assert_silent();
}

#[test]
fn a_drained_node_hands_over_and_takes_back() {
    let segment = Segment::new();
    segment.wait_for_holder(1);
    let without_first = {
        let mut plan = plan();
        for address in plan.addresses.values_mut() {
            address.candidates.remove(0);
        }
        plan
    };
    let tell = |plan: &Plan| {
        for node in segment.nodes.iter().flatten() {
            node.handle.as_ref().unwrap().set_plan(plan.clone());
        }
    };
    tell(&without_first);
    segment.wait_for_holder(2);
    segment.assert_answered_by(2);
    tell(&plan());
    segment.wait_for_holder(1);
    segment.assert_answered_by(1);
}
