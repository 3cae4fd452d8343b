use std::net::Ipv4Addr;

use super::{FrameError, MacAddress};
use crate::reader::Reader;

const HARDWARE_ETHERNET: u16 = 1;
const PROTOCOL_IPV4: u16 = 0x0800;

/// Question or answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArpOperation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// An ARP packet for IPv4 over Ethernet (RFC 826).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArpPacket {
    /// Question or answer.
    pub operation: ArpOperation,
    /// The link address of the sender.
    pub sender_mac: MacAddress,
    /// The address of the sender; 0.0.0.0 in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// The link address of the target; meaningless in a request.
    pub target_mac: MacAddress,
    /// The address that is asked for, or whose owner asked.
    pub target: Ipv4Addr,
}

impl ArpPacket {
    /// Length of the packet.
    pub const LENGTH: usize = 28;

    /// Reads the payload of a frame. What follows the packet is padding.
    ///
    /// # Errors
    /// Where it is not complete, or not about IPv4 over Ethernet.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(bytes);
        let kind = [reader.u16(), reader.u16(), reader.u16()];
        let expected = [HARDWARE_ETHERNET, PROTOCOL_IPV4, 0x0604].map(Some);
        if kind[2].is_none() {
            return Err(FrameError::Truncated);
        }
        if kind != expected {
            return Err(FrameError::NotIpv4OverEthernet);
        }
        let operation = match reader.u16().ok_or(FrameError::Truncated)? {
            1 => ArpOperation::Request,
            2 => ArpOperation::Reply,
            other => return Err(FrameError::ArpOperation(other)),
        };
        let mut read = || {
            Some(Self {
                operation,
                sender_mac: MacAddress(reader.array()?),
                sender: Ipv4Addr::from(reader.array::<4>()?),
                target_mac: MacAddress(reader.array()?),
                target: Ipv4Addr::from(reader.array::<4>()?),
            })
        };
        read().ok_or(FrameError::Truncated)
    }

    /// The packet as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let operation: u16 = match self.operation {
            ArpOperation::Request => 1,
            ArpOperation::Reply => 2,
        };
        let mut bytes = Vec::with_capacity(Self::LENGTH);
        for field in [HARDWARE_ETHERNET, PROTOCOL_IPV4, 0x0604, operation] {
            bytes.extend(field.to_be_bytes());
        }
        bytes.extend(self.sender_mac.0);
        bytes.extend(self.sender.octets());
        bytes.extend(self.target_mac.0);
        bytes.extend(self.target.octets());
        bytes
    }
}
