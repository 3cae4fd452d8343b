use std::collections::BTreeSet;
use std::net::IpAddr;

use podway_model::{ObjectName, Protocol, RuleAction, Tier};

use super::{PeerGroup, Peers};

/// What one direction of a pod allows. Pods with the same policies share one
/// (compare by value: equal sets may be separate allocations).
///
/// The rules of tier Admin are asked first, in their order; then the
/// NetworkPolicies, if any isolates the pod, and they decide for good; then the
/// rules of tier Baseline. What nobody decides is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleSet {
    /// Rules of tier Admin.
    pub admin: Vec<TierRule>,
    /// The NetworkPolicies that isolate the pod in this direction.
    pub isolated_by: BTreeSet<ObjectName>,
    /// What they allow between them; a connection needs one that matches.
    pub allows: Vec<Allow>,
    /// Rules of tier Baseline.
    pub baseline: Vec<TierRule>,
}

/// One product of peers and ports that NetworkPolicies allow. An egress rule
/// with a named port becomes several: one for each number that the name means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Allow {
    /// The policy.
    pub policy: ObjectName,
    /// The index of its rule, from 0, in this direction's list.
    pub rule: usize,
    /// What it matches.
    pub matches: Match,
}

/// One product of peers and ports of a ClusterNetworkPolicy's rule: the first
/// that matches in its tier decides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TierRule {
    /// The policy, without a namespace.
    pub policy: ObjectName,
    /// The index of its rule, from 0, in this direction's list.
    pub rule: usize,
    /// What becomes of what matches.
    pub action: RuleAction,
    /// What it matches.
    pub matches: Match,
}

/// Connections, by the other side and the port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Match {
    /// The other side.
    pub peers: Peers,
    /// The destination's ports; empty is every port of every protocol, and
    /// protocols that have no ports.
    pub ports: Vec<PortRange>,
}

/// Ports of one protocol, first to last, both included (0-65535 is all).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The protocol.
    pub protocol: Protocol,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

/// Which ports a peer is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AllowedPorts {
    /// The ports: by protocol, in order, apart from each other.
    pub ranges: Vec<PortRange>,
    /// Whether protocols are allowed that have no ports.
    pub others: bool,
}

/// What a rule set says to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding<'a> {
    /// Nothing: it is allowed.
    Open,
    /// This rule of this policy allows it.
    Allowed(&'a ObjectName, usize),
    /// This rule of this ClusterNetworkPolicy denies it.
    Refused(&'a ObjectName, usize),
    /// NetworkPolicies isolate the pod, and none of their rules allows it.
    Isolated,
}

impl RuleSet {
    /// What becomes of a connection with this peer to this port of the
    /// destination. `group` is `PolicyTable::peers` at the peer's address.
    #[must_use]
    pub fn decide(
        &self,
        peer: IpAddr,
        group: Option<&PeerGroup>,
        protocol: Protocol,
        port: u16,
    ) -> Finding<'_> {
        self.find(|one| one.covers(protocol, port) && one.peers.contain(peer, group))
    }

    /// The ports that a connection with some peer may have: `applies` says which
    /// matches mean the peer, whatever their ports.
    #[must_use]
    pub fn allowed_ports(&self, applies: impl Fn(&Match) -> bool) -> AllowedPorts {
        let is_allowed =
            |of: &dyn Fn(&Match) -> bool| self.find(|one| applies(one) && of(one)).is_allowed();
        let ranges = self
            .matches()
            .filter(|one| applies(one))
            .flat_map(|one| &one.ports);
        let ranges: Vec<PortRange> = ranges.copied().collect();
        AllowedPorts {
            ranges: kept(&ranges, |protocol, port| {
                is_allowed(&|one| one.covers(protocol, port))
            }),
            others: is_allowed(&|one| one.ports.is_empty()),
        }
    }

    fn find(&self, matches: impl Fn(&Match) -> bool) -> Finding<'_> {
        let in_tier = |rules: &'_ [TierRule]| rules.iter().position(|rule| matches(&rule.matches));
        if let Some(index) = in_tier(&self.admin)
            && let Some(finding) = self.admin[index].finding()
        {
            return finding;
        }
        if !self.isolated_by.is_empty() {
            let allow = self.allows.iter().find(|allow| matches(&allow.matches));
            return allow.map_or(Finding::Isolated, |allow| {
                Finding::Allowed(&allow.policy, allow.rule)
            });
        }
        in_tier(&self.baseline)
            .and_then(|index| self.baseline[index].finding())
            .unwrap_or(Finding::Open)
    }

    /// The rules of a tier.
    #[must_use]
    pub fn tier(&self, tier: Tier) -> &[TierRule] {
        match tier {
            Tier::Admin => &self.admin,
            Tier::Baseline => &self.baseline,
        }
    }

    /// Every policy that has a say.
    #[must_use]
    pub fn policies(&self) -> BTreeSet<&ObjectName> {
        let tiers = self.admin.iter().chain(&self.baseline);
        let tiers = tiers.map(|rule| &rule.policy);
        self.isolated_by.iter().chain(tiers).collect()
    }

    /// The peers of one rule of a policy.
    pub fn peers_of<'a>(
        &'a self,
        policy: &'a ObjectName,
        rule: usize,
    ) -> impl Iterator<Item = &'a Peers> {
        let allows = self.allows.iter();
        let allows = allows.map(|one| (&one.policy, one.rule, &one.matches));
        let tiers = self.admin.iter().chain(&self.baseline);
        let tiers = tiers.map(|one| (&one.policy, one.rule, &one.matches));
        allows
            .chain(tiers)
            .filter(move |(of, index, _)| *of == policy && *index == rule)
            .map(|(_, _, matches)| &matches.peers)
    }

    /// Whether ClusterNetworkPolicies have a say.
    #[must_use]
    pub fn has_tiers(&self) -> bool {
        !self.admin.is_empty() || !self.baseline.is_empty()
    }

    /// Everything that some rule matches.
    pub fn matches(&self) -> impl Iterator<Item = &Match> {
        let tiers = self.admin.iter().chain(&self.baseline);
        let allows = self.allows.iter().map(|allow| &allow.matches);
        allows.chain(tiers.map(|rule| &rule.matches))
    }
}

impl AllowedPorts {
    /// Every port of every protocol, and protocols without ports.
    #[must_use]
    pub fn all() -> Self {
        let whole = |protocol| PortRange {
            protocol,
            first: 0,
            last: u16::MAX,
        };
        Self {
            ranges: Protocol::ALL.map(whole).to_vec(),
            others: true,
        }
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.ranges.is_empty() && !self.others
    }

    /// What both allow.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.combined(other, |own, others| own && others)
    }

    /// What the other does not allow.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.combined(other, |own, others| own && !others)
    }

    fn combined(&self, other: &Self, keep: impl Fn(bool, bool) -> bool) -> Self {
        let contains = |ports: &Self, protocol, port| {
            let mut ranges = ports.ranges.iter();
            ranges.any(|range| range.contains(protocol, port))
        };
        let ranges = [&self.ranges[..], &other.ranges].concat();
        Self {
            ranges: kept(&ranges, |protocol, port| {
                keep(
                    contains(self, protocol, port),
                    contains(other, protocol, port),
                )
            }),
            others: keep(self.others, other.others),
        }
    }
}

impl PortRange {
    fn contains(&self, protocol: Protocol, port: u16) -> bool {
        self.protocol == protocol && (self.first..=self.last).contains(&port)
    }
}

/// The ports that are to be kept, where all ports between the ends of some
/// ranges are the same: by protocol, in order, apart from each other.
fn kept(ranges: &[PortRange], keep: impl Fn(Protocol, u16) -> bool) -> Vec<PortRange> {
    let mut all: Vec<PortRange> = Vec::new();
    for protocol in Protocol::ALL {
        let mut begins = BTreeSet::from([0]);
        for range in ranges.iter().filter(|range| range.protocol == protocol) {
            begins.insert(range.first);
            begins.extend(range.last.checked_add(1));
        }
        let ends: Vec<u16> = begins.iter().skip(1).map(|begin| begin - 1).collect();
        for (first, last) in begins.into_iter().zip(ends.into_iter().chain([u16::MAX])) {
            if !keep(protocol, first) {
                continue;
            }
            match all.last_mut() {
                Some(range)
                    if range.protocol == protocol
                        && u32::from(range.last) + 1 == u32::from(first) =>
                {
                    range.last = last;
                }
                _ => all.push(PortRange {
                    protocol,
                    first,
                    last,
                }),
            }
        }
    }
    all
}

impl Finding<'_> {
    /// Whether the connection is allowed.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Open | Self::Allowed(..))
    }
}

impl TierRule {
    /// `None` leaves it to the next tier.
    fn finding(&self) -> Option<Finding<'_>> {
        match self.action {
            RuleAction::Accept => Some(Finding::Allowed(&self.policy, self.rule)),
            RuleAction::Deny => Some(Finding::Refused(&self.policy, self.rule)),
            RuleAction::Pass => None,
        }
    }
}

impl Match {
    fn covers(&self, protocol: Protocol, port: u16) -> bool {
        self.ports.is_empty()
            || self
                .ports
                .iter()
                .any(|range| range.contains(protocol, port))
    }
}
