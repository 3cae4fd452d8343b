//! Packets of a neighbour, and silence.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use podway_wire::Moment;
use podway_wire::bfd::{Packet, Session, SessionConfig};

fuzz_target!(|packets: Vec<(u16, [u8; 24])>| {
    let config = SessionConfig {
        discriminator: 1,
        transmit: Duration::from_millis(50),
        receive: Duration::from_millis(50),
        multiplier: 3,
        passive: false,
    };
    let mut session = Session::new(config, Moment::default());
    let mut now = Moment::default();
    for (pause, bytes) in &packets {
        now += Duration::from_millis(u64::from(*pause));
        session.tick(now);
        if let Ok(packet) = Packet::decode(bytes) {
            assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
            session.receive(&packet, now);
        }
    }
});
