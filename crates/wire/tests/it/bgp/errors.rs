//! Which error of a peer gets which NOTIFICATION (RFC 4271 section 6, RFC 7606).

#![allow(clippy::too_many_lines, reason = "tables of cases")]

use podway_wire::bgp::{Message, Notification, Received};

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff; 16];
    bytes.extend(
        u16::try_from(19 + body.len())
            .expect("a short body")
            .to_be_bytes(),
    );
    bytes.push(kind);
    bytes.extend(body);
    bytes
}

fn error(bytes: &[u8]) -> Option<Notification> {
    Message::decode(bytes, true).err()
}

#[test]
fn headers() {
    let keepalive = framed(4, &[]);
    let mut marker = keepalive.clone();
    marker[3] = 0;
    let length = |length: u16| {
        let mut bytes = keepalive.clone();
        bytes[16..18].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    let bad_length = |length: u16| Notification::with(1, 2, length.to_be_bytes());
    let cases = [
        ("marker", marker, Notification::new(1, 1)),
        ("too short", length(18), bad_length(18)),
        ("too long", length(4097), bad_length(4097)),
        ("a keepalive with a body", length(20), bad_length(20)),
        ("a short OPEN", framed(1, &[4; 9]), bad_length(28)),
        ("a short UPDATE", framed(2, &[0; 3]), bad_length(22)),
        (
            "an unknown type",
            framed(9, &[]),
            Notification::with(1, 3, [9]),
        ),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(error(&bytes), Some(expected), "{name}");
    }
}

#[test]
fn opens() {
    // Version, AS 64500, hold 90, identifier 192.0.2.1, no parameters.
    let valid = [4, 0xfb, 0xf4, 0, 90, 192, 0, 2, 1, 0];
    assert_eq!(error(&framed(1, &valid)), None);
    let with = |from: usize, bytes: &[u8]| {
        let mut body = valid.to_vec();
        body.splice(
            from..(from + bytes.len()).min(body.len()),
            bytes.iter().copied(),
        );
        framed(1, &body)
    };
    let cases: [(&str, Vec<u8>, Notification); 11] = [
        ("version 3", with(0, &[3]), Notification::with(2, 1, [0, 4])),
        ("AS 0", with(1, &[0, 0]), Notification::new(2, 2)),
        ("identifier 0", with(5, &[0; 4]), Notification::new(2, 3)),
        ("hold time 1", with(3, &[0, 1]), Notification::new(2, 6)),
        ("hold time 2", with(3, &[0, 2]), Notification::new(2, 6)),
        (
            "authentication",
            with(9, &[2, 1, 0]),
            Notification::new(2, 4),
        ),
        (
            "parameters cut short",
            with(9, &[9, 2, 0]),
            Notification::new(2, 0),
        ),
        (
            "bytes after the parameters",
            with(9, &[0, 2]),
            Notification::new(2, 0),
        ),
        (
            "a capability cut short",
            with(9, &[4, 2, 2, 1, 4]),
            Notification::new(2, 0),
        ),
        (
            "a short AS capability",
            with(9, &[5, 2, 3, 65, 1, 0]),
            Notification::new(2, 0),
        ),
        (
            "AS 0 in the capability",
            with(9, &[8, 2, 6, 65, 4, 0, 0, 0, 0]),
            Notification::new(2, 2),
        ),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(error(&bytes), Some(expected), "{name}");
    }
}

fn update(withdrawn: &[u8], attributes: &[u8], announced: &[u8]) -> Vec<u8> {
    let length = |field: &[u8]| {
        u16::try_from(field.len())
            .expect("a short field")
            .to_be_bytes()
    };
    let body = [
        &length(withdrawn),
        withdrawn,
        &length(attributes),
        attributes,
        announced,
    ];
    framed(2, &body.concat())
}

const ORIGIN: [u8; 4] = [0x40, 1, 1, 0];
const PATH: [u8; 3] = [0x40, 2, 0];
const NEXT_HOP: [u8; 7] = [0x40, 3, 4, 192, 0, 2, 1];
const PREFIX: [u8; 4] = [24, 198, 51, 100];

#[test]
fn updates_that_end_the_session() {
    let cases = [
        (
            "withdrawn longer than the message",
            framed(2, &[0, 9, 0, 0]),
            (3, 1),
        ),
        (
            "attributes longer than the message",
            framed(2, &[0, 0, 0, 9, 0]),
            (3, 1),
        ),
        (
            "a prefix of 33 bits",
            update(&[33, 1, 2, 3, 4, 5], &[], &[]),
            (3, 10),
        ),
        ("a prefix cut short", update(&[], &[], &[24, 1]), (3, 10)),
        (
            "MP_REACH twice",
            update(&[], &[[0x80, 15, 3, 0, 2, 1]; 2].concat(), &[]),
            (3, 1),
        ),
        (
            "an IPv6 next hop of 5 octets",
            update(&[], &[0x80, 14, 10, 0, 2, 1, 5, 1, 2, 3, 4, 5, 0], &[]),
            (3, 9),
        ),
    ];
    for (name, bytes, (code, subcode)) in cases {
        let expected = Notification::new(code, subcode);
        assert_eq!(error(&bytes), Some(expected), "{name}");
    }
}

#[test]
fn updates_that_do_not() {
    let bad_origin = [0x40, 1, 1, 7];
    let bad_flags = [0xc0, 1, 1, 0];
    let long_origin = [0x40, 1, 2, 0, 0];
    let bad_path = [0x40, 2, 1, 9];
    let short_hop = [0x40, 3, 3, 192, 0, 2];
    let communities = [0xc0, 8, 3, 1, 2, 3];
    let must_know = [0x40, 99, 0];
    let cases: [(&str, Vec<u8>, Notification); 9] = [
        (
            "ORIGIN 7",
            bad_origin.to_vec(),
            Notification::with(3, 6, bad_origin),
        ),
        (
            "ORIGIN optional",
            bad_flags.to_vec(),
            Notification::with(3, 4, bad_flags),
        ),
        (
            "ORIGIN of 2 octets",
            long_origin.to_vec(),
            Notification::with(3, 5, long_origin),
        ),
        ("a broken path", bad_path.to_vec(), Notification::new(3, 11)),
        (
            "a short next hop",
            short_hop.to_vec(),
            Notification::with(3, 5, short_hop),
        ),
        (
            "3 octets of communities",
            communities.to_vec(),
            Notification::with(3, 5, communities),
        ),
        (
            "unknown and well-known",
            must_know.to_vec(),
            Notification::with(3, 2, must_know),
        ),
        (
            "an attribute cut short",
            vec![0x40, 1, 9, 0],
            Notification::new(3, 1),
        ),
        (
            "no next hop",
            [&ORIGIN[..], &PATH].concat(),
            Notification::with(3, 3, [3]),
        ),
    ];
    for (name, attributes, expected) in cases {
        let bytes = update(&[], &attributes, &PREFIX);
        let received = Message::decode(&bytes, true).expect(name).expect(name);
        let expected = (Received::IgnoredUpdate(expected), bytes.len());
        assert_eq!(received, expected, "{name}");
    }
    let whole = update(&[], &[&ORIGIN[..], &PATH, &NEXT_HOP].concat(), &PREFIX);
    assert!(matches!(
        Message::decode(&whole, true),
        Ok(Some((Received::Message(_), _)))
    ));
}

#[test]
fn reasons_can_be_read() {
    let read = |code, subcode| Notification::new(code, subcode).to_string();
    assert_eq!(read(2, 2), "OPEN message error: bad peer AS (2/2)");
    assert_eq!(read(4, 0), "hold timer expired (4/0)");
    assert_eq!(read(6, 10), "cease: BFD down (6/10)");
    assert_eq!(read(9, 9), "unknown error (9/9)");
}
