use super::{Family, Notification, Open, Update, UpdateError};
use crate::reader::Reader;

/// Length of the header that every message begins with.
pub const HEADER: usize = 19;
/// The longest message (RFC 4271 section 4.1).
pub const MAX_MESSAGE: usize = 4096;

const MARKER: [u8; 16] = [0xff; 16];

/// A BGP message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "messages are made, encoded and dropped one at a time"
)]
pub enum Message {
    /// The first of a session.
    Open(Open),
    /// Prefixes come and go.
    Update(Update),
    /// The last of a session.
    Notification(Notification),
    /// I am here.
    Keepalive,
    /// Send everything of a family again (RFC 2918); `None` for one that is not
    /// spoken here.
    RouteRefresh(Option<Family>),
}

/// A message as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "messages are made, encoded and dropped one at a time"
)]
pub enum Received {
    /// One that makes sense.
    Message(Message),
    /// An UPDATE that does not, but ends no session: its prefixes count as
    /// withdrawn (RFC 7606). What RFC 4271 would have answered.
    IgnoredUpdate(Notification),
}

impl Message {
    /// The message with its header. `four_octets`: AS numbers have four octets,
    /// because both sides have said so.
    #[must_use]
    pub fn encode(&self, four_octets: bool) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Open(open) => (1, open.encode()),
            Self::Update(update) => (2, update.encode(four_octets)),
            Self::Notification(error) => (3, error.encode()),
            Self::Keepalive => (4, Vec::new()),
            Self::RouteRefresh(family) => {
                let afi = family.map_or(0, Family::afi).to_be_bytes();
                (5, vec![afi[0], afi[1], 0, 1])
            }
        };
        let length = u16::try_from(HEADER + body.len()).unwrap_or(u16::MAX);
        let mut bytes = MARKER.to_vec();
        bytes.extend(length.to_be_bytes());
        bytes.push(kind);
        bytes.extend(body);
        bytes
    }

    /// Reads the first message of a stream: itself and its length, or nothing
    /// where it is not complete yet.
    ///
    /// # Errors
    /// What the peer is told before the session ends (RFC 4271 section 6).
    pub fn decode(
        stream: &[u8],
        four_octets: bool,
    ) -> Result<Option<(Received, usize)>, Notification> {
        let mut reader = Reader::new(stream);
        let mut header = || Some((reader.array::<16>()?, reader.u16()?, reader.u8()?));
        let Some((marker, length, kind)) = header() else {
            return Ok(None);
        };
        if marker != MARKER {
            return Err(Notification::new(1, 1));
        }
        let size = usize::from(length);
        if !length_fits(kind, size) {
            return Err(Notification::with(1, 2, length.to_be_bytes()));
        }
        if !(1..=5).contains(&kind) {
            return Err(Notification::with(1, 3, [kind]));
        }
        let Some(body) = reader.take(size - HEADER) else {
            return Ok(None);
        };
        let received = match kind {
            2 => decode_update(body, four_octets)?,
            _ => Received::Message(Self::decode_body(kind, body)?),
        };
        Ok(Some((received, size)))
    }

    fn decode_body(kind: u8, body: &[u8]) -> Result<Self, Notification> {
        let mut reader = Reader::new(body);
        Ok(match kind {
            1 => Self::Open(Open::decode(body)?),
            3 => {
                let error = Notification::decode(body);
                Self::Notification(error.unwrap_or(Notification::new(0, 0)))
            }
            4 => Self::Keepalive,
            _ => {
                let mut read = || Some((reader.u16()?, reader.u8()?, reader.u8()?));
                // A length that does not fit has been refused by now.
                let (afi, _, safi) = read().ok_or(Notification::new(7, 1))?;
                Self::RouteRefresh(Family::from_afi_safi(afi, safi))
            }
        })
    }
}

fn decode_update(body: &[u8], four_octets: bool) -> Result<Received, Notification> {
    match Update::decode(body, four_octets) {
        Ok(update) => Ok(Received::Message(Message::Update(update))),
        Err(UpdateError {
            notification,
            ends_session: true,
        }) => Err(notification),
        Err(error) => Ok(Received::IgnoredUpdate(error.notification)),
    }
}

/// RFC 4271 section 6.1, RFC 7313 section 5 for ROUTE-REFRESH.
fn length_fits(kind: u8, length: usize) -> bool {
    let minimum = match kind {
        1 => 29,
        2 => 23,
        3 => 21,
        5 => 23,
        _ => HEADER,
    };
    let exact = kind == 4;
    (minimum..=MAX_MESSAGE).contains(&length) && (!exact || length == minimum)
}
