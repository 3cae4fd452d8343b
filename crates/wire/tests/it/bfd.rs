//! BFD: every state of the neighbour in every state, and two face to face.

use std::time::Duration;

use podway_wire::Moment;
use podway_wire::bfd::{Diagnostic, Packet, PacketError, Session, SessionConfig, State};
use proptest::prelude::*;

fn at(milliseconds: u64) -> Moment {
    Moment::after_origin(Duration::from_millis(milliseconds))
}

fn config(discriminator: u32) -> SessionConfig {
    SessionConfig {
        discriminator,
        transmit: Duration::from_millis(50),
        receive: Duration::from_millis(50),
        multiplier: 3,
        passive: false,
    }
}

fn packet(state: State, yours: u32) -> Packet {
    Packet {
        state,
        diagnostic: 0,
        poll: false,
        last: false,
        multiplier: 3,
        own: 2,
        yours,
        transmit: Duration::from_millis(50),
        receive: Duration::from_millis(50),
    }
}

fn in_state(state: State) -> Session {
    let mut session = Session::new(config(1), at(0));
    let heard: &[State] = match state {
        State::Init => &[State::Down],
        State::Up => &[State::Down, State::Init],
        State::Down | State::AdminDown => &[],
    };
    for theirs in heard {
        session.receive(&packet(*theirs, 1), at(0));
    }
    if state == State::AdminDown {
        session.shut();
    }
    assert_eq!(session.state(), state);
    session
}

/// RFC 5880 section 6.8.6; `None` is the detection time.
#[test]
fn every_state_of_the_neighbour_in_every_state() {
    use State::{AdminDown, Down, Init, Up};
    let cases = [
        (Down, Some(AdminDown), Down),
        (Down, Some(Down), Init),
        (Down, Some(Init), Up),
        (Down, Some(Up), Down),
        (Down, None, Down),
        (Init, Some(AdminDown), Down),
        (Init, Some(Down), Init),
        (Init, Some(Init), Up),
        (Init, Some(Up), Up),
        (Init, None, Down),
        (Up, Some(AdminDown), Down),
        (Up, Some(Down), Down),
        (Up, Some(Init), Up),
        (Up, Some(Up), Up),
        (Up, None, Down),
        (AdminDown, Some(AdminDown), AdminDown),
        (AdminDown, Some(Down), AdminDown),
        (AdminDown, Some(Init), AdminDown),
        (AdminDown, Some(Up), AdminDown),
        (AdminDown, None, AdminDown),
    ];
    for (before, theirs, after) in cases {
        let mut session = in_state(before);
        let change = match theirs {
            Some(state) => session.receive(&packet(state, 1), at(1)).0,
            None => session.tick(at(60_000)).0,
        };
        assert_eq!(session.state(), after, "{before:?} hears {theirs:?}");
        let seen = change.map(|change| (change.from, change.to));
        let expected = (before != after).then_some((before, after));
        assert_eq!(seen, expected, "{before:?} hears {theirs:?}");
        if let (Up | Init, None) = (before, theirs) {
            let why = change.expect("a change").diagnostic;
            assert_eq!(why, Diagnostic::DetectionTimeExpired);
        }
    }
}

#[test]
fn a_packet_for_another_session_changes_nothing() {
    let mut session = in_state(State::Up);
    let (change, answer) = session.receive(&packet(State::Down, 7), at(1));
    assert_eq!((change, answer), (None, None));
    assert_eq!(session.state(), State::Up);
}

#[test]
fn a_poll_is_answered_at_once() {
    let mut session = in_state(State::Up);
    let poll = Packet {
        poll: true,
        ..packet(State::Up, 1)
    };
    let answer = session.receive(&poll, at(1)).1.expect("an answer");
    assert!(answer.last && !answer.poll);
}

/// Two sessions on a wire that takes a millisecond, until a moment.
fn run(sessions: &mut [Session; 2], cut_from: u64, until: u64) -> Vec<(u64, usize, State)> {
    let mut flying: Vec<(u64, usize, Packet)> = Vec::new();
    let mut changes = Vec::new();
    for now in 0..until {
        for (end, session) in sessions.iter_mut().enumerate() {
            let due: Vec<Packet> = flying
                .extract_if(.., |(when, to, _)| *when <= now && *to == end)
                .map(|(_, _, packet)| packet)
                .collect();
            let mut results: Vec<_> = due
                .iter()
                .map(|packet| session.receive(packet, at(now)))
                .collect();
            if session.next_deadline().is_some_and(|next| next <= at(now)) {
                results.push(session.tick(at(now)));
            }
            for (change, packet) in results {
                changes.extend(change.map(|change| (now, end, change.to)));
                let packet = packet.filter(|_| now < cut_from);
                flying.extend(packet.map(|packet| (now + 1, 1 - end, packet)));
            }
        }
    }
    changes
}

#[test]
fn two_come_up_and_notice_a_cut_within_the_detection_time() {
    for (passive, discriminators) in [(false, (1, 2)), (true, (7, 7)), (false, (90, 4))] {
        let mut sessions = [
            Session::new(config(discriminators.0), at(0)),
            Session::new(
                SessionConfig {
                    passive,
                    ..config(discriminators.1)
                },
                at(0),
            ),
        ];
        let changes = run(&mut sessions, 5_000, 6_000);
        let ups: Vec<usize> = changes
            .iter()
            .filter(|c| c.2 == State::Up)
            .map(|c| c.1)
            .collect();
        assert_eq!(ups.len(), 2, "{changes:?}");
        let downs: Vec<u64> = changes
            .iter()
            .filter(|c| c.2 == State::Down)
            .map(|c| c.0)
            .collect();
        assert_eq!(downs.len(), 2, "{changes:?}");
        for down in downs {
            assert!((5_090..=5_152).contains(&down), "{changes:?}");
        }
    }
}

#[test]
fn what_rfc_5880_drops() {
    let valid = packet(State::Up, 1).encode();
    let with = |index: usize, value: u8| {
        let mut bytes = valid.clone();
        bytes[index] = value;
        bytes
    };
    let cases = [
        ("version 0", with(0, 0), PacketError::Version(0)),
        ("short", valid[..23].to_vec(), PacketError::Truncated),
        ("longer than it is", with(3, 25), PacketError::Truncated),
        (
            "multiplier 0",
            with(2, 0),
            PacketError::Invalid("its multiplier is 0"),
        ),
        (
            "multipoint",
            with(1, 0xc1),
            PacketError::Invalid("its multipoint bit is set"),
        ),
        ("authenticated", with(1, 0xc4), PacketError::Authenticated),
        (
            "own 0",
            with(7, 0),
            PacketError::Invalid("its own discriminator is 0"),
        ),
        (
            "up without knowing whom",
            with(11, 0),
            PacketError::Invalid("it knows no discriminator and is not down"),
        ),
    ];
    for (name, bytes, error) in cases {
        assert_eq!(Packet::decode(&bytes), Err(error), "{name}");
    }
}

proptest! {
    #[test]
    fn a_packet_survives_its_bytes(
        state in prop::sample::select(vec![
            State::AdminDown, State::Down, State::Init, State::Up]),
        diagnostic in 0..32_u8, poll: bool, last: bool, multiplier in 1..=255_u8,
        own in 1..=u32::MAX, yours in 1..=u32::MAX, transmit: u32, receive: u32,
    ) {
        let packet = Packet {
            state, diagnostic, poll, last, multiplier, own, yours,
            transmit: Duration::from_micros(transmit.into()),
            receive: Duration::from_micros(receive.into()),
        };
        prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(packet) = Packet::decode(&bytes) {
            let mut session = in_state(State::Up);
            session.receive(&packet, at(1));
            session.tick(at(2));
        }
    }
}
