use std::fmt;

use super::FrameError;
use crate::reader::Reader;

/// The EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// The EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// The payload's least length: a frame has 60 bytes without its check sum, and
/// some drivers refuse to pad a raw frame themselves.
const MINIMUM_PAYLOAD: usize = 46;

/// A link address of Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// No address: the target of an ARP request.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether it means a group of stations, broadcast included.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A frame of Ethernet II, without its check sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EthernetFrame<'a> {
    /// To whom.
    pub destination: MacAddress,
    /// From whom.
    pub source: MacAddress,
    /// What the payload is.
    pub ethertype: u16,
    /// The payload, with the padding that a short frame has.
    pub payload: &'a [u8],
}

impl<'a> EthernetFrame<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// Where the header is not complete.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(bytes);
        let mut read = || {
            Some(Self {
                destination: MacAddress(reader.array()?),
                source: MacAddress(reader.array()?),
                ethertype: reader.u16()?,
                payload: reader.rest(),
            })
        };
        read().ok_or(FrameError::Truncated)
    }

    /// The frame as bytes, padded to the least length of Ethernet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(14 + self.payload.len().max(MINIMUM_PAYLOAD));
        bytes.extend(self.destination.0);
        bytes.extend(self.source.0);
        bytes.extend(self.ethertype.to_be_bytes());
        bytes.extend(self.payload);
        bytes.resize(bytes.len().max(14 + MINIMUM_PAYLOAD), 0);
        bytes
    }
}
