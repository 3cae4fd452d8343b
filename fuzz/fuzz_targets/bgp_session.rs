//! A peer may send anything, in any pieces, at any time.
#![no_main]

use std::net::Ipv4Addr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use podway_wire::Moment;
use podway_wire::bgp::{Cease, Event, Family, PeerAsn, Session, SessionConfig, Side};

fuzz_target!(|events: Vec<(u8, u16, Vec<u8>)>| {
    let mut session = Session::new(SessionConfig {
        local_asn: 64_500,
        peer_asn: PeerAsn::External,
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        hold_time: Duration::from_secs(90),
        keepalive_time: None,
        connect_retry: Duration::from_secs(10),
        passive: false,
        families: Family::ALL.into(),
        graceful_restart: Some(Duration::from_secs(120)),
        restarted: false,
    });
    let mut now = Moment::default();
    for (kind, pause, bytes) in &events {
        now += Duration::from_millis(u64::from(*pause));
        let side = if kind & 0x80 == 0 { Side::Own } else { Side::Theirs };
        let event = match kind % 8 {
            0 => Event::Start,
            1 => Event::Stop(Cease::AdministrativeShutdown),
            2 => Event::Connected(side),
            3 => Event::ConnectFailed,
            4 => Event::Closed(side),
            5 => Event::Tick,
            _ => Event::Received(side, bytes),
        };
        session.step(event, now);
        let _ = (session.state(), session.next_deadline(), session.established());
    }
});
