use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use podway_model::{ClusterState, IpFamily, Node, Object, Update};

use super::annotation;
use super::claims::Claims;
use super::node_view::{own_end, prefix_of};
use super::{
    OverlayChange, OverlayMode, OverlaySettings, OverlayTable, OwnEnd, Peer, PeerData, PeerKey,
    Refusal, Underlay, VtepMac, Way,
};

/// Keeps the overlay table of a node as the cluster changes.
///
/// Work is proportional to the change: another node's is looked at alone, with
/// those that claim the same pod addresses or the same device address. The own
/// node's coming, going or changing family looks at all.
#[derive(Debug, Clone)]
pub struct OverlayPlanner {
    own: Arc<str>,
    settings: OverlaySettings,
    underlay: Underlay,
    nodes: BTreeMap<Arc<str>, Arc<Node>>,
    claims: Claims,
    /// Whose tunnel device has, or wants, which address; a device knows only its
    /// family's.
    macs: BTreeMap<(IpFamily, VtepMac), BTreeSet<Arc<str>>>,
    table: OverlayTable,
}

/// Plans the overlay of the node `own`: its own ends, and every other node that
/// takes part with the same mode and can be reached.
#[must_use]
pub fn plan_overlay(
    state: &ClusterState,
    own: &str,
    settings: &OverlaySettings,
    underlay: &Underlay,
) -> OverlayTable {
    let mut planner = OverlayPlanner::new(own.into(), settings.clone());
    planner.follow_underlay(underlay.clone());
    planner.plan_all(state);
    planner.table
}

impl OverlayPlanner {
    /// A planner that knows no node yet.
    #[must_use]
    pub fn new(own: Arc<str>, settings: OverlaySettings) -> Self {
        Self {
            claims: Claims::new(&own),
            own,
            settings,
            underlay: Underlay::default(),
            nodes: BTreeMap::new(),
            macs: BTreeMap::new(),
            table: OverlayTable::default(),
        }
    }

    /// What is planned.
    #[must_use]
    pub const fn table(&self) -> &OverlayTable {
        &self.table
    }

    /// What it plans by.
    #[must_use]
    pub const fn settings(&self) -> &OverlaySettings {
        &self.settings
    }

    /// This node, where it is known.
    #[must_use]
    pub fn own_node(&self) -> Option<&Arc<Node>> {
        self.nodes.get(&self.own)
    }

    /// Plans everything that a state holds, whatever was known before.
    pub fn plan_all(&mut self, state: &ClusterState) -> OverlayChange {
        let gone = self.nodes.keys().filter(|name| state.node(name).is_none());
        let gone: Vec<(Arc<str>, Option<Arc<Node>>)> =
            gone.map(|name| (name.clone(), None)).collect();
        let present = state
            .nodes()
            .map(|node| (node.name.clone(), Some(node.clone())));
        self.follow(gone.into_iter().chain(present))
    }

    /// Plans what the updates change.
    pub fn update(&mut self, updates: &[Update]) -> OverlayChange {
        let nodes = updates
            .iter()
            .filter_map(|update| match (&update.before, &update.after) {
                (_, Some(Object::Node(node))) => Some((node.name.clone(), Some(node.clone()))),
                (Some(Object::Node(node)), None) => Some((node.name.clone(), None)),
                _ => None,
            });
        self.follow(nodes)
    }

    /// Plans by another routing table of this node.
    pub fn follow_underlay(&mut self, underlay: Underlay) -> OverlayChange {
        if self.underlay == underlay {
            return OverlayChange::default();
        }
        self.underlay = underlay;
        if !self.settings.needs_underlay() {
            return OverlayChange::default();
        }
        let keys = self.nodes.keys();
        let all = keys.flat_map(|node| IpFamily::ALL.map(|family| PeerKey::new(node, family)));
        let all: BTreeSet<PeerKey> = all.collect();
        self.replan(all)
    }

    fn follow(
        &mut self,
        nodes: impl IntoIterator<Item = (Arc<str>, Option<Arc<Node>>)>,
    ) -> OverlayChange {
        let mut dirty = BTreeSet::new();
        for (name, after) in nodes {
            let before = match &after {
                Some(node) => self.nodes.insert(name.clone(), node.clone()),
                None => self.nodes.remove(&name),
            };
            for family in IpFamily::ALL {
                let prefix = |node: &Arc<Node>| prefix_of(node, family);
                let (was, is) = (
                    before.as_ref().and_then(prefix),
                    after.as_ref().and_then(prefix),
                );
                // A claim counts whether or not the node takes part yet: the
                // winner must not change when an agent starts.
                let concerned = self.claims.change(&name, was, is);
                dirty.extend(concerned.iter().map(|node| PeerKey::new(node, family)));
            }
        }
        self.replan(dirty)
    }

    fn replan(&mut self, mut dirty: BTreeSet<PeerKey>) -> OverlayChange {
        let mut change = OverlayChange::default();
        for family in IpFamily::ALL {
            let own = PeerKey::new(&self.own, family);
            if dirty.remove(&own) && self.plan_own(&own, &mut change, &mut dirty) {
                let keys = self.nodes.keys().filter(|name| **name != self.own);
                dirty.extend(keys.map(|name| PeerKey::new(name, family)));
            }
        }
        while let Some(key) = dirty.pop_first() {
            if *key.node != *self.own {
                self.plan_peer(key, &mut change, &mut dirty);
            }
        }
        change.settle();
        change
    }

    /// Plans this node's own end. Whether it has come or gone.
    fn plan_own(
        &mut self,
        key: &PeerKey,
        change: &mut OverlayChange,
        dirty: &mut BTreeSet<PeerKey>,
    ) -> bool {
        let planned = self.nodes.get(&self.own).and_then(|node| {
            let prefix = prefix_of(node, key.family)?;
            let claimed = self.claimed(key, prefix);
            Some(claimed.and_then(|()| own_end(node, prefix, &self.settings)))
        });
        let end = self.accept(key, planned, change);
        let before = self.table.own.get(&key.family).cloned();
        let mac = |end: &Option<OwnEnd>| end.as_ref().and_then(|end| mac_of(&end.data));
        self.move_mac(key, mac(&before), mac(&end), dirty);
        let came_or_went = before.is_some() != end.is_some();
        change.own |= before != end;
        match end {
            Some(end) => self.table.own.insert(key.family, end),
            None => self.table.own.remove(&key.family),
        };
        came_or_went
    }

    fn plan_peer(
        &mut self,
        key: PeerKey,
        change: &mut OverlayChange,
        dirty: &mut BTreeSet<PeerKey>,
    ) {
        let offered = self.offered(&key);
        let before = self.table.peers.get(&key).copied();
        let wanted = match &offered {
            Some(Ok(peer)) => mac_of(&peer.data),
            _ => None,
        };
        let held = self.held_mac(&key);
        self.move_mac(&key, held, wanted, dirty);
        let decided = offered.map(|offered| offered.and_then(|peer| self.reach(&key, peer)));
        let after = self.accept(&key, decided, change);
        if before == after {
            return;
        }
        match &after {
            Some(peer) => self.table.peers.insert(key.clone(), *peer),
            None => self.table.peers.remove(&key),
        };
        change.note(key, before, after);
    }

    /// What a node says about itself; `None` where it is not asked.
    fn offered(&self, key: &PeerKey) -> Option<Result<Peer, Refusal>> {
        if !self.table.own.contains_key(&key.family) || self.settings.mode == OverlayMode::None {
            return None;
        }
        let node = self.nodes.get(&key.node)?;
        let Some(prefix) = prefix_of(node, key.family) else {
            return Some(Err(Refusal::NoPodPrefix));
        };
        let offer = self
            .claimed(key, prefix)
            .and_then(|()| annotation::offer(&node.annotations, key.family, &self.settings));
        Some(offer.map(|(address, data)| Peer {
            prefix,
            address,
            way: Way::Tunnel,
            data,
        }))
    }

    fn claimed(&self, key: &PeerKey, prefix: IpNet) -> Result<(), Refusal> {
        match self.claims.lost(&key.node, key.family) {
            None => Ok(()),
            Some((taken, holder)) => Err(Refusal::Overlap {
                prefix,
                taken: *taken,
                holder: holder.clone(),
            }),
        }
    }

    /// Whether and how a node that takes part is reached.
    fn reach(&self, key: &PeerKey, peer: Peer) -> Result<Peer, Refusal> {
        if let Some(mac) = mac_of(&peer.data) {
            let holder = self.mac_holder((key.family, mac));
            if let Some(holder) = holder.filter(|holder| **holder != key.node) {
                let holder = holder.clone();
                return Err(Refusal::MacTaken { mac, holder });
            }
        }
        let way = self.way(peer.address)?;
        Ok(Peer { way, ..peer })
    }

    fn way(&self, address: IpAddr) -> Result<Way, Refusal> {
        if self.settings.incoming_only {
            return Ok(Way::Incoming);
        }
        let is_host_gw = self.settings.mode == OverlayMode::HostGw;
        if !is_host_gw && !self.settings.direct_routing {
            return Ok(Way::Tunnel);
        }
        match self.underlay.way(address) {
            Some(next) => match next.router {
                None => Ok(Way::Direct { link: next.link }),
                Some(router) if is_host_gw => Err(Refusal::OtherSegment { address, router }),
                Some(_) => Ok(Way::Tunnel),
            },
            None if is_host_gw => Err(Refusal::NoWay { address }),
            None => Ok(Way::Tunnel),
        }
    }

    /// Takes down what was decided about a node: a refusal in the table, the
    /// rest as the result.
    fn accept<T>(
        &mut self,
        key: &PeerKey,
        decided: Option<Result<T, Refusal>>,
        change: &mut OverlayChange,
    ) -> Option<T> {
        let refused = &mut self.table.refused;
        let (accepted, refusal) = match decided {
            Some(Ok(accepted)) => (Some(accepted), None),
            Some(Err(refusal)) => (None, Some(refusal)),
            None => (None, None),
        };
        if refused.get(key) != refusal.as_ref() {
            match refusal {
                Some(refusal) => refused.insert(key.clone(), refusal),
                None => refused.remove(key),
            };
            change.refused.insert(key.clone());
        }
        accepted
    }
}

/// Device addresses, of which each may be one node's only.
impl OverlayPlanner {
    /// The own node's, else the first by name.
    fn mac_holder(&self, mac: (IpFamily, VtepMac)) -> Option<&Arc<str>> {
        let nodes = self.macs.get(&mac)?;
        nodes.get(&self.own).or_else(|| nodes.first())
    }

    fn held_mac(&self, key: &PeerKey) -> Option<VtepMac> {
        let refused = match self.table.refused.get(key) {
            Some(Refusal::MacTaken { mac, .. }) => Some(*mac),
            _ => None,
        };
        let peer = self.table.peers.get(key);
        peer.and_then(|peer| mac_of(&peer.data)).or(refused)
    }

    fn move_mac(
        &mut self,
        key: &PeerKey,
        from: Option<VtepMac>,
        to: Option<VtepMac>,
        dirty: &mut BTreeSet<PeerKey>,
    ) {
        if from == to {
            return;
        }
        let family = key.family;
        if let Some(mac) = from
            && let Some(nodes) = self.macs.get_mut(&(family, mac))
        {
            nodes.remove(&key.node);
            dirty.extend(nodes.iter().map(|node| PeerKey::new(node, family)));
            if nodes.is_empty() {
                self.macs.remove(&(family, mac));
            }
        }
        if let Some(mac) = to {
            let nodes = self.macs.entry((family, mac)).or_default();
            dirty.extend(nodes.iter().map(|node| PeerKey::new(node, family)));
            nodes.insert(key.node.clone());
        }
    }
}

const fn mac_of(data: &PeerData) -> Option<VtepMac> {
    match data {
        PeerData::Vxlan { mac } => Some(*mac),
        _ => None,
    }
}
