use std::fmt;
use std::str::FromStr;

use podway_model::IpFamily;

/// The Ethernet address of a VXLAN tunnel device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VtepMac(pub [u8; 6]);

impl VtepMac {
    /// An address that follows from the node's name, so that a device made
    /// anew (a restart, a deleted link) has the address that its peers know.
    #[must_use]
    pub fn of_node(node: &str, family: IpFamily) -> Self {
        // FNV-1a: stable for ever, unlike the hasher of the standard library.
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let salt: u8 = match family {
            IpFamily::V4 => 4,
            IpFamily::V6 => 6,
        };
        let hash = node.bytes().chain([salt]).fold(0xcbf2_9ce4_8422_2325, step);
        let [a, b, c, d, e, g, h, i] = hash.to_be_bytes();
        // Locally administered, unicast (IEEE 802-2014, 8.4).
        Self([((a ^ h) | 0x02) & 0xfe, b ^ i, c, d, e, g])
    }

    /// The same with other first two bytes.
    #[must_use]
    pub const fn with_prefix(self, prefix: [u8; 2]) -> Self {
        let [_, _, c, d, e, g] = self.0;
        Self([prefix[0], prefix[1], c, d, e, g])
    }

    /// Whether it begins with these bytes.
    #[must_use]
    pub const fn has_prefix(self, prefix: [u8; 2]) -> bool {
        self.0[0] == prefix[0] && self.0[1] == prefix[1]
    }
}

impl fmt::Display for VtepMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for VtepMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is no usable Ethernet address of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VtepMacError {
    /// Not six pairs of hexadecimal digits.
    #[error("VtepMAC is not six pairs of hexadecimal digits, as 12:c6:65:89:b4:e3")]
    Format,
    /// A group's address or zero, which no device has.
    #[error("VtepMAC is a multicast address or zero, which no device has")]
    NotUnicast,
}

impl FromStr for VtepMac {
    type Err = VtepMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            *byte = parts
                .next()
                .filter(|part| part.len() == 2)
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or(VtepMacError::Format)?;
        }
        if parts.next().is_some() {
            return Err(VtepMacError::Format);
        }
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(VtepMacError::NotUnicast);
        }
        Ok(Self(bytes))
    }
}

/// Reads the first two bytes of device addresses, `0e:2a` or `0E-2A`; `None`
/// where no device may have such an address (IEEE 802-2014, 8.4: a group's, or
/// one that belongs to a manufacturer).
#[must_use]
pub fn prefix_of(text: &str) -> Option<[u8; 2]> {
    let (first, second) = text.split_once([':', '-'])?;
    let byte = |text: &str| {
        let is_pair = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_pair.then(|| u8::from_str_radix(text, 16).ok()).flatten()
    };
    let prefix = [byte(first)?, byte(second)?];
    (prefix[0] & 0b11 == 0b10).then_some(prefix)
}
