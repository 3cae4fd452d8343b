use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::prefix::{prefixes, push_prefix};
use super::{Attributes, Family, Notification};
use crate::reader::Reader;

/// An UPDATE message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// IPv4 prefixes that are withdrawn.
    pub withdrawn: Vec<IpNet>,
    /// The path of what is announced, and the prefixes of RFC 4760.
    pub attributes: Attributes,
    /// IPv4 prefixes that are announced.
    pub announced: Vec<IpNet>,
}

/// Prefixes that are announced, with their next hop (RFC 4760 section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Their family.
    pub family: Family,
    /// The next hop.
    pub next_hop: IpAddr,
    /// Its link-local address, where the peer is on the same link (RFC 2545).
    pub link_local: Option<Ipv6Addr>,
    /// The prefixes.
    pub prefixes: Vec<IpNet>,
}

/// Prefixes that are withdrawn (RFC 4760 section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreach {
    /// Their family.
    pub family: Family,
    /// The prefixes; none means "that was all" (RFC 4724 section 2).
    pub prefixes: Vec<IpNet>,
}

/// What is wrong with an UPDATE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateError {
    /// What RFC 4271 section 6.3 answers.
    pub notification: Notification,
    /// The session cannot go on. If not, its prefixes count as withdrawn and it
    /// goes on (RFC 7606).
    pub ends_session: bool,
}

impl UpdateError {
    pub(super) const fn fatal(code: u8, subcode: u8) -> Self {
        Self {
            notification: Notification::new(code, subcode),
            ends_session: true,
        }
    }

    pub(super) const fn soft(code: u8, subcode: u8) -> Self {
        Self {
            notification: Notification::new(code, subcode),
            ends_session: false,
        }
    }

    pub(super) fn with(code: u8, subcode: u8, data: &[u8]) -> Self {
        Self {
            notification: Notification::with(code, subcode, data),
            ends_session: false,
        }
    }
}

impl Update {
    /// What says that everything of a family has been sent (RFC 4724 section 2).
    #[must_use]
    pub fn end_of_rib(family: Family) -> Self {
        let unreach = Unreach {
            family,
            prefixes: Vec::new(),
        };
        Self {
            attributes: Attributes {
                unreach: (family != Family::Ipv4).then_some(unreach),
                ..Attributes::default()
            },
            ..Self::default()
        }
    }

    pub(super) fn encode(&self, four_octets: bool) -> Vec<u8> {
        let withdrawn = field(&self.withdrawn);
        let attributes = self.attributes.encode(four_octets);
        let mut bytes = length(withdrawn.len()).to_vec();
        bytes.extend(withdrawn);
        bytes.extend(length(attributes.len()));
        bytes.extend(attributes);
        bytes.extend(field(&self.announced));
        bytes
    }

    pub(super) fn decode(body: &[u8], four_octets: bool) -> Result<Self, UpdateError> {
        let mut reader = Reader::new(body);
        let mut next = || {
            let length = reader.u16()?;
            reader.take(usize::from(length))
        };
        let broken = UpdateError::fatal(3, 1);
        let (Some(withdrawn), Some(attributes)) = (next(), next()) else {
            return Err(broken);
        };
        let network = UpdateError::fatal(3, 10);
        let withdrawn = prefixes(Family::Ipv4, withdrawn).ok_or_else(|| network.clone())?;
        let announced = prefixes(Family::Ipv4, reader.rest()).ok_or(network)?;
        let update = Self {
            withdrawn,
            attributes: Attributes::decode(attributes, four_octets)?,
            announced,
        };
        update.check()?;
        Ok(update)
    }

    /// What must be there where something is announced (RFC 4271 section 6.3).
    fn check(&self) -> Result<(), UpdateError> {
        let attributes = &self.attributes;
        let reaches = attributes.reach.is_some();
        if self.announced.is_empty() && !reaches {
            return Ok(());
        }
        let missing = [
            (1, attributes.origin.is_none()),
            (2, attributes.as_path.is_none()),
            (
                3,
                attributes.next_hop.is_none() && !self.announced.is_empty(),
            ),
        ];
        match missing.iter().find(|(_, missing)| *missing) {
            Some((code, _)) => Err(UpdateError::with(3, 3, &[*code])),
            None => Ok(()),
        }
    }
}

impl Reach {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.family.afi().to_be_bytes().to_vec();
        bytes.push(1);
        match (self.next_hop, self.link_local) {
            (IpAddr::V4(next_hop), _) => {
                bytes.push(4);
                bytes.extend(next_hop.octets());
            }
            (IpAddr::V6(next_hop), None) => {
                bytes.push(16);
                bytes.extend(next_hop.octets());
            }
            (IpAddr::V6(next_hop), Some(link_local)) => {
                bytes.push(32);
                bytes.extend(next_hop.octets());
                bytes.extend(link_local.octets());
            }
        }
        bytes.push(0);
        bytes.extend(field(&self.prefixes));
        bytes
    }

    /// `None` for a family that is not spoken here.
    pub(super) fn decode(value: &[u8]) -> Result<Option<Self>, UpdateError> {
        // RFC 7606 section 5.3: where the prefixes are not known they cannot be
        // taken as withdrawn either.
        let broken = || UpdateError::fatal(3, 9);
        let mut reader = Reader::new(value);
        let mut head = || Some((reader.u16()?, reader.u8()?, reader.u8()?));
        let (afi, safi, length) = head().ok_or_else(broken)?;
        let hops = reader.take(usize::from(length)).ok_or_else(broken)?;
        reader.u8().ok_or_else(broken)?;
        let Some(family) = Family::from_afi_safi(afi, safi) else {
            return Ok(None);
        };
        let (next_hop, link_local) = next_hops(hops).ok_or_else(broken)?;
        Ok(Some(Self {
            family,
            next_hop,
            link_local,
            prefixes: prefixes(family, reader.rest()).ok_or_else(broken)?,
        }))
    }
}

impl Unreach {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.family.afi().to_be_bytes().to_vec();
        bytes.push(1);
        bytes.extend(field(&self.prefixes));
        bytes
    }

    pub(super) fn decode(value: &[u8]) -> Result<Option<Self>, UpdateError> {
        let broken = || UpdateError::fatal(3, 9);
        let mut reader = Reader::new(value);
        let mut head = || Some((reader.u16()?, reader.u8()?));
        let (afi, safi) = head().ok_or_else(broken)?;
        let Some(family) = Family::from_afi_safi(afi, safi) else {
            return Ok(None);
        };
        let prefixes = prefixes(family, reader.rest()).ok_or_else(broken)?;
        Ok(Some(Self { family, prefixes }))
    }
}

fn next_hops(field: &[u8]) -> Option<(IpAddr, Option<Ipv6Addr>)> {
    let mut reader = Reader::new(field);
    match field.len() {
        4 => Some((Ipv4Addr::from(reader.array::<4>()?).into(), None)),
        16 => Some((Ipv6Addr::from(reader.array::<16>()?).into(), None)),
        32 => {
            let next_hop = Ipv6Addr::from(reader.array::<16>()?);
            Some((next_hop.into(), reader.array::<16>().map(Ipv6Addr::from)))
        }
        _ => None,
    }
}

fn field(prefixes: &[IpNet]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for prefix in prefixes {
        push_prefix(&mut bytes, prefix);
    }
    bytes
}

fn length(length: usize) -> [u8; 2] {
    u16::try_from(length)
        .expect("RibOut keeps messages under 4096 bytes")
        .to_be_bytes()
}
