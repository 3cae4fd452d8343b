//! Frames of anybody on the segment.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use podway_wire::Moment;
use podway_wire::layer2::{
    Advertisement, Announcer, AnswerLimit, ArpPacket, EthernetFrame, Interface, MacAddress,
    Solicitation,
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(packet) = ArpPacket::decode(bytes) {
        assert_eq!(ArpPacket::decode(&packet.encode()), Ok(packet));
    }
    let _ = (Solicitation::decode(bytes), Advertisement::decode(bytes));
    let now = Moment::default();
    let mut announcer = Announcer::new(AnswerLimit::default());
    announcer.set_interfaces(
        &[Interface {
            index: 1,
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            ipv6: true,
            up: true,
        }],
        now,
    );
    for address in [Ipv4Addr::LOCALHOST.into(), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        announcer.announce(address, None, now + Duration::from_secs(1), now);
    }
    let framed = |ethertype| {
        EthernetFrame {
            destination: MacAddress::BROADCAST,
            source: MacAddress([2, 0, 0, 0, 0, 2]),
            ethertype,
            payload: bytes,
        }
        .encode()
    };
    for frame in [bytes.to_vec(), framed(0x0806), framed(0x86dd)] {
        announcer.receive(1, &frame, now);
    }
});
