use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::super::{Capability, Family, GracefulRestart, Notification, Open};
use super::Side;

/// Which AS a peer must be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAsn {
    /// This one.
    Exactly(u32),
    /// The speaker's own (`dynamicASN: internal`).
    Internal,
    /// Any other (`dynamicASN: external`).
    External,
}

/// What this speaker says and expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// Its AS.
    pub local_asn: u32,
    /// The peer's.
    pub peer_asn: PeerAsn,
    /// Its BGP identifier; not 0.0.0.0.
    pub router_id: Ipv4Addr,
    /// The hold time that it offers: 0 for none, otherwise 3 s and more.
    pub hold_time: Duration,
    /// Between keepalives; a third of the agreed hold time where it is `None`.
    pub keepalive_time: Option<Duration>,
    /// Between attempts to connect.
    pub connect_retry: Duration,
    /// It lets the peer connect.
    pub passive: bool,
    /// What it exchanges.
    pub families: BTreeSet<Family>,
    /// For how long the peer should keep its routes while it restarts.
    pub graceful_restart: Option<Duration>,
    /// It has just restarted, and its forwarding went on meanwhile.
    pub restarted: bool,
}

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    /// The peer's AS.
    pub peer_asn: u32,
    /// The peer is in the same AS.
    pub internal: bool,
    /// The peer's BGP identifier.
    pub peer_id: Ipv4Addr,
    /// The smaller of both hold times; 0 for none.
    pub hold_time: Duration,
    /// Between keepalives; 0 for none.
    pub keepalive_time: Duration,
    /// The families that both exchange.
    pub families: BTreeSet<Family>,
    /// AS numbers have four octets.
    pub four_octet_asn: bool,
    /// The peer keeps routes while this speaker restarts (RFC 4724).
    pub graceful_restart: bool,
}

impl SessionConfig {
    pub(super) fn open(&self, restarted: bool) -> Open {
        let families = self.families.iter().copied();
        let mut capabilities: Vec<Capability> =
            families.clone().map(Capability::Multiprotocol).collect();
        capabilities.push(Capability::RouteRefresh);
        capabilities.push(Capability::FourOctetAsn(self.local_asn));
        if let Some(time) = self.graceful_restart {
            let seconds = u16::try_from(time.as_secs()).unwrap_or(u16::MAX);
            capabilities.push(Capability::GracefulRestart(GracefulRestart {
                restarted,
                seconds,
                // The kernel goes on forwarding while the agent is away.
                families: families.map(|family| (family, true)).collect(),
            }));
        }
        Open {
            asn: self.local_asn,
            hold_time: self.hold_time,
            router_id: self.router_id,
            capabilities,
        }
    }

    /// Judges a peer's OPEN (RFC 4271 section 6.2).
    pub(super) fn negotiate(&self, open: &Open) -> Result<Established, Notification> {
        let expected = match self.peer_asn {
            PeerAsn::Exactly(asn) => open.asn == asn,
            PeerAsn::Internal => open.asn == self.local_asn,
            PeerAsn::External => open.asn != self.local_asn,
        };
        if !expected {
            return Err(Notification::new(2, 2));
        }
        let internal = open.asn == self.local_asn;
        // RFC 6286: an identifier need be unique within an AS only.
        if internal && open.router_id == self.router_id {
            return Err(Notification::new(2, 3));
        }
        let hold_time = self.hold_time.min(open.hold_time);
        let third = hold_time / 3;
        let spoken = |family: &Family| open.speaks(*family);
        let restart = |c: &Capability| matches!(c, Capability::GracefulRestart(_));
        Ok(Established {
            peer_asn: open.asn,
            internal,
            peer_id: open.router_id,
            hold_time,
            keepalive_time: self.keepalive_time.map_or(third, |time| time.min(third)),
            families: self.families.iter().copied().filter(spoken).collect(),
            four_octet_asn: open.has_four_octet_asn(),
            graceful_restart: self.graceful_restart.is_some()
                && open.capabilities.iter().any(restart),
        })
    }

    /// A pause that is up to a quarter shorter, differently at each speaker and
    /// each time (RFC 4271 section 10): two that dropped each other's
    /// connections must not meet in the same way again.
    pub(super) fn jittered(&self, pause: Duration, attempt: u32) -> Duration {
        let seed = u32::from(self.router_id) ^ self.local_asn ^ attempt.wrapping_mul(0x9e37_79b9);
        let percent = 75 + seed.wrapping_mul(0x85eb_ca6b) % 26;
        pause * percent / 100
    }

    /// Which of two connections goes (RFC 4271 section 6.8): the one that the
    /// speaker with the lower identifier opened; with equal ones, in different
    /// AS, the one of the lower AS (RFC 6286 section 2.3).
    pub(super) fn loser_against(&self, open: &Open) -> Side {
        if (self.router_id, self.local_asn) < (open.router_id, open.asn) {
            Side::Own
        } else {
            Side::Theirs
        }
    }
}
