use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use podway_model::IpFamily;

/// Which nodes say that they have which pod addresses, and who of those that
/// say the same is believed.
///
/// Of nodes whose prefixes overlap the own one keeps its own (its pods are
/// there), and of two others the one whose name sorts first, so that every third
/// node sees the same winner.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims {
    own: Option<Arc<str>>,
    /// By first address and length, so that what is inside a prefix follows it.
    claimed: BTreeMap<(IpAddr, u8), BTreeSet<Arc<str>>>,
    /// How many prefixes there are of each family and length: those around a
    /// prefix are found by asking for each length in use.
    lengths: BTreeMap<(IpFamily, u8), usize>,
    /// Who lost, to what, of whom.
    lost: BTreeMap<(IpFamily, Arc<str>), (IpNet, Arc<str>)>,
}

impl Claims {
    pub(super) fn new(own: &Arc<str>) -> Self {
        Self {
            own: Some(own.clone()),
            ..Self::default()
        }
    }

    /// A node's prefix of a family became another. Returns every node whose
    /// success may differ now, that node too.
    pub(super) fn change(
        &mut self,
        node: &Arc<str>,
        before: Option<IpNet>,
        after: Option<IpNet>,
    ) -> BTreeSet<Arc<str>> {
        let mut concerned = BTreeSet::from([node.clone()]);
        if before == after {
            return concerned;
        }
        if let Some(before) = before {
            self.release(before, node);
        }
        if let Some(after) = after {
            self.take(after, node);
        }
        for prefix in before.into_iter().chain(after) {
            let group = self.group(prefix);
            self.decide(&group);
            concerned.extend(group.into_iter().map(|(node, _)| node));
        }
        concerned
    }

    /// What keeps a node from having its prefix: another prefix and its holder.
    pub(super) fn lost(&self, node: &Arc<str>, family: IpFamily) -> Option<&(IpNet, Arc<str>)> {
        self.lost.get(&(family, node.clone()))
    }

    fn take(&mut self, prefix: IpNet, node: &Arc<str>) {
        let key = (prefix.network(), prefix.prefix_len());
        self.claimed.entry(key).or_default().insert(node.clone());
        *self.lengths.entry(length_of(&prefix)).or_default() += 1;
    }

    fn release(&mut self, prefix: IpNet, node: &Arc<str>) {
        let key = (prefix.network(), prefix.prefix_len());
        if let Some(nodes) = self.claimed.get_mut(&key) {
            nodes.remove(node);
            if nodes.is_empty() {
                self.claimed.remove(&key);
            }
        }
        let length = length_of(&prefix);
        if let Some(count) = self.lengths.get_mut(&length) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&length);
            }
        }
        self.lost.remove(&(length.0, node.clone()));
    }

    /// The claims that overlap a prefix, and those that overlap these, and so on.
    fn group(&self, prefix: IpNet) -> BTreeSet<(Arc<str>, IpNet)> {
        let mut group = BTreeSet::new();
        let mut waiting = vec![prefix];
        let mut seen = BTreeSet::new();
        while let Some(prefix) = waiting.pop() {
            if !seen.insert(prefix) {
                continue;
            }
            for (found, nodes) in self.overlapping(prefix) {
                waiting.push(found);
                group.extend(nodes.iter().map(|node| (node.clone(), found)));
            }
        }
        group
    }

    fn overlapping(&self, prefix: IpNet) -> impl Iterator<Item = (IpNet, &BTreeSet<Arc<str>>)> {
        let (family, length) = length_of(&prefix);
        let around = self
            .lengths
            .range((family, 0)..(family, length))
            .filter_map(move |((_, shorter), _)| IpNet::new(prefix.network(), *shorter).ok())
            .filter_map(|around| {
                let around = around.trunc();
                let key = (around.network(), around.prefix_len());
                Some((around, self.claimed.get(&key)?))
            });
        let inside = self
            .claimed
            .range((prefix.network(), length)..=(prefix.broadcast(), u8::MAX))
            .filter_map(|((network, length), nodes)| {
                Some((IpNet::new(*network, *length).ok()?, nodes))
            });
        around.chain(inside)
    }

    fn decide(&mut self, group: &BTreeSet<(Arc<str>, IpNet)>) {
        // The own node first, then by name: the set's order.
        let own = self.own.clone();
        let is_own = |node: &Arc<str>| own.as_ref() == Some(node);
        let (first, others): (Vec<_>, Vec<_>) = group.iter().partition(|(node, _)| is_own(node));
        let mut held = Held::default();
        for (node, prefix) in first.into_iter().chain(others) {
            let key = (IpFamily::of(&prefix.addr()), node.clone());
            match held.take(*prefix, node) {
                Ok(()) => self.lost.remove(&key),
                Err(to) => self.lost.insert(key, to),
            };
        }
    }
}

/// Prefixes that do not overlap, by their first address.
#[derive(Debug, Default)]
struct Held(BTreeMap<IpAddr, (IpNet, Arc<str>)>);

impl Held {
    /// Takes a prefix for a node, or says which one it overlaps and whose that
    /// is. The order of an `IpAddr` puts IPv4 before IPv6, so that neighbours
    /// in the map are the only candidates.
    fn take(&mut self, prefix: IpNet, node: &Arc<str>) -> Result<(), (IpNet, Arc<str>)> {
        let below = self.0.range(..=prefix.network()).next_back();
        let above = self.0.range(prefix.network()..).next();
        let overlapped = below
            .into_iter()
            .chain(above)
            .map(|(_, held)| held)
            .find(|(held, _)| held.contains(&prefix) || prefix.contains(held));
        if let Some((held, holder)) = overlapped {
            return Err((*held, holder.clone()));
        }
        self.0.insert(prefix.network(), (prefix, node.clone()));
        Ok(())
    }
}

fn length_of(prefix: &IpNet) -> (IpFamily, u8) {
    (IpFamily::of(&prefix.addr()), prefix.prefix_len())
}
