use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Rank;
use super::seal::Incarnation;
use crate::reader::Reader;

/// Entries in one datagram, so that it fits the least MTU of IPv6.
pub(super) const PER_DATAGRAM: usize = 24;

/// What nodes tell each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Heartbeat(Heartbeat),
    Answer(Answer),
}

/// "I am here, and I claim these."
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Heartbeat {
    /// The sender has seen a majority for long enough and can serve.
    pub eligible: bool,
    /// The sender's votes carry the witness.
    pub witness: bool,
    pub claims: Vec<Claim>,
    /// What the sender has claimed before and does not any more.
    pub releases: Vec<IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub address: IpAddr,
    pub rank: Rank,
}

/// What a voter says to the claims of one heartbeat, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Which life of the asking node sent the heartbeat, and its counter.
    pub incarnation: Incarnation,
    pub counter: u64,
    /// Each vote among the verdicts is two: the voter's and the witness'.
    pub witness: bool,
    pub verdicts: Vec<Verdict>,
}

/// What a voter says to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// The vote is the claimant's for a lease.
    Granted,
    /// So it is, but a better claimant waits for it.
    Contested,
    /// It is promised, or about to be, to a better claimant.
    Outranked,
    /// It is promised to a worse claimant, who was first.
    Held,
    /// This voter cannot vote yet.
    NotYet,
}

impl Verdict {
    const ALL: [Self; 5] = [
        Self::Granted,
        Self::Contested,
        Self::Outranked,
        Self::Held,
        Self::NotYet,
    ];

    pub(super) const fn is_vote(self) -> bool {
        matches!(self, Self::Granted | Self::Contested)
    }

    /// A better claimant asks for this very vote, and one without a majority
    /// gives it up. A vote that is refused is in nobody's way.
    pub(super) const fn asks_to_yield(self) -> bool {
        matches!(self, Self::Contested)
    }
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Heartbeat(heartbeat) => {
                bytes.extend([0, u8::from(heartbeat.eligible), u8::from(heartbeat.witness)]);
                bytes.push(length(heartbeat.claims.len()));
                for claim in &heartbeat.claims {
                    push_address(&mut bytes, claim.address);
                    bytes.extend(claim.rank.to_be_bytes());
                }
                bytes.push(length(heartbeat.releases.len()));
                for address in &heartbeat.releases {
                    push_address(&mut bytes, *address);
                }
            }
            Self::Answer(answer) => {
                bytes.push(1);
                bytes.extend(answer.incarnation.to_bytes());
                bytes.extend(answer.counter.to_be_bytes());
                bytes.push(u8::from(answer.witness));
                bytes.push(length(answer.verdicts.len()));
                bytes.extend(answer.verdicts.iter().map(|verdict| *verdict as u8));
            }
        }
        bytes
    }

    /// `None` where the bytes are not exactly one message.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let message = match reader.u8()? {
            0 => Self::Heartbeat(Heartbeat {
                eligible: reader.u8()? == 1,
                witness: reader.u8()? == 1,
                claims: list(&mut reader, |reader| {
                    Some(Claim {
                        address: address(reader)?,
                        rank: reader.u128()?,
                    })
                })?,
                releases: list(&mut reader, address)?,
            }),
            1 => Self::Answer(Answer {
                incarnation: Incarnation::from_bytes(reader.array()?),
                counter: reader.u64()?,
                witness: reader.u8()? == 1,
                verdicts: list(&mut reader, |reader| {
                    Verdict::ALL.get(usize::from(reader.u8()?)).copied()
                })?,
            }),
            _ => return None,
        };
        reader.is_empty().then_some(message)
    }
}

fn list<T>(
    reader: &mut Reader<'_>,
    mut item: impl FnMut(&mut Reader<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let length = reader.u8()?;
    (0..length).map(|_| item(reader)).collect()
}

fn length(length: usize) -> u8 {
    u8::try_from(length).expect("senders split lists at PER_DATAGRAM")
}

fn push_address(bytes: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            bytes.push(4);
            bytes.extend(address.octets());
        }
        IpAddr::V6(address) => {
            bytes.push(6);
            bytes.extend(address.octets());
        }
    }
}

fn address(reader: &mut Reader<'_>) -> Option<IpAddr> {
    match reader.u8()? {
        4 => reader.array().map(|b: [u8; 4]| Ipv4Addr::from(b).into()),
        6 => reader.array().map(|b: [u8; 16]| Ipv6Addr::from(b).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claims() -> impl Strategy<Value = Vec<Claim>> {
        let claim = (any::<IpAddr>(), any::<Rank>());
        let claim = claim.prop_map(|(address, rank)| Claim { address, rank });
        proptest::collection::vec(claim, 0..PER_DATAGRAM)
    }

    proptest! {
        #[test]
        fn a_heartbeat_survives_its_bytes(
            eligible: bool,
            witness: bool,
            claims in claims(),
            releases in proptest::collection::vec(any::<IpAddr>(), 0..PER_DATAGRAM),
        ) {
            let message = Message::Heartbeat(Heartbeat { eligible, witness, claims, releases });
            prop_assert!(message.encode().len() < 1_100);
            prop_assert_eq!(Message::decode(&message.encode()), Some(message));
        }

        #[test]
        fn an_answer_survives_its_bytes(
            life: (u64, u64),
            witness: bool,
            counter: u64,
            verdicts in proptest::collection::vec(
                proptest::sample::select(Verdict::ALL.to_vec()), 0..PER_DATAGRAM),
        ) {
            let incarnation = Incarnation::new(life.0, life.1);
            let message = Message::Answer(Answer { incarnation, counter, witness, verdicts });
            prop_assert_eq!(Message::decode(&message.encode()), Some(message));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::decode(&bytes);
        }
    }
}
