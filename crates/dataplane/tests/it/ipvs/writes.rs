//! What is written, how little, and what is left to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use podway_dataplane::service::ipvs::{DEVICE, IpvsSettings};
use podway_dataplane::service::{ServiceBackend as _, ServiceSettings, SyncReport};
use podway_kernel::ipset::{Member, SetType, TypedSet, TypedSets as _};
use podway_kernel::iptables::{Family, Iptables as _, Rule, Script, Table};
use podway_kernel::ipvs::{Ipvs as _, RealServer, Scheduling, VirtualServer};
use podway_model::{Change, ClusterState, ObjectRef};
use podway_plan::service::ServicePlanner;
use podway_testkit::builders::{endpoint, ip, name, socket, state};
use proptest::prelude::*;

use super::{Fake, FakeKernel, fake, fake_kernel, sync};
use crate::iptables::clusters::{any_change, context, numbered, slice_of, variety};
use crate::iptables::settings;

/// A node whose cluster changes.
struct Node {
    backend: Fake,
    planner: ServicePlanner,
    state: ClusterState,
}

impl Node {
    fn new(state: ClusterState) -> Self {
        let mut planner = ServicePlanner::new(context());
        planner.plan_all(&state);
        let mut node = Self {
            backend: fake(),
            planner,
            state,
        };
        node.sync_whole();
        node
    }

    fn sync_whole(&mut self) -> SyncReport {
        sync(&mut self.backend, self.planner.table(), None)
    }

    fn apply(&mut self, change: Change) -> SyncReport {
        let updates = self.state.apply(change);
        let updates: Vec<_> = updates.into_iter().collect();
        let change = self.planner.update(&self.state, &updates);
        sync(&mut self.backend, self.planner.table(), Some(&change))
    }

    fn kernel(&mut self) -> &mut FakeKernel {
        self.backend.kernel_mut()
    }

    /// Another agent over the same kernel: what it finds to write.
    fn restart(&mut self) -> SyncReport {
        let kernel = std::mem::replace(self.kernel(), fake_kernel());
        self.backend = Fake::new(kernel, settings(&context()));
        self.sync_whole()
    }

    fn reals(&mut self, server: &VirtualServer) -> BTreeMap<SocketAddr, RealServer> {
        self.kernel().ipvs.real_servers(server).unwrap()
    }

    fn weights(&mut self, server: &VirtualServer) -> Vec<(String, u32)> {
        let reals = self.reals(server).into_iter();
        reals
            .map(|(real, held)| (real.to_string(), held.weight))
            .collect()
    }

    fn has_server(&mut self, server: &VirtualServer) -> bool {
        self.kernel().ipvs.servers().unwrap().contains_key(server)
    }
}

fn tcp(address: &str) -> VirtualServer {
    VirtualServer::Address {
        protocol: 6,
        address: socket(address),
    }
}

fn endpoints(number: u32, addresses: &[&str]) -> Change {
    let endpoints: Vec<_> = addresses.iter().map(|a| endpoint(a, "node2")).collect();
    Change::Upsert(slice_of(number, &endpoints))
}

#[test]
fn one_changed_endpoint_writes_one_real_server() {
    let mut node = Node::new(state((1..=1_000).flat_map(numbered)));
    let count = |kernel: &mut FakeKernel| {
        let restored = kernel.iptables.written().runs;
        (
            kernel.ipvs.writes,
            kernel.sets.writes,
            kernel.node.writes,
            restored,
        )
    };
    let before = count(node.kernel());
    // numbered(7) has 10.244.0.14 and .15.
    let report = node.apply(endpoints(7, &["10.244.0.14", "10.244.0.15", "10.244.9.9"]));
    let (ipvs, sets, addresses, runs) = count(node.kernel());
    assert_eq!(
        (ipvs - before.0, sets, addresses, runs),
        (1, before.1, before.2, before.3)
    );
    assert_eq!((report.written.messages, report.full), (1, false));
    // Without connections it goes at once: no weight, then gone.
    let report = node.apply(endpoints(7, &["10.244.0.14", "10.244.9.9"]));
    assert_eq!(node.kernel().ipvs.writes, ipvs + 2);
    assert_eq!(report.written.messages, 2);
    // And what changes nothing writes nothing.
    let same = node.apply(endpoints(7, &["10.244.0.14", "10.244.9.9"]));
    assert_eq!(same.written.messages, 0);
}

#[test]
fn a_second_start_finds_everything_as_it_should_be() {
    let mut node = Node::new(variety());
    let report = node.restart();
    assert_eq!((report.written.messages, report.full), (0, true));
}

#[test]
fn an_endpoint_with_connections_is_taken_away_when_they_have_ended() {
    let mut node = Node::new(state(numbered(1)));
    let server = tcp("10.96.0.1:80");
    let [two, three] = ["10.244.0.2:8080", "10.244.0.3:8080"];
    node.kernel().ipvs.connect(&server, socket(two), 5);
    node.apply(endpoints(1, &["10.244.0.3"]));
    let both = [(two.to_owned(), 0), (three.to_owned(), 1)];
    assert_eq!(node.weights(&server), both);
    // Also by an agent that was not there.
    node.restart();
    assert_eq!(node.weights(&server), both);
    // It comes back, and goes again.
    node.apply(endpoints(1, &["10.244.0.2", "10.244.0.3"]));
    assert_eq!(node.weights(&server)[0].1, 1);
    assert_eq!(node.reals(&server)[&socket(two)].active, 5, "the same one");
    node.apply(endpoints(1, &["10.244.0.3"]));
    node.kernel().ipvs.connect(&server, socket(two), 0);
    // The next change of anything looks after it.
    node.apply(Change::Upsert(numbered(2)[0].clone()));
    assert_eq!(node.weights(&server), [(three.to_owned(), 1)]);
}

#[test]
fn a_service_with_connections_keeps_its_address_until_they_have_ended() {
    let mut node = Node::new(state(numbered(1)));
    let server = tcp("10.96.0.1:80");
    let real = socket("10.244.0.2:8080");
    node.kernel().ipvs.connect(&server, real, 1);
    node.apply(Change::Delete(ObjectRef::Service(name("ns/s1"))));
    assert_eq!(node.weights(&server), [(real.to_string(), 0)]);
    let bound = node.kernel().node.addresses.bound.clone().unwrap();
    assert!(bound.contains(&ip("10.96.0.1")), "{bound:?}");
    let sets = &mut node.kernel().sets;
    let set = |name: &str, set_type| TypedSet {
        name: name.to_owned(),
        set_type,
        family: Some(Family::V4),
        limit: 0,
    };
    let served = sets
        .members(&set("KUBE-CLUSTER-IP", SetType::AddressPort))
        .unwrap();
    assert!(served.is_empty(), "new connections are refused: {served:?}");
    let bound = sets
        .members(&set("KUBE-IPVS-IPS", SetType::Address))
        .unwrap();
    assert_eq!(bound, BTreeSet::from([Member::Address(ip("10.96.0.1"))]));

    node.kernel().ipvs.connect(&server, real, 0);
    node.apply(Change::Upsert(numbered(2)[0].clone()));
    assert!(!node.has_server(&server));
    let bound = node.kernel().node.addresses.bound.clone().unwrap();
    assert_eq!(bound, BTreeSet::from([ip("10.96.0.2")]));
    assert_eq!(node.restart().written.messages, 0);
}

#[test]
fn a_service_that_comes_back_has_its_connections() {
    let mut node = Node::new(state(numbered(1)));
    let server = tcp("10.96.0.1:80");
    let real = socket("10.244.0.2:8080");
    node.kernel().ipvs.connect(&server, real, 3);
    node.apply(Change::Delete(ObjectRef::Service(name("ns/s1"))));
    node.apply(Change::Upsert(numbered(1)[0].clone()));
    assert_eq!(node.weights(&server).len(), 2);
    assert_eq!(node.reals(&server)[&real].active, 3);
    assert_eq!(node.reals(&server)[&real].weight, 1);
    assert_eq!(node.restart().written.messages, 0);
}

#[test]
fn a_new_address_of_the_node_serves_node_ports_at_the_next_sync() {
    let mut node = Node::new(variety());
    let servers = node.kernel().ipvs.servers().unwrap().len();
    node.kernel().node.addresses.others.insert(ip("172.16.9.9"));
    node.kernel().node.changed = true;
    let report = node.apply(endpoints(1, &["10.244.9.9"]));
    assert!(report.full);
    assert!(node.kernel().ipvs.servers().unwrap().len() > servers);
}

#[test]
fn a_scheduler_that_is_not_there_is_refused_with_those_that_are() {
    for scheduler in ["maglev", "mh"] {
        let mut kernel = fake_kernel();
        kernel.ipvs.absent = vec!["mh", "ovf"];
        let settings = ServiceSettings {
            ipvs: IpvsSettings {
                scheduler: scheduler.into(),
                ..IpvsSettings::default()
            },
            ..settings(&context())
        };
        let table = podway_plan::service::ServiceTable::default();
        let error = Fake::new(kernel, settings).sync(&table, None).unwrap_err();
        let text = format!("{error:?} {}", std::error::Error::source(&error).unwrap());
        assert!(text.contains(&format!("{scheduler:?}")), "{text}");
        assert!(
            text.contains("rr, wrr, lc") && !text.contains("ovf,"),
            "{text}"
        );
    }
}

/// Things of others that look like ours, and are not to be touched.
fn foreign(kernel: &mut FakeKernel) -> [VirtualServer; 3] {
    let servers = [
        tcp("198.51.100.7:80"),
        // A service's address that somebody excluded, and a mark.
        tcp("10.96.0.77:80"),
        VirtualServer::Mark {
            family: Family::V4,
            mark: 7,
        },
    ];
    for server in &servers {
        kernel.ipvs.add(server, &Scheduling::by("wlc")).unwrap();
    }
    let set = TypedSet {
        name: "SOMEBODY".into(),
        set_type: SetType::Address,
        family: Some(Family::V4),
        limit: 10,
    };
    kernel.sets.create(&set).unwrap();
    let mut script = Script::new();
    let drop = Rule::new().jump("DROP");
    script.chain(Table::Filter, &"KUBE-FIREWALL".into(), [drop.clone()]);
    script.append(
        Table::Filter,
        &"INPUT".into(),
        Rule::new().jump("KUBE-FIREWALL"),
    );
    for family in Family::ALL {
        kernel.iptables.restore(family, &[script.clone()]).unwrap();
    }
    servers
}

#[test]
fn cleaning_up_removes_ours_only() {
    let mut kernel = fake_kernel();
    let servers = foreign(&mut kernel);
    let rules = Family::ALL.map(|family| kernel.iptables.save(family).unwrap());
    let settings = ServiceSettings {
        ipvs: IpvsSettings {
            exclude: vec!["10.96.0.77/32".parse().unwrap()],
            ..IpvsSettings::default()
        },
        ..settings(&context())
    };
    let mut planner = ServicePlanner::new(context());
    planner.plan_all(&variety());
    let mut backend = Fake::new(kernel, settings);
    sync(&mut backend, planner.table(), None);
    let kernel = backend.kernel_mut();
    assert!(kernel.sets.list().unwrap().len() > 40, "both families");
    assert!(kernel.ipvs.servers().unwrap().len() > servers.len() + 10);
    for _ in 0..2 {
        backend.cleanup().unwrap();
        let kernel = backend.kernel_mut();
        let left: BTreeSet<VirtualServer> = kernel.ipvs.servers().unwrap().into_keys().collect();
        assert_eq!(left, servers.into_iter().collect());
        let left: Vec<String> = kernel.sets.list().unwrap().into_keys().collect();
        assert_eq!(left, ["SOMEBODY"]);
        assert_eq!(kernel.node.addresses.bound, None, "{DEVICE} is gone");
        let left = Family::ALL.map(|family| kernel.iptables.save(family).unwrap());
        let rules_of = |held: &[BTreeMap<Table, _>; 2]| -> Vec<Vec<Rule>> {
            let tables = held.iter().flat_map(BTreeMap::values);
            let chains =
                tables.flat_map(|chains: &podway_kernel::iptables::Chains| chains.values());
            chains.filter(|rules| !rules.is_empty()).cloned().collect()
        };
        assert_eq!(rules_of(&left), rules_of(&rules));
    }
}

#[test]
fn what_kube_proxy_left_is_taken_over() {
    let mut kernel = fake_kernel();
    kernel.node.addresses.bound = Some([ip("10.96.0.1"), ip("10.96.9.9")].into());
    for server in [tcp("10.96.0.1:80"), tcp("10.96.9.9:443")] {
        kernel.ipvs.add(&server, &Scheduling::by("rr")).unwrap();
        let real = socket("10.244.0.2:8080");
        kernel.ipvs.add_real(&server, real, 1).unwrap();
    }
    kernel
        .ipvs
        .connect(&tcp("10.96.0.1:80"), socket("10.244.0.2:8080"), 4);
    let mut node = Node::new(state(numbered(1)));
    node.backend = Fake::new(kernel, settings(&context()));
    node.sync_whole();
    assert!(!node.has_server(&tcp("10.96.9.9:443")), "nobody's any more");
    let reals = node.reals(&tcp("10.96.0.1:80"));
    assert_eq!(reals[&socket("10.244.0.2:8080")].active, 4);
    assert_eq!(reals.len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changes_end_where_a_fresh_start_does(changes in prop::collection::vec(any_change(), 1..30)) {
        let mut node = Node::new(ClusterState::default());
        for change in changes {
            node.apply(change);
        }
        let held = format!("{:?}", node.kernel());
        let report = node.restart();
        prop_assert_eq!(report.written.messages, 0, "{}", held);
    }
}
