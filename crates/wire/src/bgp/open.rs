use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Family, Notification};
use crate::reader::Reader;

/// Stands for an AS number that does not fit into two octets (RFC 6793).
pub(super) const AS_TRANS: u16 = 23456;
const PARAMETER_CAPABILITIES: u8 = 2;

/// An OPEN message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The sender's AS number: the four-octet one where it sent that.
    pub asn: u32,
    /// Its hold time: 0 for none, otherwise 3 s and more.
    pub hold_time: Duration,
    /// Its BGP identifier.
    pub router_id: Ipv4Addr,
    /// What it can do (RFC 5492).
    pub capabilities: Vec<Capability>,
}

/// A capability of a speaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capability {
    /// It exchanges prefixes of this family (RFC 4760).
    Multiprotocol(Family),
    /// It sends everything again when asked (RFC 2918).
    RouteRefresh,
    /// It writes AS numbers with four octets; its own (RFC 6793).
    FourOctetAsn(u32),
    /// It keeps forwarding while it restarts (RFC 4724).
    GracefulRestart(GracefulRestart),
    /// One that this speaker has no use for.
    Other {
        /// Its code.
        code: u8,
        /// Its value.
        value: Vec<u8>,
    },
}

/// The graceful restart capability (RFC 4724 section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GracefulRestart {
    /// The sender has just restarted.
    pub restarted: bool,
    /// How long its routes should be kept, up to 4095 s.
    pub seconds: u16,
    /// The families whose forwarding survives, and whether it did so.
    pub families: Vec<(Family, bool)>,
}

impl Open {
    pub(super) fn encode(&self) -> Vec<u8> {
        let short = u16::try_from(self.asn).unwrap_or(AS_TRANS);
        let seconds = u16::try_from(self.hold_time.as_secs()).unwrap_or(u16::MAX);
        let mut bytes = vec![4];
        bytes.extend(short.to_be_bytes());
        bytes.extend(seconds.to_be_bytes());
        bytes.extend(self.router_id.octets());
        // One parameter for each capability: some speakers read only the first
        // capability of a parameter.
        let parameters: Vec<u8> = self
            .capabilities
            .iter()
            .flat_map(|capability| {
                let value = capability.encode();
                let length = u8::try_from(value.len()).expect("capabilities of ours are short");
                [vec![PARAMETER_CAPABILITIES, length], value].concat()
            })
            .collect();
        bytes.push(u8::try_from(parameters.len()).expect("capabilities of ours are few"));
        bytes.extend(parameters);
        bytes
    }

    /// Reads the body of an OPEN, with the checks of RFC 4271 section 6.2 that
    /// need no configuration.
    pub(super) fn decode(body: &[u8]) -> Result<Self, Notification> {
        let malformed = || Notification::new(2, 0);
        let mut reader = Reader::new(body);
        let version = reader.u8().ok_or_else(malformed)?;
        if version != 4 {
            // The data is the highest version that is understood.
            return Err(Notification::with(2, 1, 4_u16.to_be_bytes()));
        }
        let mut read = || {
            Some((
                reader.u16()?,
                reader.u16()?,
                reader.array::<4>()?,
                reader.u8()?,
            ))
        };
        let (short, seconds, router_id, length) = read().ok_or_else(malformed)?;
        let parameters = reader.take(usize::from(length)).ok_or_else(malformed)?;
        if !reader.is_empty() {
            return Err(malformed());
        }
        let capabilities = capabilities(parameters)?;
        let long = capabilities.iter().find_map(|capability| match capability {
            Capability::FourOctetAsn(asn) => Some(*asn),
            _ => None,
        });
        let asn = long.unwrap_or(u32::from(short));
        // RFC 7607: no AS has the number 0.
        if asn == 0 {
            return Err(Notification::new(2, 2));
        }
        if router_id == [0; 4] {
            return Err(Notification::new(2, 3));
        }
        if matches!(seconds, 1 | 2) {
            return Err(Notification::new(2, 6));
        }
        Ok(Self {
            asn,
            hold_time: Duration::from_secs(u64::from(seconds)),
            router_id: router_id.into(),
            capabilities,
        })
    }

    /// Whether the sender exchanges a family. Without any word on families it is
    /// IPv4 (RFC 4760 section 8).
    #[must_use]
    pub fn speaks(&self, family: Family) -> bool {
        let mut families = self.capabilities.iter().filter_map(|c| match c {
            Capability::Multiprotocol(family) => Some(*family),
            _ => None,
        });
        let silent = families.clone().next().is_none();
        (silent && family == Family::Ipv4) || families.any(|f| f == family)
    }

    /// Whether the sender writes AS numbers with four octets.
    #[must_use]
    pub fn has_four_octet_asn(&self) -> bool {
        let long = |c: &Capability| matches!(c, Capability::FourOctetAsn(_));
        self.capabilities.iter().any(long)
    }
}

fn capabilities(parameters: &[u8]) -> Result<Vec<Capability>, Notification> {
    let malformed = || Notification::new(2, 0);
    let mut reader = Reader::new(parameters);
    let mut found = Vec::new();
    while !reader.is_empty() {
        let kind = reader.u8().ok_or_else(malformed)?;
        let length = reader.u8().ok_or_else(malformed)?;
        let value = reader.take(usize::from(length)).ok_or_else(malformed)?;
        if kind != PARAMETER_CAPABILITIES {
            return Err(Notification::new(2, 4));
        }
        let mut value = Reader::new(value);
        while !value.is_empty() {
            let code = value.u8().ok_or_else(malformed)?;
            let length = value.u8().ok_or_else(malformed)?;
            let body = value.take(usize::from(length)).ok_or_else(malformed)?;
            found.push(Capability::decode(code, body).ok_or_else(malformed)?);
        }
    }
    Ok(found)
}

impl Capability {
    fn encode(&self) -> Vec<u8> {
        let (code, value) = match self {
            Self::Multiprotocol(family) => {
                let afi = family.afi().to_be_bytes();
                (1, vec![afi[0], afi[1], 0, 1])
            }
            Self::RouteRefresh => (2, Vec::new()),
            Self::FourOctetAsn(asn) => (65, asn.to_be_bytes().to_vec()),
            Self::GracefulRestart(restart) => (64, restart.encode()),
            Self::Other { code, value } => (*code, value.clone()),
        };
        let length = u8::try_from(value.len()).expect("capabilities of ours are short");
        [vec![code, length], value].concat()
    }

    /// `None` where a known capability has the wrong length. A family that is
    /// not spoken here makes it one of the others.
    fn decode(code: u8, body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let known = match code {
            1 => {
                let (afi, _, safi) = (reader.u16()?, reader.u8()?, reader.u8()?);
                Family::from_afi_safi(afi, safi).map(Self::Multiprotocol)
            }
            2 => Some(Self::RouteRefresh),
            64 => Some(Self::GracefulRestart(GracefulRestart::decode(&mut reader)?)),
            65 => Some(Self::FourOctetAsn(reader.u32()?)),
            _ => None,
        };
        Some(known.filter(|_| reader.is_empty()).unwrap_or(Self::Other {
            code,
            value: body.to_vec(),
        }))
    }
}

impl GracefulRestart {
    fn encode(&self) -> Vec<u8> {
        let flags = u16::from(self.restarted) << 15;
        let mut bytes = (flags | self.seconds.min(0xfff)).to_be_bytes().to_vec();
        for (family, preserved) in &self.families {
            bytes.extend(family.afi().to_be_bytes());
            bytes.extend([1, u8::from(*preserved) << 7]);
        }
        bytes
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let head = reader.u16()?;
        let mut families = Vec::new();
        while !reader.is_empty() {
            let (afi, safi, flags) = (reader.u16()?, reader.u8()?, reader.u8()?);
            let family = Family::from_afi_safi(afi, safi);
            families.extend(family.map(|family| (family, flags & 0x80 != 0)));
        }
        Some(Self {
            restarted: head & 0x8000 != 0,
            seconds: head & 0xfff,
            families,
        })
    }
}
