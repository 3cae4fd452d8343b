//! The sync loop with the real backends, against the kernel, in namespaces of
//! the tests' own. They need root.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use podway_cni::agent_protocol::Attachment;
use podway_dataplane::names::{POLICY_TABLE, SERVICE_TABLE};
use podway_kernel::netns::NetNs;
use podway_kernel::nft::{Nft, Nftables, Operation, Transaction};
use podway_kernel::route::{LinkChange, NewLink, Rtnetlink, VethPeer};
use podway_model::{Change, EndpointSlice, NetworkPolicy, Node, Object, Pod};
use podway_testkit::builders::{
    IntoObject, endpoint, labels, namespace, node, pod, policy, port, prefix, service, slice,
    slice_port,
};
use podway_watch::client::Notice;
use podway_watch::objects::Fault;

use super::*;
use crate::attachments::Attachments;
use crate::feature::{Report, Tracked};
use crate::foreign::OwnPorts;
use crate::mailbox::{Mailbox, Request};
use crate::status::NodeStatus;
use crate::sync::{Assembly, Outbox, Parts, Sync};

mod extremes;
mod overlay;
mod overlay_faults;
mod reconfigured;

/// For what must come about.
const LIMIT: Duration = Duration::from_secs(10);
/// For what must not: longer than two rounds of a watcher's pace.
const QUIET: Duration = Duration::from_millis(500);

#[derive(Clone, Default)]
struct Latest(Arc<Mutex<Report>>, Arc<Mutex<Vec<Fault>>>);

impl Outbox for Latest {
    fn report(&mut self, report: Report) {
        *self.0.lock() = report;
    }

    fn fault(&mut self, fault: &Fault) {
        self.1.lock().push(fault.clone());
    }
}

/// An agent of node1 without threads: turns are taken by the test.
struct Agent {
    sync: Sync<Latest>,
    mailbox: Arc<Mailbox>,
    latest: Latest,
    counters: Counters,
    own: OwnPorts,
}

impl Agent {
    /// Starts in the calling thread's namespace, and lists these objects.
    fn start(folder: &tempfile::TempDir, objects: &[Object]) -> Self {
        Self::start_with(&Configuration::default(), folder, objects)
    }

    fn start_with(config: &Configuration, folder: &tempfile::TempDir, objects: &[Object]) -> Self {
        let counters = Counters::default();
        let features = Features::open(config, &"node1".into(), &counters)
            .unwrap_or_else(|error| panic!("run as root: {error:?}"));
        let mailbox = Arc::new(Mailbox::default());
        if let Some(overlay) = features.overlay {
            overlay.start(mailbox.clone()).unwrap();
        }
        let latest = Latest::default();
        let sync = Sync::new(Parts {
            node: "node1".into(),
            features: features.all.into_iter().map(Tracked::new).collect(),
            pods: None,
            attachments: Attachments::read(folder.path()),
            counters: counters.clone(),
            health: Arc::default(),
            readiness: Arc::default(),
            outbox: latest.clone(),
            assembly: Some(Assembly {
                config: config.clone(),
                node: "node1".into(),
                counters: counters.clone(),
                own_ports: features.ports.clone(),
            }),
        });
        let mut agent = Self {
            sync,
            mailbox,
            latest,
            counters,
            own: features.ports,
        };
        for object in objects {
            agent.tell(object.clone());
        }
        agent.mailbox.notice(Notice::Synced);
        agent.turn();
        agent
    }

    fn tell(&self, object: Object) {
        self.mailbox.notice(Notice::Change(Change::Upsert(object)));
    }

    /// Takes what was told, and returns what was written for it.
    fn turn(&mut self) -> Writes {
        let before = self.counters.total();
        let now = Instant::now();
        let batch = self.mailbox.take(Some(now));
        self.sync.take(batch, now);
        let status = self.status();
        assert!(status.problems.is_empty(), "{:?}", status.problems);
        let after = self.counters.total();
        Writes {
            transactions: after.transactions - before.transactions,
            objects: after.objects - before.objects,
        }
    }

    /// Takes turns as they are asked for, until something is so.
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is_so(self) {
            assert!(
                Instant::now() < deadline,
                "{what}; {:?}",
                self.status().problems
            );
            let batch = self.mailbox.take(Some(deadline));
            self.sync.take(batch, Instant::now());
        }
    }

    /// Takes turns until nothing is asked for any more, and returns what was
    /// written.
    fn settle(&mut self) -> Writes {
        let before = self.counters.total();
        loop {
            let quiet = Instant::now() + QUIET;
            let batch = self.mailbox.take(Some(quiet));
            if Instant::now() >= quiet {
                break;
            }
            self.sync.take(batch, Instant::now());
        }
        let after = self.counters.total();
        Writes {
            transactions: after.transactions - before.transactions,
            objects: after.objects - before.objects,
        }
    }

    fn status(&self) -> NodeStatus {
        self.latest.0.lock().status.clone()
    }
}

/// Runs in a namespace of its own, with a link that has the node's addresses.
fn in_node(test: impl FnOnce() + Send) {
    let namespace = NetNs::anonymous().expect("run as root");
    let outcome = namespace.run(|| {
        let mut socket = Rtnetlink::open().unwrap();
        let peer = VethPeer::new("underlay");
        let link = socket.create_link(&NewLink::veth("eth0", peer)).unwrap();
        for address in ["172.16.0.11/24", "fd00:172:16::b/64"] {
            let address = address.parse().unwrap();
            socket.add_address(link, address).unwrap();
        }
        socket.change_link(link, &LinkChange::new().up()).unwrap();
        test();
    });
    outcome.unwrap();
}

fn web(addresses: &[&str]) -> EndpointSlice {
    let endpoints: Vec<_> = addresses.iter().map(|a| endpoint(a, "node1")).collect();
    slice("x/web-1", "x/web", &[slice_port("http", 8080)], &endpoints)
}

fn client(address: &str) -> Pod {
    Pod {
        labels: labels(&[("app", "client")]),
        ..pod("x/client", "node1", &[address])
    }
}

/// Two nodes, a service with one endpoint, a pod that nothing may reach.
fn cluster() -> Vec<Object> {
    let peer = Node {
        annotations: labels(&[
            ("flannel.alpha.coreos.com/kube-subnet-manager", "true"),
            ("flannel.alpha.coreos.com/backend-type", "vxlan"),
            ("flannel.alpha.coreos.com/public-ip", "172.16.0.12"),
            (
                "flannel.alpha.coreos.com/backend-data",
                "{\"VNI\":1,\"VtepMAC\":\"0e:00:00:00:00:02\"}",
            ),
        ]),
        ..node("node2", &["172.16.0.12"], &["10.244.2.0/24"])
    };
    let closed = NetworkPolicy {
        ingress: Some(Vec::new()),
        ..policy("x/closed")
    };
    vec![
        namespace("x").object(),
        node(
            "node1",
            &["172.16.0.11", "fd00:172:16::b"],
            &["10.244.1.0/24", "fd00:10:244:1::/64"],
        )
        .object(),
        peer.object(),
        service("x/web", &["10.96.0.10"], &[port("http", 80)]).object(),
        web(&["10.244.1.5"]).object(),
        client("10.244.1.9").object(),
        closed.object(),
    ]
}

#[test]
fn an_agent_that_starts_again_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        let first = Agent::start(&folder, &cluster());
        let status = first.status();
        assert_ne!(first.counters.total(), Writes::default());
        let services = status.services.unwrap();
        assert_eq!(
            (services.services, services.frontends, services.endpoints),
            (1, 1, 1)
        );
        let policies = status.policies.unwrap();
        assert_eq!((policies.policies, policies.pods), (1, 1));
        let overlay = status.overlay.unwrap();
        assert_eq!(
            (&*overlay.backend, overlay.mtu, overlay.peers),
            ("vxlan", 1430, 1)
        );
        let annotations = first.latest.0.lock().annotations.clone();
        assert_eq!(
            annotations["flannel.alpha.coreos.com/public-ip"].as_deref(),
            Some("172.16.0.11")
        );
        drop(first);

        let second = Agent::start(&folder, &cluster());
        assert_eq!(
            second.counters.total(),
            Writes::default(),
            "adopted as it is"
        );
        assert_eq!(second.status().overlay.unwrap().mtu, 1430);
    });
}

#[test]
fn a_change_writes_what_changed_and_a_repeat_nothing() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        let mut agent = Agent::start(&folder, &cluster());
        agent.tell(
            EndpointSlice {
                revision: 9,
                ..web(&["10.244.1.5"])
            }
            .object(),
        );
        assert_eq!(agent.turn(), Writes::default(), "nothing that matters");
        assert_eq!(agent.status().revision, 9);

        agent.tell(web(&["10.244.1.5", "10.244.1.6"]).object());
        let writes = agent.turn();
        assert_eq!(writes.transactions, 1);
        assert!((1..=8).contains(&writes.objects), "{writes:?}");
    });
}

#[test]
fn what_another_program_takes_away_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        let mut agent = Agent::start(&folder, &cluster());
        let mut other = Nft::open().unwrap();
        let before = [SERVICE_TABLE, POLICY_TABLE].map(|table| other.dump(table).unwrap());
        for table in [SERVICE_TABLE, POLICY_TABLE] {
            let mut transaction = Transaction::new(table);
            transaction.push(Operation::DeleteTable);
            other.apply(&transaction).unwrap();
        }
        agent.mailbox.disturb();
        assert_eq!(agent.turn().transactions, 2);
        for (table, before) in [SERVICE_TABLE, POLICY_TABLE].into_iter().zip(before) {
            let chains = |dump: &Option<podway_kernel::nft::TableDump>| {
                dump.as_ref().map(|dump| dump.chains.len())
            };
            let after = other.dump(table).unwrap();
            assert_eq!(chains(&after), chains(&before), "{table}");
        }
    });
}

#[test]
fn an_attached_pod_is_isolated_before_its_status_says_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let mut objects = cluster();
    let starting = Pod {
        addresses: Vec::new(),
        ..client("10.244.1.9")
    };
    objects.push(starting.object());
    in_node(|| {
        let mut agent = Agent::start(&folder, &objects);
        let isolated = |agent: &Agent| agent.status().policies.unwrap().pods;
        let before = isolated(&agent);
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let attachment = Attachment {
            namespace: "x".to_owned(),
            name: "client".to_owned(),
            uid: String::new(),
            container_id: "sandbox".to_owned(),
            ifname: "eth0".to_owned(),
            addresses: vec![prefix("10.244.1.9/32").addr()],
        };
        agent.mailbox.request(Request::Attach(attachment, answer));
        assert_eq!(agent.turn().transactions, 1);
        assert_eq!(answered.try_recv(), Ok(Ok(())));
        assert_eq!((before, isolated(&agent)), (0, 1));
        drop(agent);

        let again = Agent::start(&folder, &objects);
        assert_eq!(again.counters.total(), Writes::default(), "and stays so");
    });
}

#[test]
fn a_clean_up_removes_everything_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        drop(Agent::start(&folder, &cluster()));
        let mut removed = crate::cleanup().unwrap();
        removed.sort();
        assert_eq!(
            removed,
            [
                "interface podway-vxlan",
                "interface podway-vxlan6",
                "services in mode nftables",
                "table inet podway-masquerade",
                "table inet podway-policies",
            ]
        );
        assert_eq!(crate::cleanup().unwrap(), Vec::<String>::new());
        let mut socket = Rtnetlink::open().unwrap();
        assert!(socket.link("eth0").unwrap().is_some(), "not ours");
    });
}

#[test]
fn this_kernel_can_do_what_the_default_configuration_needs() {
    crate::probe::probe(&Configuration::default()).unwrap_or_else(|error| panic!("{error:?}"));
}
