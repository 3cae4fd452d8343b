use nix::errno::Errno;

use super::message::{read_answer, walk};
use super::{
    Answer, Attribute, Attributes, FLAG_ATTRIBUTES, FLAG_CAPPED, MESSAGE_ERROR, attributes,
    put_message,
};

/// `NLMSGERR_ATTR_MSG`.
const ERROR_MESSAGE: u16 = 1;

fn acknowledgement(flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_message(&mut bytes, MESSAGE_ERROR, flags, 7, |out| {
        out.extend_from_slice(body);
    });
    bytes
}

/// `struct nlmsgerr`: code, and the header of the request.
fn quoted(code: i32, length: u32) -> Vec<u8> {
    let mut body = code.to_ne_bytes().to_vec();
    body.extend(length.to_ne_bytes());
    body.extend([0; 4]);
    body.extend(9_u32.to_ne_bytes());
    body.extend([0; 4]);
    body
}

fn answers(bytes: &[u8]) -> Vec<Result<Answer, String>> {
    walk(bytes)
        .map(|message| message.and_then(|message| read_answer(&message)))
        .map(|answer| answer.map_err(|error| error.to_string()))
        .collect()
}

#[test]
fn an_acknowledgement_names_the_request_and_the_reason() {
    let success = acknowledgement(FLAG_CAPPED, &quoted(0, 16));
    let ok = Answer {
        sequence: 9,
        error: None,
    };
    assert_eq!(answers(&success), [Ok(ok)]);

    let mut body = quoted(-2, 400);
    Attributes::new(&mut body).text(ERROR_MESSAGE, "no such chain");
    let refusal = acknowledgement(FLAG_CAPPED | FLAG_ATTRIBUTES, &body);
    let error = Answer {
        sequence: 9,
        error: Some((Errno::ENOENT, Some("no such chain".to_owned()))),
    };
    assert_eq!(answers(&refusal), [Ok(error)]);
}

#[test]
fn what_is_cut_short_is_an_error_and_nothing_worse() {
    let whole = acknowledgement(FLAG_ATTRIBUTES, &quoted(-2, 16));
    for length in 1..whole.len() {
        for answer in answers(&whole[..length]) {
            assert!(answer.is_err(), "{length} bytes: {answer:?}");
        }
    }
    let mut lying = whole.clone();
    lying[0] = 3;
    assert!(answers(&lying)[0].is_err());
    // A quoted request longer than the message has no attributes.
    let overlong = acknowledgement(FLAG_ATTRIBUTES, &quoted(-2, u32::MAX - 8));
    assert_eq!(answers(&overlong).len(), 1);
}

#[test]
fn attributes_are_read_as_they_were_written() {
    let mut bytes = Vec::new();
    Attributes::new(&mut bytes).text(1, "abc").nest(2, |nest| {
        nest.number(3, 70_000).long(4, 1 << 40);
    });
    let read: Vec<Attribute<'_>> = attributes(&bytes).collect();
    assert_eq!((read[0].kind, read[0].text()), (1, "abc"));
    assert_eq!(read[1].find(3).map(|found| found.number()), Some(70_000));
    assert_eq!(read[1].find(4).map(|found| found.long()), Some(1 << 40));
    for length in 0..bytes.len() {
        let cut = attributes(&bytes[..length]).count();
        assert!(cut < 2, "{length} bytes hold {cut} attributes");
    }
}
