use nix::errno::Errno;

use super::attribute::attributes;
use super::{Error, FLAG_ATTRIBUTES, FLAG_CAPPED, FLAG_REQUEST, HEADER};

const ERROR_MESSAGE: u16 = 1;

/// One message that the kernel sent.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub sequence: u32,
    /// `nlmsg_pid`: the port of the socket that caused it.
    pub port: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// Messages of a dump or of a batch of notifications.
#[derive(Debug, Default)]
pub struct Messages {
    bytes: Vec<u8>,
}

/// What one message of a batch was answered with: `None` is success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The message's sequence number.
    pub sequence: u32,
    /// The error, with the kernel's explanation.
    pub error: Option<(Errno, Option<String>)>,
}

impl Messages {
    /// The messages in order.
    pub fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        // Only whole messages were pushed.
        walk(&self.bytes).filter_map(Result::ok)
    }

    pub(super) fn push(&mut self, message: &Message<'_>) {
        let start = self.bytes.len();
        put_message(
            &mut self.bytes,
            message.kind,
            message.flags,
            message.sequence,
            |out| out.extend_from_slice(message.body),
        );
        self.bytes[start + 6..start + 8].copy_from_slice(&message.flags.to_ne_bytes());
        self.bytes[start + 12..start + HEADER].copy_from_slice(&message.port.to_ne_bytes());
    }
}

/// Appends a request whose body `fill` writes.
pub fn put_message(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&(flags | FLAG_REQUEST).to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - start).expect("a message is far below 4 GB");
    out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    out.resize(out.len().next_multiple_of(4), 0);
}

pub(super) fn walk(mut bytes: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Error>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let length = word(bytes, 0).map_or(0, |length| length as usize);
        if length < HEADER || length > bytes.len() {
            bytes = &[];
            return Some(Err(Error::Malformed {
                what: "a message is longer than what was received",
            }));
        }
        let message = Message {
            kind: u16::from_ne_bytes([bytes[4], bytes[5]]),
            flags: u16::from_ne_bytes([bytes[6], bytes[7]]),
            sequence: word(bytes, 8).unwrap_or(0),
            port: word(bytes, 12).unwrap_or(0),
            body: &bytes[HEADER..length],
        };
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        Some(Ok(message))
    })
}

/// Reads `struct nlmsgerr`: the error, the quoted request, attributes.
pub(super) fn read_answer(message: &Message<'_>) -> Result<Answer, Error> {
    let body = message.body;
    let code = word(body, 0).ok_or(Error::Malformed {
        what: "an acknowledgement without a code",
    })?;
    let quoted = word(body, 4).unwrap_or(0) as usize;
    let sequence = word(body, 12).unwrap_or(message.sequence);
    let quoted = if message.flags & FLAG_CAPPED != 0 {
        HEADER
    } else {
        quoted.next_multiple_of(4)
    };
    let reason = (message.flags & FLAG_ATTRIBUTES != 0)
        .then(|| body.get(4 + quoted..))
        .flatten()
        .and_then(|rest| attributes(rest).find(|attribute| attribute.kind == ERROR_MESSAGE))
        .map(|attribute| attribute.text().to_owned());
    let errno = i32::from_ne_bytes(code.to_ne_bytes()).saturating_neg();
    Ok(Answer {
        sequence,
        error: (errno != 0).then(|| (Errno::from_raw(errno), reason)),
    })
}

/// A listing that broke off says why in its last message.
pub(super) fn broken_off(message: &Message<'_>) -> Option<Errno> {
    let code = word(message.body, 0).unwrap_or(0);
    let errno = i32::from_ne_bytes(code.to_ne_bytes()).saturating_neg();
    (errno > 0).then(|| Errno::from_raw(errno))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}
