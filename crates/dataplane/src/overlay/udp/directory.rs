//! Which node has which pods.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use podway_plan::overlay::Peer;

/// The peers of one family, as the threads that move packets look them up.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// By first address and length.
    prefixes: HashMap<(IpAddr, u8), IpAddr>,
    /// How many prefixes have a length.
    lengths: BTreeMap<u8, usize>,
    /// Where packets are taken from, and how many prefixes are there.
    senders: HashMap<IpAddr, usize>,
    /// Every node's port.
    port: u16,
}

impl Directory {
    pub(super) fn new(port: u16) -> Self {
        Self {
            port,
            ..Self::default()
        }
    }

    /// Makes it hold these peers and no others.
    pub(super) fn replace<'a>(&mut self, peers: impl IntoIterator<Item = &'a Peer>) {
        *self = Self::new(self.port);
        for peer in peers {
            self.add(peer);
        }
    }

    /// Adds a peer, whichever way its packets take: they may come through the
    /// tunnel while they do not leave by it.
    pub(super) fn add(&mut self, peer: &Peer) {
        let key = key_of(&peer.prefix);
        if let Some(before) = self.prefixes.insert(key, peer.address) {
            self.forget_sender(before);
        } else {
            *self.lengths.entry(key.1).or_default() += 1;
        }
        *self.senders.entry(peer.address).or_default() += 1;
    }

    /// Removes a peer, where the prefix is not another's by now.
    pub(super) fn remove(&mut self, peer: &Peer) {
        let key = key_of(&peer.prefix);
        if self.prefixes.get(&key) != Some(&peer.address) {
            return;
        }
        self.prefixes.remove(&key);
        self.forget_sender(peer.address);
        if let Some(count) = self.lengths.get_mut(&key.1) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&key.1);
            }
        }
    }

    fn forget_sender(&mut self, address: IpAddr) {
        if let Some(count) = self.senders.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.senders.remove(&address);
            }
        }
    }

    /// Where packets to an address go.
    pub(super) fn way(&self, to: IpAddr) -> Option<SocketAddr> {
        let lengths = self.lengths.keys().rev();
        let mut prefixes = lengths.filter_map(|length| IpNet::new(to, *length).ok());
        let address = prefixes.find_map(|prefix| self.prefixes.get(&key_of(&prefix)))?;
        Some(SocketAddr::new(*address, self.port))
    }

    /// Whether packets from a host are taken.
    pub(super) fn takes_from(&self, host: IpAddr) -> bool {
        self.senders.contains_key(&host)
    }
}

fn key_of(prefix: &IpNet) -> (IpAddr, u8) {
    (prefix.network(), prefix.prefix_len())
}
