use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::prefix::prefix_length;
use super::{
    AsPathSegment, Attributes, Family, HEADER, LargeCommunity, MAX_MESSAGE, Origin, Reach, Unreach,
    Update,
};

/// How a prefix is announced to a peer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Path {
    /// `LOCAL_PREF`, for a peer of the same AS.
    pub local_pref: Option<u32>,
    /// Communities.
    pub communities: BTreeSet<u32>,
    /// Large communities.
    pub large_communities: BTreeSet<LargeCommunity>,
}

/// What peers reach this speaker by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NextHops {
    /// For IPv4 prefixes; without it none is announced.
    pub v4: Option<Ipv4Addr>,
    /// For IPv6 prefixes; without it none is announced.
    pub v6: Option<Ipv6Addr>,
    /// Of the same interface, where the peer is on its link (RFC 2545).
    pub link_local: Option<Ipv6Addr>,
}

/// What one peer has been told (its Adj-RIB-Out), for one session.
#[derive(Debug, Clone)]
pub struct RibOut {
    local_asn: u32,
    internal: bool,
    next_hops: NextHops,
    families: BTreeSet<Family>,
    told: BTreeMap<IpNet, Path>,
}

/// Room for attributes without prefixes in them, besides the header and the two
/// length fields of an UPDATE. 63 communities of each kind fit with the rest.
const PREFIX_ROOM: usize = 2_048;

impl RibOut {
    /// For a session that has just been established. `families`: those that both
    /// sides speak.
    #[must_use]
    pub fn new(
        local_asn: u32,
        internal: bool,
        next_hops: NextHops,
        families: BTreeSet<Family>,
    ) -> Self {
        Self {
            local_asn,
            internal,
            next_hops,
            families,
            told: BTreeMap::new(),
        }
    }

    /// Brings the peer to these prefixes: what it is not told yet or told
    /// differently is announced, what is not among them is withdrawn.
    pub fn sync(&mut self, wanted: &BTreeMap<IpNet, Path>) -> Vec<Update> {
        let wanted: BTreeMap<IpNet, Path> = wanted
            .iter()
            .filter(|(prefix, _)| self.can_tell(Family::of(prefix)))
            .map(|(prefix, path)| (prefix.trunc(), path.clone()))
            .collect();
        let gone = self
            .told
            .keys()
            .filter(|prefix| !wanted.contains_key(prefix));
        let mut updates = withdrawals(gone.copied().collect());
        let new = wanted
            .iter()
            .filter(|(p, path)| self.told.get(p) != Some(path));
        updates.extend(self.announcements(new));
        self.told = wanted;
        updates
    }

    /// Tells everything of a family again, as the peer asked (RFC 2918).
    #[must_use]
    pub fn refresh(&self, family: Family) -> Vec<Update> {
        let of_family = self.told.iter().filter(|(p, _)| Family::of(p) == family);
        self.announcements(of_family)
    }

    /// What follows the first [`RibOut::sync`] of a session: for each family
    /// that this was all (RFC 4724 section 4.1).
    #[must_use]
    pub fn end_of_rib(&self) -> Vec<Update> {
        self.families
            .iter()
            .copied()
            .map(Update::end_of_rib)
            .collect()
    }

    /// How many prefixes the peer has been told.
    #[must_use]
    pub fn len(&self) -> usize {
        self.told.len()
    }

    /// Whether it has been told none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    fn can_tell(&self, family: Family) -> bool {
        let next_hop = match family {
            Family::Ipv4 => self.next_hops.v4.is_some(),
            Family::Ipv6 => self.next_hops.v6.is_some(),
        };
        next_hop && self.families.contains(&family)
    }

    /// One UPDATE for all prefixes that share a path and fit.
    fn announcements<'a>(
        &self,
        routes: impl Iterator<Item = (&'a IpNet, &'a Path)>,
    ) -> Vec<Update> {
        let mut groups: BTreeMap<(Family, &Path), Vec<IpNet>> = BTreeMap::new();
        for (prefix, path) in routes {
            let group = groups.entry((Family::of(prefix), path)).or_default();
            group.push(*prefix);
        }
        let mut updates = Vec::new();
        for ((family, path), prefixes) in groups {
            for prefixes in batches(prefixes, PREFIX_ROOM) {
                updates.extend(self.announcement(family, path, prefixes));
            }
        }
        updates
    }

    fn announcement(&self, family: Family, path: &Path, prefixes: Vec<IpNet>) -> Option<Update> {
        let segment = AsPathSegment {
            ordered: true,
            asns: vec![self.local_asn],
        };
        let mut attributes = Attributes {
            origin: Some(Origin::Igp),
            as_path: Some(if self.internal {
                Vec::new()
            } else {
                vec![segment]
            }),
            // RFC 4271 section 5.1.5: required inside an AS, forbidden outside.
            local_pref: self.internal.then(|| path.local_pref.unwrap_or(100)),
            communities: path.communities.clone(),
            large_communities: path.large_communities.clone(),
            ..Attributes::default()
        };
        let mut announced = Vec::new();
        match family {
            Family::Ipv4 => {
                attributes.next_hop = Some(self.next_hops.v4?);
                announced = prefixes;
            }
            Family::Ipv6 => {
                attributes.reach = Some(Reach {
                    family,
                    next_hop: self.next_hops.v6?.into(),
                    link_local: self.next_hops.link_local,
                    prefixes,
                });
            }
        }
        Some(Update {
            withdrawn: Vec::new(),
            attributes,
            announced,
        })
    }
}

fn withdrawals(gone: Vec<IpNet>) -> Vec<Update> {
    let (v4, v6): (Vec<IpNet>, Vec<IpNet>) = gone
        .into_iter()
        .partition(|prefix| Family::of(prefix) == Family::Ipv4);
    let room = MAX_MESSAGE - HEADER - 64;
    let v4 = batches(v4, room).into_iter().map(|withdrawn| Update {
        withdrawn,
        ..Update::default()
    });
    let v6 = batches(v6, room).into_iter().map(|prefixes| Update {
        attributes: Attributes {
            unreach: Some(Unreach {
                family: Family::Ipv6,
                prefixes,
            }),
            ..Attributes::default()
        },
        ..Update::default()
    });
    v4.chain(v6).collect()
}

/// Splits prefixes so that each part takes no more than so many octets.
fn batches(prefixes: Vec<IpNet>, room: usize) -> Vec<Vec<IpNet>> {
    let mut parts: Vec<Vec<IpNet>> = Vec::new();
    let mut left = 0;
    for prefix in prefixes {
        let length = prefix_length(&prefix);
        match parts.last_mut().filter(|_| length <= left) {
            Some(part) => part.push(prefix),
            None => {
                parts.push(vec![prefix]);
                left = room;
            }
        }
        left -= length;
    }
    parts
}
