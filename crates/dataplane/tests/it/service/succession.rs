//! One mode after another, under load: what is established goes on, what is new is
//! served, and what is left over goes, whenever the process ends.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use podway_dataplane::service::{
    Anchor, BackendSpec, ServiceBackend as _, Step, Succession, iptables, ipvs, nftables, userspace,
};
use podway_kernel::netns::NetNs;
use podway_model::{Change, ClusterState, LoadBalancerAddress, Service, ServiceType};
use podway_plan::service::{NodeContext, ServicePlanner};
use podway_testkit::builders::{IntoObject, ip, prefixes};

use super::packets::is_second_kernel;
use super::served::{POD_FAR, POD_ONE, POD_TWO, node_port, numbered, slices, vip};
use super::settings;
use super::site::{Connection, Reply, Site, ask, connect, udp};

const EXTERNAL: [&str; 2] = ["203.0.113.7", "2001:db8:1::7"];
const BALANCED: [&str; 2] = ["203.0.113.9", "2001:db8:1::9"];

fn modes() -> Vec<&'static BackendSpec> {
    let mut modes = vec![&nftables::SPEC, &iptables::SPEC, &userspace::SPEC];
    if is_second_kernel() {
        modes.push(&ipvs::SPEC);
    }
    modes
}

type Pair = (&'static BackendSpec, &'static BackendSpec);

/// From each mode to one other, unless everything is asked for.
fn some_pairs() -> Vec<Pair> {
    if std::env::var_os("PODWAY_TEST_FULL").is_some() {
        return pairs();
    }
    let from = modes().into_iter();
    from.zip(modes().into_iter().cycle().skip(1)).collect()
}

/// From each mode to each other.
fn pairs() -> Vec<Pair> {
    let all = modes().into_iter();
    let pairs = all.flat_map(|from| modes().into_iter().map(move |to| (from, to)));
    pairs.filter(|(from, to)| from.name != to.name).collect()
}

/// A service with every kind of frontend.
fn everywhere() -> Service {
    let balanced = |address: &str| LoadBalancerAddress {
        address: ip(address),
        is_vip: true,
    };
    Service {
        service_type: ServiceType::LoadBalancer,
        external_ips: EXTERNAL.map(ip).into(),
        load_balancer: BALANCED.map(balanced).into(),
        ..numbered(1)
    }
}

/// A node whose modes follow each other.
pub(super) struct Node {
    pub(super) site: Site,
    planner: ServicePlanner,
    pub(super) succession: Succession,
}

impl Node {
    pub(super) fn new(mode: &'static BackendSpec) -> Self {
        Self::at(Site::new(), mode)
    }

    /// On a node that has something in its kernel already.
    pub(super) fn at(site: Site, mode: &'static BackendSpec) -> Self {
        let context = NodeContext {
            node: "node1".into(),
            pod_prefixes: prefixes(&["10.244.1.0/24", "fd00:10:244:1::/64"]),
            ..NodeContext::default()
        };
        let mut state = ClusterState::default();
        let slices = slices(1, &[POD_ONE, POD_TWO, POD_FAR]).map(IntoObject::object);
        for object in [everywhere().object()].into_iter().chain(slices) {
            state.apply(Change::Upsert(object));
        }
        let mut planner = ServicePlanner::new(context);
        planner.plan_all(&state);
        let mut node = Self {
            succession: open(&site, &planner, mode),
            site,
            planner,
        };
        node.sync();
        node
    }

    fn sync(&mut self) {
        let wanted = self.succession.wanted().name;
        let synced = self.try_sync();
        synced.unwrap_or_else(|error| panic!("to {wanted}: {error:?}"));
        assert_eq!(self.succession.mode(), Some(wanted));
    }

    fn try_sync(&mut self) -> Result<(), podway_dataplane::service::Error> {
        let (succession, table) = (&mut self.succession, self.planner.table());
        let sync = || succession.sync(table, None).map(drop);
        self.site.node.run(sync).unwrap()
    }

    fn switch(&mut self, mode: &'static BackendSpec) {
        self.succession.want(mode);
        self.sync();
    }

    /// The process has ended, and another one begins with this mode.
    fn begin_anew(&mut self, mode: &'static BackendSpec) {
        self.succession = open(&self.site, &self.planner, mode);
        self.sync();
    }

    /// Waits until only one mode has something in the kernel.
    pub(super) fn settle(&mut self) {
        let begin = Instant::now();
        let mode = self.succession.mode().unwrap();
        while self.noted() != BTreeSet::from([mode]) {
            let waited = begin.elapsed();
            assert!(waited < Duration::from_secs(60), "{:?}", self.noted());
            thread::sleep(Duration::from_millis(50));
            let (succession, table) = (&mut self.succession, self.planner.table());
            let follow_up = || succession.follow_up(table, Instant::now()).map(drop);
            self.site.node.run(follow_up).unwrap().unwrap();
        }
        assert_eq!(self.succession.leaving().count(), 0);
    }

    pub(super) fn noted(&self) -> BTreeSet<&'static str> {
        let noted = || Anchor::open().unwrap().notes().unwrap();
        self.site.node.run(noted).unwrap()
    }

    pub(super) fn serves(&self, what: &str) {
        for family in [0, 1] {
            for to in [vip(1, family, 80), node_port(1, family)] {
                let reply = connect(&self.site.client, to);
                assert!(
                    matches!(reply, Reply::From { .. }),
                    "{what}: {to} {reply:?}"
                );
            }
        }
    }
}

fn open(site: &Site, planner: &ServicePlanner, mode: &'static BackendSpec) -> Succession {
    let open = || Succession::open(mode, settings(planner.context()));
    site.node.run(open).unwrap().unwrap()
}

fn clients(site: &Site) -> [(&'static str, &NetNs); 3] {
    [
        ("pod", &site.two),
        ("node", &site.node),
        ("outside", &site.client),
    ]
}

/// Every kind of frontend: for TCP, and for UDP.
fn places(family: usize) -> [(SocketAddr, SocketAddr); 4] {
    let at = |addresses: [&str; 2], port| SocketAddr::new(ip(addresses[family]), port);
    [
        (vip(1, family, 80), vip(1, family, 53)),
        (node_port(1, family), node_port(1, family)),
        (at(EXTERNAL, 80), at(EXTERNAL, 53)),
        (at(BALANCED, 80), at(BALANCED, 53)),
    ]
}

/// Connections and flows of everybody to everything.
struct Established {
    connections: Vec<(String, Connection)>,
    flows: Vec<(String, UdpSocket, Reply)>,
}

impl Established {
    fn new(site: &Site) -> Self {
        let mut all = Self::connections(site);
        for family in [0, 1] {
            for (who, client) in clients(site) {
                for (_, to) in places(family) {
                    let what = format!("{who} to {to} (UDP)");
                    let socket = udp(client, to);
                    let reply = ask(&socket);
                    assert!(matches!(reply, Reply::From { .. }), "{what}: {reply:?}");
                    all.flows.push((what, socket, reply));
                }
            }
        }
        all
    }

    fn connections(site: &Site) -> Self {
        let mut all = Self {
            connections: Vec::new(),
            flows: Vec::new(),
        };
        for family in [0, 1] {
            for (who, client) in clients(site) {
                for (to, _) in places(family) {
                    let what = format!("{who} to {to}");
                    let connection = Connection::open(client, to);
                    let connection = connection.unwrap_or_else(|reply| panic!("{what}: {reply:?}"));
                    all.connections.push((what, connection));
                }
            }
        }
        all
    }

    /// Asks again: the kernel forgets a flow that was asked once after 30 s, which
    /// it may take to make all of them on a slow machine.
    fn renew(&mut self) {
        for (_, socket, reply) in &mut self.flows {
            *reply = ask(socket);
        }
    }

    /// `endpoints_stay`: whether each flow's datagrams still come to the same one.
    fn go_on(&mut self, when: &str, endpoints_stay: bool) {
        for (what, connection) in &mut self.connections {
            assert!(connection.echoes(when), "{when}: {what}");
        }
        for (what, socket, reply) in &self.flows {
            let now = ask(socket);
            let goes_on = match endpoints_stay {
                true => now == *reply,
                false => matches!(now, Reply::From { .. }),
            };
            assert!(goes_on, "{when}: {what}: {reply:?}, then {now:?}");
        }
    }

    /// Ends the connections by resets: a proxy and IPVS forget those soon.
    fn reset(self) {
        for (_, mut connection) in self.connections {
            let stream = connection.stream.get_mut();
            stream.write_all(b"unread\n").unwrap();
            stream.peek(&mut [0]).unwrap();
        }
    }
}

/// New connections, one after another.
pub(super) struct Load {
    is_over: Arc<AtomicBool>,
    made: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Of everybody, in both families.
    fn new(site: &Site) -> Self {
        Self::on([
            (&site.client, node_port(1, 0)),
            (&site.two, vip(1, 1, 80)),
            (&site.node, vip(1, 0, 80)),
        ])
    }

    pub(super) fn on(places: [(&NetNs, SocketAddr); 3]) -> Self {
        let mut load = Self {
            is_over: Arc::default(),
            made: Arc::default(),
            threads: Vec::new(),
        };
        for (namespace, to) in places {
            let (is_over, made) = (load.is_over.clone(), load.made.clone());
            let connecting = move || {
                // A thread begins where the one is that has begun it.
                let here = NetNs::current().unwrap();
                let mut failed = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let reply = connect(&here, to);
                    if !matches!(reply, Reply::From { .. }) {
                        failed.push(format!("{to}: {reply:?}"));
                    }
                    made.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(1));
                }
                failed
            };
            let begin = || thread::spawn(connecting);
            load.threads.push(namespace.run(begin).unwrap());
        }
        load.wait(20);
        load
    }

    /// Until so many more have been made.
    fn wait(&self, more: usize) {
        let goal = self.made.load(Ordering::Relaxed) + more;
        while self.made.load(Ordering::Relaxed) < goal {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// How many there were, and which failed.
    pub(super) fn end(self) -> (usize, Vec<String>) {
        self.wait(20);
        self.is_over.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        let failed = threads.flat_map(|thread| thread.join().unwrap()).collect();
        (self.made.load(Ordering::Relaxed), failed)
    }
}

#[test]
fn nobody_notices_that_one_mode_follows_another() {
    for (from, to) in pairs() {
        let what = format!("{} to {}", from.name, to.name);
        let mut node = Node::new(from);
        let mut established = Established::new(&node.site);
        let load = Load::new(&node.site);
        established.renew();
        node.switch(to);
        let (made, failed) = load.end();
        assert_eq!(failed, Vec::<String>::new(), "{what}: of {made}");
        // IPVS takes datagrams before a proxy can: their flows begin anew.
        let moves = (from.name, to.name) == (userspace::SPEC.name, ipvs::SPEC.name);
        established.go_on(&what, !moves);
        // And back, while the first mode may still have something to relay.
        node.switch(from);
        established.go_on(&format!("{what} and back"), false);
        node.serves(&what);
    }
}

#[test]
fn what_a_mode_leaves_goes_with_the_last_connection() {
    for (from, to) in some_pairs() {
        let mut node = Node::new(from);
        // Datagrams would keep a proxy for two minutes, and IPVS for five.
        let mut established = Established::connections(&node.site);
        node.switch(to);
        established.go_on(to.name, true);
        established.reset();
        node.settle();
        node.serves(to.name);
    }
}

/// The steps of a succession, as far as they come.
fn steps(from: &'static BackendSpec, to: &'static BackendSpec) -> Vec<Step> {
    let mut node = Node::new(from);
    let (tell, told) = std::sync::mpsc::channel();
    node.succession.watch(move |step| {
        let _ = tell.send(step);
    });
    node.switch(to);
    told.try_iter().collect()
}

#[test]
fn a_process_that_ends_at_any_step_leaves_services_served() {
    for (from, to) in some_pairs() {
        for (number, step) in steps(from, to).into_iter().enumerate() {
            for next in [to, from] {
                let what = format!(
                    "{} to {}, ended at {step:?}, {}",
                    from.name, to.name, next.name
                );
                let mut node = Node::new(from);
                let mut established = Established::new(&node.site);
                end_at(&mut node, to, number);
                // A proxy ends with its process.
                let is_kernel = |spec: &BackendSpec| spec.name != userspace::SPEC.name;
                if is_kernel(from) && is_kernel(to) {
                    node.serves(&what);
                    established.go_on(&what, true);
                }
                node.begin_anew(next);
                node.serves(&what);
                if is_kernel(from) {
                    established.go_on(&what, false);
                }
            }
        }
    }
}

/// The process ends at this step of a succession.
fn end_at(node: &mut Node, to: &'static BackendSpec, number: usize) {
    let mut count = 0;
    node.succession.watch(move |_| {
        count += 1;
        assert!(count <= number, "the process ends");
    });
    node.succession.want(to);
    let ended = {
        let (succession, table) = (&mut node.succession, node.planner.table());
        let mut sync = || catch_unwind(AssertUnwindSafe(|| succession.sync(table, None).is_ok()));
        node.site.node.run(|| sync().is_err()).unwrap()
    };
    assert!(ended, "it ends at step {number}");
    // Everything that is the process' own goes.
    let placeholder = open(&node.site, &node.planner, to);
    drop(std::mem::replace(&mut node.succession, placeholder));
}

#[test]
fn a_mode_that_the_kernel_refuses_changes_nothing() {
    if is_second_kernel() {
        return;
    }
    let mut node = Node::new(&nftables::SPEC);
    let mut established = Established::new(&node.site);
    node.succession.want(&ipvs::SPEC);
    let error = node.try_sync().unwrap_err();
    assert!(error.to_string().contains("mode ipvs"), "{error}");
    assert_eq!(node.succession.mode(), Some("nftables"));
    assert_eq!(node.noted(), BTreeSet::from(["nftables"]));
    node.serves("refused");
    established.go_on("refused", true);
}

#[test]
fn a_cleanup_leaves_nothing_of_any_mode() {
    for (from, to) in some_pairs() {
        let mut node = Node::new(from);
        let _established = Established::new(&node.site);
        node.switch(to);
        let succession = &mut node.succession;
        let cleanup = || succession.cleanup();
        node.site.node.run(cleanup).unwrap().unwrap();
        assert_eq!(node.noted(), BTreeSet::new());
        let listed = node.site.node.run(|| {
            let output = std::process::Command::new("nft")
                .args(["list", "tables"])
                .output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        });
        let listed = listed.unwrap();
        assert!(!listed.contains("podway"), "{listed}");
    }
}
