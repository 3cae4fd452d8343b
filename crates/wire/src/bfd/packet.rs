use std::time::Duration;

use thiserror::Error;

use crate::reader::Reader;

const LENGTH: u8 = 24;

/// The state of a session (RFC 5880 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Taken down on purpose.
    AdminDown = 0,
    /// Nothing is known of the neighbour.
    Down = 1,
    /// The neighbour is heard.
    Init = 2,
    /// Both hear each other.
    Up = 3,
}

/// Why a session last went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Diagnostic {
    /// It did not.
    #[default]
    None = 0,
    /// The neighbour was silent for the detection time.
    DetectionTimeExpired = 1,
    /// The neighbour said that it is down.
    NeighbourSignalledDown = 3,
    /// It was taken down on purpose.
    AdministrativelyDown = 7,
}

/// A control packet (RFC 5880 section 4.1), without authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Its sender's state.
    pub state: State,
    /// Why that was last down, as a number of the RFC.
    pub diagnostic: u8,
    /// It asks for an answer.
    pub poll: bool,
    /// It is that answer.
    pub last: bool,
    /// So many missed packets take the session down; not 0.
    pub multiplier: u8,
    /// The sender's number of the session; not 0.
    pub own: u32,
    /// The receiver's number of it; 0 where it is not known yet.
    pub yours: u32,
    /// The sender sends no faster than this.
    pub transmit: Duration,
    /// The sender takes no faster than this; 0 for none at all.
    pub receive: Duration,
}

/// Why a packet is dropped (RFC 5880 section 6.8.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PacketError {
    /// Shorter than it says, or than the protocol allows.
    #[error("the packet is shorter than its header")]
    Truncated,
    /// Not version 1.
    #[error("the packet has version {0}, not 1")]
    Version(u8),
    /// A field that must not be 0 is, or one that must be is not.
    #[error("the packet is not valid: {0}")]
    Invalid(&'static str),
    /// It has authentication, which is not in use.
    #[error("the packet is authenticated, and the session is not")]
    Authenticated,
}

impl Packet {
    /// Reads the payload of a datagram to port 3784.
    ///
    /// # Errors
    /// Where RFC 5880 section 6.8.6 drops it.
    pub fn decode(bytes: &[u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(bytes);
        let mut read = || Some((reader.array::<4>()?, reader.u32()?, reader.u32()?));
        let ([first, flags, multiplier, length], own, yours) =
            read().ok_or(PacketError::Truncated)?;
        let mut interval = || {
            let microseconds = reader.u32().ok_or(PacketError::Truncated)?;
            Ok(Duration::from_micros(u64::from(microseconds)))
        };
        let (transmit, receive, _) = (interval()?, interval()?, interval()?);
        if first >> 5 != 1 {
            return Err(PacketError::Version(first >> 5));
        }
        if length < LENGTH || usize::from(length) > bytes.len() {
            return Err(PacketError::Truncated);
        }
        let state = match flags >> 6 {
            0 => State::AdminDown,
            1 => State::Down,
            2 => State::Init,
            _ => State::Up,
        };
        if flags & 0x04 != 0 {
            return Err(PacketError::Authenticated);
        }
        let checks = [
            (multiplier == 0, "its multiplier is 0"),
            (flags & 0x01 != 0, "its multipoint bit is set"),
            (own == 0, "its own discriminator is 0"),
            (
                yours == 0 && state > State::Down,
                "it knows no discriminator and is not down",
            ),
        ];
        if let Some((_, why)) = checks.iter().find(|(wrong, _)| *wrong) {
            return Err(PacketError::Invalid(why));
        }
        Ok(Self {
            state,
            diagnostic: first & 0x1f,
            poll: flags & 0x20 != 0,
            last: flags & 0x10 != 0,
            multiplier,
            own,
            yours,
            transmit,
            receive,
        })
    }

    /// The packet as bytes. The forwarding plane is not the speaker's process,
    /// so the bit for that (C) is not set: it dies with the agent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let poll = u8::from(self.poll) << 5;
        let last = u8::from(self.last) << 4;
        let flags = (self.state as u8) << 6 | poll | last;
        let mut bytes = vec![
            1 << 5 | self.diagnostic & 0x1f,
            flags,
            self.multiplier,
            LENGTH,
        ];
        let microseconds = |d: Duration| u32::try_from(d.as_micros()).unwrap_or(u32::MAX);
        for word in [
            self.own,
            self.yours,
            microseconds(self.transmit),
            microseconds(self.receive),
            0,
        ] {
            bytes.extend(word.to_be_bytes());
        }
        bytes
    }
}
