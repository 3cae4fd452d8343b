//! Which prefix of the pods' each node gets, where the cluster has nobody else
//! who says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// The longest difference between a range's prefix and a node's: 65,536 nodes,
/// Kubernetes' own bound.
const MOST_BITS: u8 = 16;

/// Prefixes of one family that nodes get: `length` bits long, of `prefix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeRange {
    prefix: IpNet,
    length: u8,
}

/// Why there is no such range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeProblem {
    /// A node would get more than there is, or no addresses at all.
    #[error("a node's prefix of /{length} does not fit into {prefix}: choose /{} to /{}", prefix.prefix_len(), longest(*prefix))]
    Length {
        /// The range.
        prefix: IpNet,
        /// What was asked for.
        length: u8,
    },
    /// More nodes than anybody has.
    #[error("{prefix} cut into /{length} is for more than 65536 nodes: choose at most /{}", prefix.prefix_len() + MOST_BITS)]
    TooMany {
        /// The range.
        prefix: IpNet,
        /// What was asked for.
        length: u8,
    },
    /// One range of each family is enough.
    #[error("{0} and {1} are of one family")]
    SameFamily(IpNet, IpNet),
    /// Nothing to give.
    #[error("there is no range")]
    None,
}

/// Every prefix of a range is some node's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no prefix of /{} is left in {}: all {} are taken; remove nodes that are gone, or give a larger range", .0.length, .0.prefix, .0.size())]
pub struct Exhausted(pub NodeRange);

/// Prefixes of two nodes that have addresses in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The node whose prefixes were told last.
    pub node: Arc<str>,
    /// Its prefix.
    pub prefix: IpNet,
    /// The other node.
    pub other: Arc<str>,
    /// The other's prefix.
    pub others: IpNet,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            node,
            prefix,
            other,
            others,
        } = self;
        write!(
            f,
            "podCIDR {prefix} of node {node} overlaps {others} of node {other}: \
             delete one of them and let it register again"
        )
    }
}

impl NodeRange {
    /// `length` is that of a node's prefix, in bits.
    ///
    /// # Errors
    /// [`RangeProblem`].
    pub fn new(prefix: IpNet, length: u8) -> Result<Self, RangeProblem> {
        let prefix = prefix.trunc();
        if !(prefix.prefix_len()..=longest(prefix)).contains(&length) {
            return Err(RangeProblem::Length { prefix, length });
        }
        if length - prefix.prefix_len() > MOST_BITS {
            return Err(RangeProblem::TooMany { prefix, length });
        }
        Ok(Self { prefix, length })
    }

    /// How many nodes have room in it.
    #[must_use]
    pub fn size(&self) -> u32 {
        1 << (self.length - self.prefix.prefix_len())
    }

    /// The `index`th prefix.
    fn nth(&self, index: u32) -> IpNet {
        let offset = |bits: u8| u128::from(index) << (bits - self.length);
        match self.prefix {
            IpNet::V4(prefix) => {
                let offset = u32::try_from(offset(32)).expect("within the range's host bits");
                let address = (u32::from(prefix.network()) | offset).into();
                IpNet::new(IpAddr::V4(address), self.length)
            }
            IpNet::V6(prefix) => {
                let address = (u128::from(prefix.network()) | offset(128)).into();
                IpNet::new(IpAddr::V6(address), self.length)
            }
        }
        .expect("the length was checked")
    }

    /// Which of its prefixes have addresses in common with `prefix`: first and
    /// last.
    fn touched(&self, prefix: IpNet) -> Option<(u32, u32)> {
        if prefix.contains(&self.prefix) {
            return Some((0, self.size() - 1));
        }
        if !self.prefix.contains(&prefix) {
            return None;
        }
        let index = |address: IpAddr| {
            let (host, bits) = match (address, self.prefix.network()) {
                (IpAddr::V4(address), IpAddr::V4(first)) => {
                    (u128::from(u32::from(address) - u32::from(first)), 32)
                }
                (IpAddr::V6(address), IpAddr::V6(first)) => {
                    (u128::from(address) - u128::from(first), 128)
                }
                _ => unreachable!("a prefix contains its own family only"),
            };
            u32::try_from(host >> (bits - self.length)).expect("at most 16 bits")
        };
        Some((index(prefix.network()), index(prefix.broadcast())))
    }
}

/// The longest prefix that has room for a network address, a gateway and a pod.
const fn longest(prefix: IpNet) -> u8 {
    match prefix {
        IpNet::V4(_) => 30,
        IpNet::V6(_) => 126,
    }
}

/// Who has which prefixes. What nodes have already counts, whoever gave it.
#[derive(Debug, Clone)]
pub struct NodePrefixes {
    pools: Vec<Pool>,
    nodes: BTreeMap<Arc<str>, Vec<IpNet>>,
}

/// One range, and where to look next: a prefix that was given back is the last to
/// be given again, so that no peer still has a route for its old node.
#[derive(Debug, Clone)]
struct Pool {
    range: NodeRange,
    next: u32,
    /// How many nodes touch each prefix; those that nobody touches are left out.
    taken: BTreeMap<u32, u32>,
}

impl NodePrefixes {
    /// One range of each family at most; the first is the primary one.
    ///
    /// # Errors
    /// [`RangeProblem::SameFamily`], [`RangeProblem::None`].
    pub fn new(ranges: &[NodeRange]) -> Result<Self, RangeProblem> {
        if let [first, second, ..] = ranges
            && (ranges.len() > 2 || is_ipv4(first.prefix) == is_ipv4(second.prefix))
        {
            let other = ranges.last().unwrap_or(second);
            return Err(RangeProblem::SameFamily(first.prefix, other.prefix));
        }
        if ranges.is_empty() {
            return Err(RangeProblem::None);
        }
        let pool = |range: &NodeRange| Pool {
            range: *range,
            next: 0,
            taken: BTreeMap::new(),
        };
        Ok(Self {
            pools: ranges.iter().map(pool).collect(),
            nodes: BTreeMap::new(),
        })
    }

    /// What a node has. Nothing where it has nothing: then what it was given by
    /// [`NodePrefixes::give`] stays its own, until the cluster knows. Returns
    /// what it has in common with others.
    pub fn tell(&mut self, node: &Arc<str>, prefixes: &[IpNet]) -> Vec<Conflict> {
        if prefixes.is_empty() || self.nodes.get(node).is_some_and(|held| held == prefixes) {
            return Vec::new();
        }
        self.forget(node);
        let conflicts = self.conflicts(node, prefixes);
        self.hold(node, prefixes.to_vec());
        conflicts
    }

    /// The complete list of nodes: all others are gone.
    pub fn keep_only(&mut self, nodes: &BTreeSet<Arc<str>>) {
        let gone = self.nodes.keys().filter(|node| !nodes.contains(*node));
        for node in gone.cloned().collect::<Vec<_>>() {
            self.forget(&node);
        }
    }

    /// A node is gone; its prefixes are free.
    pub fn forget(&mut self, node: &str) {
        for prefix in self.nodes.remove(node).unwrap_or_default() {
            for pool in &mut self.pools {
                pool.release(prefix);
            }
        }
    }

    /// A prefix of each range for a node, or what it was given before.
    ///
    /// # Errors
    /// [`Exhausted`]; then it gets none at all.
    pub fn give(&mut self, node: &Arc<str>) -> Result<Vec<IpNet>, Exhausted> {
        if let Some(held) = self.nodes.get(node) {
            return Ok(held.clone());
        }
        let free: Option<Vec<u32>> = self.pools.iter().map(Pool::free).collect();
        let Some(free) = free else {
            let full = self.pools.iter().find(|pool| pool.free().is_none());
            return Err(Exhausted(full.expect("one has none").range));
        };
        let mut given = Vec::with_capacity(free.len());
        for (pool, index) in self.pools.iter_mut().zip(free) {
            pool.next = (index + 1) % pool.range.size();
            given.push(pool.range.nth(index));
        }
        self.hold(node, given.clone());
        Ok(given)
    }

    fn hold(&mut self, node: &Arc<str>, prefixes: Vec<IpNet>) {
        for prefix in &prefixes {
            for pool in &mut self.pools {
                pool.take(*prefix);
            }
        }
        self.nodes.insert(Arc::clone(node), prefixes);
    }

    fn conflicts(&self, node: &Arc<str>, prefixes: &[IpNet]) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        for (other, others) in &self.nodes {
            for prefix in prefixes {
                let common = |held: &&IpNet| held.contains(prefix) || prefix.contains(*held);
                conflicts.extend(others.iter().find(common).map(|held| Conflict {
                    node: Arc::clone(node),
                    prefix: *prefix,
                    other: Arc::clone(other),
                    others: *held,
                }));
            }
        }
        conflicts
    }
}

impl Pool {
    fn free(&self) -> Option<u32> {
        let size = self.range.size();
        (0..size)
            .map(|step| (self.next + step) % size)
            .find(|index| !self.taken.contains_key(index))
    }

    fn take(&mut self, prefix: IpNet) {
        if let Some((first, last)) = self.range.touched(prefix) {
            for index in first..=last {
                *self.taken.entry(index).or_default() += 1;
            }
        }
    }

    fn release(&mut self, prefix: IpNet) {
        let Some((first, last)) = self.range.touched(prefix) else {
            return;
        };
        for index in first..=last {
            if let Some(count) = self.taken.get_mut(&index) {
                *count -= 1;
                if *count == 0 {
                    self.taken.remove(&index);
                }
            }
        }
    }
}

const fn is_ipv4(prefix: IpNet) -> bool {
    matches!(prefix, IpNet::V4(_))
}

#[cfg(test)]
mod tests;
