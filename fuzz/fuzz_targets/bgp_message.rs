//! What can be read can be written, and reads the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podway_wire::bgp::{Message, Received};

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (four_octets, kind, body) = input;
    let length = u16::try_from(19 + body.len()).unwrap_or(u16::MAX);
    let mut framed = vec![0xff; 16];
    framed.extend(length.to_be_bytes());
    framed.push(kind % 6);
    framed.extend(body);
    for stream in [body, &framed] {
        let Ok(Some((Received::Message(message), _))) = Message::decode(stream, four_octets) else {
            continue;
        };
        let again = message.encode(four_octets);
        let (received, size) = Message::decode(&again, four_octets)
            .expect("it was read before")
            .expect("it is whole");
        assert_eq!((received, size), (Received::Message(message), again.len()));
    }
});
