use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::open::AS_TRANS;
use super::update::{Reach, Unreach, UpdateError};
use crate::reader::Reader;

const OPTIONAL: u8 = 0x80;
const TRANSITIVE: u8 = 0x40;
const PARTIAL: u8 = 0x20;
const EXTENDED: u8 = 0x10;

/// Where a prefix came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// Inside its AS: what this speaker announces.
    #[default]
    Igp,
    /// EGP.
    Egp,
    /// Elsewhere.
    Incomplete,
}

/// A part of an AS path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsPathSegment {
    /// `AS_SEQUENCE`; otherwise `AS_SET`.
    pub ordered: bool,
    /// The AS numbers, at most 255.
    pub asns: Vec<u32>,
}

/// A large community (RFC 8092).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity(pub [u32; 3]);

/// An attribute that this speaker has no use for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownAttribute {
    /// Its flags, without that of a long length.
    pub flags: u8,
    /// Its code.
    pub code: u8,
    /// Its value.
    pub value: Vec<u8>,
}

/// The path attributes of an UPDATE (RFC 4271 section 5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// ORIGIN.
    pub origin: Option<Origin>,
    /// `AS_PATH`; `None` is without the attribute, empty is inside the AS.
    pub as_path: Option<Vec<AsPathSegment>>,
    /// `NEXT_HOP`, for the prefixes that are not in `reach`.
    pub next_hop: Option<Ipv4Addr>,
    /// `MULTI_EXIT_DISC`.
    pub med: Option<u32>,
    /// `LOCAL_PREF`: between speakers of one AS only.
    pub local_pref: Option<u32>,
    /// COMMUNITIES (RFC 1997).
    pub communities: BTreeSet<u32>,
    /// `LARGE_COMMUNITIES` (RFC 8092).
    pub large_communities: BTreeSet<LargeCommunity>,
    /// `MP_REACH_NLRI` (RFC 4760).
    pub reach: Option<Reach>,
    /// `MP_UNREACH_NLRI`.
    pub unreach: Option<Unreach>,
    /// The others, in their order.
    pub unknown: Vec<UnknownAttribute>,
}

impl Attributes {
    /// As RFC 4271 appendix F.3 asks, in the order of their codes.
    pub(super) fn encode(&self, four_octets: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut push =
            |flags: u8, code: u8, value: &[u8]| attribute(&mut bytes, flags, code, value);
        if let Some(origin) = self.origin {
            push(TRANSITIVE, 1, &[origin as u8]);
        }
        if let Some(path) = &self.as_path {
            push(TRANSITIVE, 2, &encode_path(path, four_octets));
        }
        if let Some(next_hop) = self.next_hop {
            push(TRANSITIVE, 3, &next_hop.octets());
        }
        if let Some(med) = self.med {
            push(OPTIONAL, 4, &med.to_be_bytes());
        }
        if let Some(preference) = self.local_pref {
            push(TRANSITIVE, 5, &preference.to_be_bytes());
        }
        if !self.communities.is_empty() {
            let value: Vec<u8> = self
                .communities
                .iter()
                .flat_map(|c| c.to_be_bytes())
                .collect();
            push(OPTIONAL | TRANSITIVE, 8, &value);
        }
        if let Some(reach) = &self.reach {
            push(OPTIONAL, 14, &reach.encode());
        }
        if let Some(unreach) = &self.unreach {
            push(OPTIONAL, 15, &unreach.encode());
        }
        if !self.large_communities.is_empty() {
            let words = self.large_communities.iter().flat_map(|c| c.0);
            let value: Vec<u8> = words.flat_map(u32::to_be_bytes).collect();
            push(OPTIONAL | TRANSITIVE, 32, &value);
        }
        for unknown in &self.unknown {
            push(unknown.flags, unknown.code, &unknown.value);
        }
        bytes
    }

    /// Reads the attributes of an UPDATE, with the checks of RFC 4271 section 6.3
    /// and the consequences of RFC 7606.
    pub(super) fn decode(field: &[u8], four_octets: bool) -> Result<Self, UpdateError> {
        let mut reader = Reader::new(field);
        let mut attributes = Self::default();
        let mut seen = BTreeSet::new();
        while !reader.is_empty() {
            let raw = RawAttribute::read(&mut reader).ok_or(UpdateError::soft(3, 1))?;
            if !seen.insert(raw.code) {
                // RFC 7606 section 3 g: of the MP attributes there is one only.
                if matches!(raw.code, 14 | 15) {
                    return Err(UpdateError::fatal(3, 1));
                }
                continue;
            }
            attributes.take(&raw, four_octets)?;
        }
        Ok(attributes)
    }

    fn take(&mut self, raw: &RawAttribute<'_>, four_octets: bool) -> Result<(), UpdateError> {
        raw.check_flags()?;
        let wrong_length = || UpdateError::with(3, 5, raw.bytes);
        let mut value = Reader::new(raw.value);
        match raw.code {
            1 => self.origin = Some(origin(raw)?),
            2 => {
                let path = decode_path(raw.value, four_octets);
                self.as_path = Some(path.ok_or(UpdateError::soft(3, 11))?);
            }
            3 => self.next_hop = Some(value.array::<4>().ok_or_else(wrong_length)?.into()),
            4 => self.med = Some(value.u32().ok_or_else(wrong_length)?),
            5 => self.local_pref = Some(value.u32().ok_or_else(wrong_length)?),
            8 => {
                while !value.is_empty() {
                    self.communities
                        .insert(value.u32().ok_or_else(wrong_length)?);
                }
            }
            14 => {
                self.reach = Reach::decode(raw.value)?;
                return Ok(());
            }
            15 => {
                self.unreach = Unreach::decode(raw.value)?;
                return Ok(());
            }
            32 => {
                while !value.is_empty() {
                    let mut word = || value.u32().ok_or_else(wrong_length);
                    let community = LargeCommunity([word()?, word()?, word()?]);
                    self.large_communities.insert(community);
                }
            }
            code => {
                self.unknown.push(UnknownAttribute {
                    flags: raw.flags,
                    code,
                    value: raw.value.to_vec(),
                });
                return Ok(());
            }
        }
        let whole = matches!(raw.code, 1 | 2) || value.is_empty();
        whole.then_some(()).ok_or_else(wrong_length)
    }
}

struct RawAttribute<'a> {
    flags: u8,
    code: u8,
    value: &'a [u8],
    /// All of it: what a NOTIFICATION carries.
    bytes: &'a [u8],
}

impl<'a> RawAttribute<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let before = reader.rest();
        let flags = reader.u8()?;
        let code = reader.u8()?;
        let length = if flags & EXTENDED == 0 {
            usize::from(reader.u8()?)
        } else {
            usize::from(reader.u16()?)
        };
        let value = reader.take(length)?;
        Some(Self {
            flags: flags & !EXTENDED,
            code,
            value,
            bytes: &before[..before.len() - reader.rest().len()],
        })
    }

    fn check_flags(&self) -> Result<(), UpdateError> {
        let expected = match self.code {
            1 | 2 | 3 | 5 => TRANSITIVE,
            4 | 14 | 15 => OPTIONAL,
            8 | 32 => OPTIONAL | TRANSITIVE,
            // RFC 4271 section 6.3: one that must be known, and is not.
            _ if self.flags & OPTIONAL == 0 => return Err(UpdateError::with(3, 2, self.bytes)),
            _ => return Ok(()),
        };
        if self.flags & (OPTIONAL | TRANSITIVE) == expected {
            Ok(())
        } else {
            Err(UpdateError::with(3, 4, self.bytes))
        }
    }
}

fn attribute(bytes: &mut Vec<u8>, flags: u8, code: u8, value: &[u8]) {
    // The low bits mean nothing; a length of its own choice does not come in.
    let flags = flags & (OPTIONAL | TRANSITIVE | PARTIAL);
    if let Ok(length) = u8::try_from(value.len()) {
        bytes.extend([flags, code, length]);
    } else {
        let length = u16::try_from(value.len()).expect("RibOut keeps messages under 4096 bytes");
        bytes.extend([flags | EXTENDED, code]);
        bytes.extend(length.to_be_bytes());
    }
    bytes.extend(value);
}

fn origin(raw: &RawAttribute<'_>) -> Result<Origin, UpdateError> {
    match raw.value {
        [0] => Ok(Origin::Igp),
        [1] => Ok(Origin::Egp),
        [2] => Ok(Origin::Incomplete),
        [_] => Err(UpdateError::with(3, 6, raw.bytes)),
        _ => Err(UpdateError::with(3, 5, raw.bytes)),
    }
}

fn encode_path(path: &[AsPathSegment], four_octets: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for segment in path {
        for asns in segment.asns.chunks(255) {
            let count = u8::try_from(asns.len()).expect("a chunk has at most 255");
            bytes.extend([if segment.ordered { 2 } else { 1 }, count]);
            for asn in asns {
                if four_octets {
                    bytes.extend(asn.to_be_bytes());
                } else {
                    bytes.extend(u16::try_from(*asn).unwrap_or(AS_TRANS).to_be_bytes());
                }
            }
        }
    }
    bytes
}

fn decode_path(value: &[u8], four_octets: bool) -> Option<Vec<AsPathSegment>> {
    let mut reader = Reader::new(value);
    let mut path = Vec::new();
    while !reader.is_empty() {
        let ordered = match reader.u8()? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let count = reader.u8().filter(|count| *count > 0)?;
        let mut asn = || {
            if four_octets {
                reader.u32()
            } else {
                reader.u16().map(u32::from)
            }
        };
        let asns = (0..count).map(|_| asn()).collect::<Option<Vec<u32>>>()?;
        path.push(AsPathSegment { ordered, asns });
    }
    Some(path)
}
