use std::fmt;

use crate::reader::Reader;

/// Why a session ends, as its peer is told (RFC 4271 sections 4.5 and 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The error code, 1 to 7.
    pub code: u8,
    /// What exactly; 0 where nothing more exact is known.
    pub subcode: u8,
    /// What is at fault, where the code asks for it.
    pub data: Vec<u8>,
}

/// Why this side ends a session that has no error (RFC 4486).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cease {
    /// This speaker stops.
    AdministrativeShutdown = 2,
    /// The peer was taken from the configuration.
    PeerDeconfigured = 3,
    /// Its configuration changed.
    OtherConfigurationChange = 6,
    /// Both sides connected; this connection is the one too many.
    CollisionResolution = 7,
}

impl Notification {
    /// With a code and a subcode of their own.
    #[must_use]
    pub const fn new(code: u8, subcode: u8) -> Self {
        Self {
            code,
            subcode,
            data: Vec::new(),
        }
    }

    /// With what is at fault.
    #[must_use]
    pub fn with(code: u8, subcode: u8, data: impl Into<Vec<u8>>) -> Self {
        Self {
            code,
            subcode,
            data: data.into(),
        }
    }

    /// The peer was silent for the hold time.
    #[must_use]
    pub const fn hold_timer() -> Self {
        Self::new(4, 0)
    }

    /// This side stops.
    #[must_use]
    pub const fn cease(why: Cease) -> Self {
        Self::new(6, why as u8)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.code, self.subcode];
        bytes.extend(&self.data);
        bytes
    }

    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        Some(Self {
            code: reader.u8()?,
            subcode: reader.u8()?,
            data: reader.rest().to_vec(),
        })
    }

    fn code_name(&self) -> &'static str {
        match self.code {
            1 => "message header error",
            2 => "OPEN message error",
            3 => "UPDATE message error",
            4 => "hold timer expired",
            5 => "finite state machine error",
            6 => "cease",
            7 => "ROUTE-REFRESH message error",
            _ => "unknown error",
        }
    }

    fn subcode_name(&self) -> Option<&'static str> {
        Some(match (self.code, self.subcode) {
            (1, 1) => "connection not synchronised",
            (1, 2) => "bad message length",
            (1, 3) => "bad message type",
            (2, 1) => "unsupported version",
            (2, 2) => "bad peer AS",
            (2, 3) => "bad BGP identifier",
            (2, 4) => "unsupported optional parameter",
            (2, 6) => "unacceptable hold time",
            (2, 7) => "unsupported capability",
            (3, 1) => "malformed attribute list",
            (3, 3) => "missing well-known attribute",
            (3, 4) => "attribute flags error",
            (3, 5) => "attribute length error",
            (3, 6) => "invalid ORIGIN",
            (3, 8) => "invalid NEXT_HOP",
            (3, 9) => "optional attribute error",
            (3, 10) => "invalid network field",
            (3, 11) => "malformed AS_PATH",
            (5, 1) => "unexpected message in OpenSent",
            (5, 2) => "unexpected message in OpenConfirm",
            (5, 3) => "unexpected message in Established",
            (6, 1) => "maximum number of prefixes reached",
            (6, 2) => "administrative shutdown",
            (6, 3) => "peer de-configured",
            (6, 4) => "administrative reset",
            (6, 5) => "connection rejected",
            (6, 6) => "other configuration change",
            (6, 7) => "connection collision resolution",
            (6, 8) => "out of resources",
            (6, 9) => "hard reset",
            (6, 10) => "BFD down",
            _ => return None,
        })
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, subcode) = (self.code, self.subcode);
        match self.subcode_name() {
            Some(name) => write!(f, "{}: {name} ({code}/{subcode})", self.code_name()),
            None => write!(f, "{} ({code}/{subcode})", self.code_name()),
        }
    }
}
