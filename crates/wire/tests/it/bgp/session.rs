//! The state machine: every event in every state, and two of them face to face.

use std::net::Ipv4Addr;
use std::time::Duration;

use podway_wire::Moment;
use podway_wire::bgp::{
    Action, Cease, DownReason, Event, Family, Message, Notification, Open, PeerAsn, Received,
    Session, SessionConfig, Side, State,
};
use proptest::prelude::*;

fn config(router: u8, local: u32, peer: u32) -> SessionConfig {
    SessionConfig {
        local_asn: local,
        peer_asn: PeerAsn::Exactly(peer),
        router_id: Ipv4Addr::new(192, 0, 2, router),
        hold_time: Duration::from_secs(90),
        keepalive_time: None,
        connect_retry: Duration::from_secs(10),
        passive: false,
        families: Family::ALL.into(),
        graceful_restart: None,
        restarted: false,
    }
}

fn at(seconds: u64) -> Moment {
    Moment::after_origin(Duration::from_secs(1_000 + seconds))
}

fn open(asn: u32, router: u8) -> Vec<u8> {
    let open = Open {
        asn,
        hold_time: Duration::from_secs(30),
        router_id: Ipv4Addr::new(192, 0, 2, router),
        capabilities: Vec::new(),
    };
    Message::Open(open).encode(true)
}

fn message(name: &str) -> Vec<u8> {
    match name {
        "open" => open(64_501, 2),
        "open of another AS" => open(64_999, 2),
        "keepalive" => Message::Keepalive.encode(true),
        "update" => Message::Update(podway_wire::bgp::Update::default()).encode(true),
        "refresh" => Message::RouteRefresh(Some(Family::Ipv4)).encode(true),
        "notification" => Message::Notification(Notification::new(6, 4)).encode(true),
        _ => vec![0; 19],
    }
}

/// A session that got to a state as early as it could.
fn in_state(state: State) -> Session {
    let mut session = Session::new(config(1, 64_500, 64_501));
    let steps: &[&str] = match state {
        State::Idle => &[],
        State::Connect => &["start"],
        State::Active => &["start", "connect failed"],
        State::OpenSent => &["start", "connected"],
        State::OpenConfirm => &["start", "connected", "open"],
        State::Established => &["start", "connected", "open", "keepalive"],
    };
    for step in steps {
        apply(&mut session, step, at(0));
    }
    assert_eq!(session.state(), state);
    session
}

fn apply(session: &mut Session, event: &str, now: Moment) -> Vec<Action> {
    match event {
        "start" => session.step(Event::Start, now),
        "stop" => session.step(Event::Stop(Cease::AdministrativeShutdown), now),
        "connected" => session.step(Event::Connected(Side::Own), now),
        "peer connected" => session.step(Event::Connected(Side::Theirs), now),
        "connect failed" => session.step(Event::ConnectFailed, now),
        "closed" => session.step(Event::Closed(Side::Own), now),
        "10 s later" => session.step(Event::Tick, now + Duration::from_secs(10)),
        "30 s later" => session.step(Event::Tick, now + Duration::from_secs(30)),
        "240 s later" => session.step(Event::Tick, now + Duration::from_secs(240)),
        message_name => session.step(Event::Received(Side::Own, &message(message_name)), now),
    }
}

/// Actions in few words: `send open`, `send 2/2`, `close`.
fn words(actions: &[Action]) -> String {
    let side = |side: &Side| if *side == Side::Own { "" } else { " theirs" };
    let one = |action: &Action| match action {
        Action::Connect => "connect".to_owned(),
        Action::AbandonConnect => "abandon".to_owned(),
        Action::Send(to, bytes) => {
            let (received, _) = Message::decode(bytes, true).expect("ours").expect("whole");
            let Received::Message(message) = received else {
                panic!("{received:?}")
            };
            let what = match message {
                Message::Open(_) => "open".to_owned(),
                Message::Keepalive => "keepalive".to_owned(),
                Message::Notification(n) => format!("{}/{}", n.code, n.subcode),
                other => format!("{other:?}"),
            };
            format!("send {what}{}", side(to))
        }
        Action::Close(which) => format!("close{}", side(which)),
        Action::Up(which, _) => format!("up{}", side(which)),
        Action::Down(reason) => format!("down {}", reason_words(reason)),
        Action::Refused(reason) => format!("refused {}", reason_words(reason)),
        Action::Refresh(_) => "refresh".to_owned(),
        Action::IgnoredUpdate(_) => "ignored".to_owned(),
    };
    actions.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn reason_words(reason: &DownReason) -> String {
    match reason {
        DownReason::Closed => "closed".to_owned(),
        DownReason::Told(n) => format!("told {}/{}", n.code, n.subcode),
        DownReason::Sent(n) => format!("sent {}/{}", n.code, n.subcode),
    }
}

/// Every event in every state (RFC 4271 section 8.2.2): state, event, next state,
/// actions.
#[rustfmt::skip]
const TABLE: &[(State, &str, State, &str)] = {
    use State::{Active, Connect, Established, Idle, OpenConfirm, OpenSent};
    &[
    (Idle, "start", Connect, "connect"),
    (Idle, "stop", Idle, ""),
    (Idle, "connected", Idle, "close"),
    (Idle, "peer connected", Idle, "close theirs"),
    (Idle, "connect failed", Idle, ""),
    (Idle, "closed", Idle, ""),
    (Idle, "open", Idle, ""),
    (Idle, "open of another AS", Idle, ""),
    (Idle, "keepalive", Idle, ""),
    (Idle, "update", Idle, ""),
    (Idle, "refresh", Idle, ""),
    (Idle, "notification", Idle, ""),
    (Idle, "garbage", Idle, ""),
    (Idle, "10 s later", Idle, ""),
    (Idle, "30 s later", Idle, ""),
    (Idle, "240 s later", Idle, ""),
    (Connect, "start", Connect, ""),
    (Connect, "stop", Idle, "abandon"),
    (Connect, "connected", OpenSent, "send open"),
    (Connect, "peer connected", OpenSent, "send open theirs"),
    (Connect, "connect failed", Active, ""),
    (Connect, "closed", Connect, ""),
    (Connect, "open", Connect, ""),
    (Connect, "open of another AS", Connect, ""),
    (Connect, "keepalive", Connect, ""),
    (Connect, "update", Connect, ""),
    (Connect, "refresh", Connect, ""),
    (Connect, "notification", Connect, ""),
    (Connect, "garbage", Connect, ""),
    (Connect, "10 s later", Connect, "abandon, connect"),
    (Connect, "30 s later", Connect, "abandon, connect"),
    (Connect, "240 s later", Connect, "abandon, connect"),
    (Active, "start", Active, ""),
    (Active, "stop", Idle, ""),
    (Active, "connected", Active, "close"),
    (Active, "peer connected", OpenSent, "send open theirs"),
    (Active, "connect failed", Active, ""),
    (Active, "closed", Active, ""),
    (Active, "open", Active, ""),
    (Active, "open of another AS", Active, ""),
    (Active, "keepalive", Active, ""),
    (Active, "update", Active, ""),
    (Active, "refresh", Active, ""),
    (Active, "notification", Active, ""),
    (Active, "garbage", Active, ""),
    (Active, "10 s later", Connect, "connect"),
    (Active, "30 s later", Connect, "connect"),
    (Active, "240 s later", Connect, "connect"),
    (OpenSent, "start", OpenSent, ""),
    (OpenSent, "stop", Idle, "send 6/2, close"),
    (OpenSent, "connected", OpenSent, "close"),
    (OpenSent, "peer connected", OpenSent, "send open theirs"),
    (OpenSent, "connect failed", OpenSent, ""),
    (OpenSent, "closed", Active, ""),
    (OpenSent, "open", OpenConfirm, "send keepalive"),
    (OpenSent, "open of another AS", Idle, "send 2/2, close, refused sent 2/2"),
    (OpenSent, "keepalive", Idle, "send 5/1, close, refused sent 5/1"),
    (OpenSent, "update", Idle, "send 5/1, close, refused sent 5/1"),
    (OpenSent, "refresh", Idle, "send 5/1, close, refused sent 5/1"),
    (OpenSent, "notification", Idle, "close, refused told 6/4"),
    (OpenSent, "garbage", Idle, "send 1/1, close, refused sent 1/1"),
    (OpenSent, "10 s later", OpenSent, ""),
    (OpenSent, "30 s later", OpenSent, ""),
    (OpenSent, "240 s later", Idle, "send 4/0, close, refused sent 4/0"),
    (OpenConfirm, "start", OpenConfirm, ""),
    (OpenConfirm, "stop", Idle, "send 6/2, close"),
    (OpenConfirm, "connected", OpenConfirm, "close"),
    (OpenConfirm, "peer connected", OpenConfirm, "send open theirs"),
    (OpenConfirm, "connect failed", OpenConfirm, ""),
    (OpenConfirm, "closed", Idle, ""),
    (OpenConfirm, "open", Idle, "send 5/2, close, refused sent 5/2"),
    (OpenConfirm, "open of another AS", Idle, "send 5/2, close, refused sent 5/2"),
    (OpenConfirm, "keepalive", Established, "up"),
    (OpenConfirm, "update", Idle, "send 5/2, close, refused sent 5/2"),
    (OpenConfirm, "refresh", Idle, "send 5/2, close, refused sent 5/2"),
    (OpenConfirm, "notification", Idle, "close, refused told 6/4"),
    (OpenConfirm, "garbage", Idle, "send 1/1, close, refused sent 1/1"),
    (OpenConfirm, "10 s later", OpenConfirm, "send keepalive"),
    (OpenConfirm, "30 s later", Idle, "send 4/0, close, refused sent 4/0"),
    (OpenConfirm, "240 s later", Idle, "send 4/0, close, refused sent 4/0"),
    (Established, "start", Established, ""),
    (Established, "stop", Idle, "send 6/2, close, down sent 6/2"),
    (Established, "connected", Established, "close"),
    (Established, "peer connected", Established, "close theirs"),
    (Established, "connect failed", Established, ""),
    (Established, "closed", Idle, "down closed"),
    (Established, "open", Idle, "send 5/3, close, down sent 5/3"),
    (Established, "open of another AS", Idle, "send 5/3, close, down sent 5/3"),
    (Established, "keepalive", Established, ""),
    (Established, "update", Established, ""),
    (Established, "refresh", Established, "refresh"),
    (Established, "notification", Idle, "close, down told 6/4"),
    (Established, "garbage", Idle, "send 1/1, close, down sent 1/1"),
    (Established, "10 s later", Established, "send keepalive"),
    (Established, "30 s later", Idle, "send 4/0, close, down sent 4/0"),
    (Established, "240 s later", Idle, "send 4/0, close, down sent 4/0"),
    ]
};

#[test]
fn every_event_in_every_state() {
    let mut wrong = Vec::new();
    for (state, event, next, actions) in TABLE {
        let mut session = in_state(*state);
        let found = words(&apply(&mut session, event, at(0)));
        if (session.state(), found.as_str()) != (*next, actions) {
            let now = session.state();
            wrong.push(format!(
                "{state:?}, {event}: {now:?}, {found:?}; not {next:?}, {actions:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let states = 6;
    let events: std::collections::BTreeSet<&str> = TABLE.iter().map(|row| row.1).collect();
    assert_eq!(TABLE.len(), states * events.len(), "a row for each");
}

#[test]
fn a_failing_session_rests_longer_each_time() {
    let mut session = Session::new(config(1, 64_500, 64_501));
    session.step(Event::Start, at(0));
    let mut pauses = Vec::new();
    let mut now = at(0);
    for _ in 0..9 {
        session.step(Event::Connected(Side::Own), now);
        apply(&mut session, "open of another AS", now);
        let next = session.next_deadline().expect("it tries again");
        pauses.push(next.since(now).as_millis());
        now = next;
        assert_eq!(session.step(Event::Tick, now), [Action::Connect]);
    }
    let longest = [
        1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 120_000, 120_000,
    ];
    for (pause, longest) in pauses.iter().zip(longest) {
        assert!((longest * 3 / 4..=longest).contains(pause), "{pauses:?}");
    }
}

#[test]
fn a_peer_that_restarts_gracefully_replaces_its_connection() {
    let mut session = Session::new(SessionConfig {
        graceful_restart: Some(Duration::from_secs(120)),
        ..config(1, 64_500, 64_501)
    });
    let mut peer = Session::new(SessionConfig {
        graceful_restart: Some(Duration::from_secs(120)),
        passive: true,
        ..config(2, 64_501, 64_500)
    });
    session.step(Event::Start, at(0));
    peer.step(Event::Start, at(0));
    let mut net = Net::new(session, peer);
    net.link_up(0);
    net.run();
    let agreed = net.sessions[0].established().expect("established");
    assert!(agreed.graceful_restart && agreed.four_octet_asn && !agreed.internal);
    let actions = net.sessions[0].step(Event::Connected(Side::Theirs), at(5));
    assert_eq!(words(&actions), "close, down closed, send open theirs");
}

/// Two sessions and the TCP connections between them. A connection is known by
/// who opened it; its bytes are delivered in order, those of different
/// connections in any.
struct Net {
    sessions: [Session; 2],
    open: [bool; 2],
    /// For each opener, the bytes and closes on their way to each end.
    flying: Vec<(usize, usize, Option<Vec<u8>>)>,
    now: Moment,
}

impl Net {
    fn new(a: Session, b: Session) -> Self {
        Self {
            sessions: [a, b],
            open: [false; 2],
            flying: Vec::new(),
            now: at(1),
        }
    }

    /// The connection that an end opens is there.
    fn link_up(&mut self, opener: usize) {
        self.open[opener] = true;
        self.event(opener, opener, None, true);
        self.event(1 - opener, opener, None, true);
    }

    fn event(&mut self, end: usize, opener: usize, bytes: Option<&[u8]>, connected: bool) {
        let side = if end == opener {
            Side::Own
        } else {
            Side::Theirs
        };
        let event = match bytes {
            Some(bytes) => Event::Received(side, bytes),
            None if connected => Event::Connected(side),
            None => Event::Closed(side),
        };
        let actions = self.sessions[end].step(event, self.now);
        self.act(end, actions);
    }

    fn act(&mut self, end: usize, actions: Vec<Action>) {
        let opener = |side| if side == Side::Own { end } else { 1 - end };
        for action in actions {
            match action {
                Action::Send(side, bytes) => {
                    self.flying.push((1 - end, opener(side), Some(bytes)));
                }
                Action::Close(side) => {
                    self.open[opener(side)] = false;
                    self.flying.push((1 - end, opener(side), None));
                }
                Action::Connect => self.link_up(end),
                _ => {}
            }
        }
    }

    /// Goes on to whatever an end does next by itself.
    fn next_attempt(&mut self) {
        let deadlines = self.sessions.iter().filter_map(Session::next_deadline);
        self.now = deadlines.min().expect("somebody tries again").max(self.now);
        for end in 0..2 {
            let actions = self.sessions[end].step(Event::Tick, self.now);
            self.act(end, actions);
            self.run();
        }
    }

    fn states(&self) -> [State; 2] {
        [self.sessions[0].state(), self.sessions[1].state()]
    }

    /// Delivers what is first on one connection, chosen by a number.
    fn deliver(&mut self, choice: usize) -> bool {
        if self.flying.is_empty() {
            return false;
        }
        let (end, opener, _) = self.flying[choice % self.flying.len()];
        let first = self.flying.iter().position(|f| (f.0, f.1) == (end, opener));
        let (end, opener, bytes) = self.flying.remove(first.expect("it is there"));
        self.event(end, opener, bytes.as_deref(), false);
        true
    }

    fn run(&mut self) {
        while self.deliver(0) {}
    }
}

proptest! {
    /// Both connect at once, and everything meets in any order: one connection
    /// is left, and both ends have the same.
    #[test]
    fn a_collision_leaves_one_connection(
        ids in (1..5_u8, 1..5_u8), choices in prop::collection::vec(any::<usize>(), 60),
        second_after in 0..12_usize,
    ) {
        let (a, b) = (config(ids.0, 64_500, 64_501), config(ids.1, 64_501, 64_500));
        let mut net = Net::new(Session::new(a), Session::new(b));
        for session in &mut net.sessions {
            prop_assert_eq!(session.step(Event::Start, at(0)), [Action::Connect]);
        }
        net.link_up(0);
        for (index, choice) in choices.iter().enumerate() {
            if index == second_after {
                net.link_up(1);
            }
            net.deliver(*choice);
        }
        net.run();
        // They may have dropped each other's connection at the same time.
        for _ in 0..4 {
            if net.states() != [State::Established; 2] {
                net.next_attempt();
            }
        }
        prop_assert_eq!(net.states(), [State::Established; 2]);
        prop_assert_eq!(net.open.iter().filter(|open| **open).count(), 1);
    }

    #[test]
    fn no_bytes_panic(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8),
        state in prop::sample::select(vec![
            State::OpenSent, State::OpenConfirm, State::Established]),
    ) {
        let mut session = in_state(state);
        for piece in pieces {
            session.step(Event::Received(Side::Own, &piece), at(1));
        }
    }

    /// A stream may be cut anywhere.
    #[test]
    fn messages_arrive_in_any_pieces(cuts in prop::collection::vec(1..30_usize, 1..20)) {
        let mut session = in_state(State::OpenSent);
        let mut stream = [message("open"), message("keepalive"), message("refresh")].concat();
        let mut actions = Vec::new();
        for cut in cuts {
            let rest = stream.split_off(cut.min(stream.len()));
            actions.extend(session.step(Event::Received(Side::Own, &stream), at(1)));
            stream = rest;
        }
        actions.extend(session.step(Event::Received(Side::Own, &stream), at(1)));
        prop_assert_eq!(words(&actions), "send keepalive, up, refresh");
    }
}
