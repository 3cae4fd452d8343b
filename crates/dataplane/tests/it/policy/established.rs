//! Connections that are under way when policies change: those that are denied
//! now are cut, in both directions, and no others are touched.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use podway_dataplane::policy::{Established, PolicyOptions};
use podway_model::{Change, Pod};
use podway_testkit::builders::{IntoObject, labels};

use super::enforced::{DEFAULT, Enforced, read};
use super::node::{BRIEF, Host, PATIENT, is_alive};

/// TCP connections and a UDP one, in each family, that carry data.
pub(super) struct Flows {
    what: &'static str,
    streams: Vec<TcpStream>,
    sockets: Vec<UdpSocket>,
}

impl Flows {
    pub(super) fn open(what: &'static str, from: &Host, to: &Host, port: u16) -> Self {
        let targets = to.addresses.map(|address| SocketAddr::new(address, port));
        let mut flows = Self {
            what,
            streams: targets
                .iter()
                .map(|to| {
                    from.connect(*to, PATIENT)
                        .unwrap_or_else(|| panic!("{what}: {to}"))
                })
                .collect(),
            sockets: targets.iter().map(|to| from.ask_from(*to)).collect(),
        };
        flows.are_alive("at first");
        flows
    }

    fn answers(&mut self, wait: Duration) -> Vec<bool> {
        let streams = self.streams.iter_mut().map(|s| is_alive(s, wait));
        let sockets = self.sockets.iter().map(|s| answers(s, wait));
        streams.chain(sockets).collect()
    }

    pub(super) fn are_alive(&mut self, when: &str) {
        assert_eq!(self.answers(PATIENT), [true; 4], "{}: {when}", self.what);
    }

    pub(super) fn are_cut(&mut self, when: &str) {
        assert_eq!(self.answers(BRIEF), [false; 4], "{}: {when}", self.what);
    }
}

fn answers(socket: &UdpSocket, wait: Duration) -> bool {
    socket.set_read_timeout(Some(wait)).expect("a timeout");
    socket.send(b"?").expect("sent");
    socket.recv(&mut [0; 64]).is_ok()
}

#[test]
fn what_is_denied_now_is_cut_and_nothing_else() {
    let mut enforced = Enforced::new();
    enforced.enforce("policy x/p app=a\ningress from pods app=b\ningress ports tcp/81 udp/81\n");
    enforced.settle();
    let node = &enforced.node;
    let mut denied = Flows::open("b to a", &node.b, &node.a, 80);
    let mut others = [
        Flows::open("b to a on a port that stays open", &node.b, &node.a, 81),
        Flows::open("outside to a on that port", &node.outside, &node.a, 81),
        Flows::open("a to b", &node.a, &node.b, 80),
        Flows::open("the node to a", &node.node, &node.a, 80),
        Flows::open("outside to b", &node.outside, &node.b, 80),
    ];
    enforced.enforce("policy x/p app=a\ningress ports tcp/81 udp/81\n");
    denied.are_cut("after the change");
    for flows in &mut others {
        flows.are_alive("after the change");
    }
    let a: Vec<IpAddr> = enforced.node.a.addresses.to_vec();
    assert_eq!(enforced.suspects(), a.into_iter().collect());

    enforced.settle();
    assert_eq!(enforced.suspects(), [].into());
    denied.are_cut("when its connections are marked");
    for flows in &mut others {
        flows.are_alive("when connections are marked");
    }
    assert_eq!(enforced.sync_everything(), 0);
}

#[test]
fn who_is_allowed_again_goes_on() {
    let mut enforced = Enforced::new();
    let node = &enforced.node;
    let mut flows = Flows::open("b to a", &node.b, &node.a, 80);
    enforced.enforce("policy x/p app=a\ningress none\n");
    enforced.settle();
    flows.are_cut("denied");
    enforced.delete("x/p");
    // TCP tries again with longer and longer pauses, and then all at once.
    for stream in &mut flows.streams {
        stream.set_read_timeout(Some(PATIENT)).expect("a timeout");
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("what was sent before");
    }
    assert!(flows.sockets.iter().all(|s| answers(s, PATIENT)));
    assert_eq!(enforced.suspects(), [].into());
}

#[test]
fn what_only_answers_is_cut_as_well() {
    let mut enforced = Enforced::new();
    let node = &enforced.node;
    // b asks once; from then on a sends without being asked.
    let pairs = [0, 1].map(|family| {
        let at = SocketAddr::new(node.a.addresses[family], 90);
        let server = node.a.run(|| UdpSocket::bind(at).expect("a port"));
        let any: IpAddr = if family == 0 {
            [0; 4].into()
        } else {
            [0u16; 8].into()
        };
        let client = node.b.run(|| UdpSocket::bind((any, 0)).expect("a port"));
        client.connect(at).expect("a route");
        client.send(b"subscribe").expect("sent");
        let (_, subscriber) = server.recv_from(&mut [0; 64]).expect("allowed");
        (server, client, subscriber)
    });
    let arrives = |wait| {
        pairs.each_ref().map(|(server, client, subscriber)| {
            client.set_read_timeout(Some(wait)).expect("a timeout");
            server.send_to(b"news", subscriber).expect("sent");
            client.recv(&mut [0; 64]).is_ok()
        })
    };
    assert_eq!(arrives(PATIENT), [true; 2], "at first");
    enforced.enforce("policy x/p app=a\ningress none\n");
    assert_eq!(arrives(BRIEF), [false; 2], "after the change");
    enforced.settle();
    assert_eq!(arrives(BRIEF), [false; 2], "when connections are marked");
}

#[test]
fn a_label_of_the_peer_cuts_as_a_policy_does() {
    let mut enforced = Enforced::new();
    enforced.enforce("policy x/p app=a\ningress from pods app=b\negress to pods app=b\n");
    enforced.settle();
    let node = &enforced.node;
    let mut in_and_out = [
        Flows::open("b to a", &node.b, &node.a, 80),
        Flows::open("a to b", &node.a, &node.b, 80),
    ];
    let b = enforced.state.pod(&podway_testkit::builders::name("x/b"));
    let relabelled = Pod {
        labels: labels(&[("app", "c")]),
        ..(**b.expect("the pod")).clone()
    };
    enforced.apply(Change::Upsert(relabelled.object()));
    for flows in &mut in_and_out {
        flows.are_cut("after b is an app=b no longer");
    }
    let b: Vec<IpAddr> = enforced.node.b.addresses.to_vec();
    assert_eq!(enforced.suspects(), b.into_iter().collect());
}

#[test]
fn an_agent_that_was_down_cuts_when_it_is_back() {
    let mut enforced = Enforced::new();
    enforced.enforce("policy x/p app=a\ningress from pods app=b\n");
    let node = &enforced.node;
    let mut flows = Flows::open("b to a", &node.b, &node.a, 80);
    let mut others = Flows::open("outside to b", &node.outside, &node.b, 80);
    assert_eq!(enforced.sync_everything(), 0);
    assert_eq!(enforced.restart(), 0);
    flows.are_alive("after a restart");
    for policy in read("policy x/p app=a\ningress none\n") {
        enforced.apply_unheard(Change::Upsert(policy.object()));
    }
    assert_ne!(enforced.restart(), 0);
    flows.are_cut("after a change while the agent was down");
    others.are_alive("not concerned");
    // It goes down once more, before it has marked anything.
    assert_eq!(enforced.restart(), 0);
    assert_ne!(enforced.suspects(), [].into());
    enforced.settle();
    assert_eq!(enforced.suspects(), [].into());
    flows.are_cut("marked");
}

#[test]
fn a_change_that_only_opens_suspects_nobody() {
    let mut enforced = Enforced::new();
    enforced.enforce("policy x/p app=a\ningress from pods app=b ports tcp/80 udp/80\n");
    enforced.settle();
    let node = &enforced.node;
    let mut flows = Flows::open("b to a", &node.b, &node.a, 80);
    enforced.enforce("policy x/p app=a\ningress from pods app=b ports tcp/79-81 udp/80\n");
    enforced.enforce("policy x/q app=a\ningress from block 172.16.0.0/24\n");
    enforced.delete("x/q");
    assert_ne!(enforced.suspects(), [].into(), "less than before");
    enforced.settle();
    enforced.delete("x/p");
    assert_eq!(enforced.suspects(), [].into(), "nothing isolates any more");
    flows.are_alive("after all that");
}

#[test]
fn connections_can_be_left_alone() {
    let mut enforced = Enforced::with(PolicyOptions {
        established: Established::Leave,
        ..DEFAULT
    });
    let node = &enforced.node;
    let mut flows = Flows::open("b to a", &node.b, &node.a, 80);
    enforced.enforce("policy x/p app=a\ningress none\n");
    enforced.settle();
    flows.are_alive("left alone");
    let to = SocketAddr::new(enforced.node.a.addresses[0], 80);
    assert!(
        enforced.node.b.connect(to, BRIEF).is_none(),
        "closed to new ones"
    );
}

/// How long it takes from the change to the last packet; printed
/// (`--nocapture`), not asserted.
#[test]
fn the_time_from_a_change_to_the_cut() {
    let mut enforced = Enforced::new();
    let node = &enforced.node;
    let to = SocketAddr::new(node.a.addresses[0], 80);
    let mut stream = node.b.connect(to, PATIENT).expect("open");
    let sender = std::thread::spawn(move || {
        let mut last = Instant::now();
        while is_alive(&mut stream, BRIEF) {
            last = Instant::now();
        }
        last
    });
    let change = Instant::now();
    enforced.enforce("policy x/p app=a\ningress none\n");
    let synced = change.elapsed();
    let last = sender.join().expect("the sender");
    eprintln!(
        "in force after {synced:?}, the last answer came {:?} after the change was known",
        last.saturating_duration_since(change)
    );
}
