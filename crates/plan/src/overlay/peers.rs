use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use podway_model::{ClusterState, IpFamily, Node};

use super::annotation::{self, BACKEND_TYPE, TAKES_PART};
use super::claims::Claims;
use super::table::{
    OverlaySettings, OverlayTable, OwnEnd, Peer, PeerData, PeerKey, Refusal, VtepMac,
};

/// Plans the overlay of the node `own`: its own ends, and every other node that
/// takes part with the same backend and can be reached.
///
/// Where two nodes claim the same pod addresses, the own node keeps its own (its
/// pods are there), and of two others the one whose name sorts first, so that
/// every third node sees the same winner.
#[must_use]
pub fn plan_overlay(state: &ClusterState, own: &str, settings: &OverlaySettings) -> OverlayTable {
    let mut plan = Plan {
        settings,
        claims: Claims::default(),
        macs: BTreeMap::new(),
        table: OverlayTable::default(),
    };
    let Some(own) = state.node(own) else {
        return plan.table;
    };
    for family in IpFamily::ALL {
        plan.own_end(own, family);
    }
    for node in state.nodes().filter(|node| node.name != own.name) {
        for family in IpFamily::ALL {
            plan.peer(node, family);
        }
    }
    plan.table
}

struct Plan<'a> {
    settings: &'a OverlaySettings,
    claims: Claims,
    /// Whose tunnel device has which address; a device knows only its family's.
    macs: BTreeMap<(IpFamily, VtepMac), Arc<str>>,
    table: OverlayTable,
}

impl Plan<'_> {
    fn own_end(&mut self, node: &Node, family: IpFamily) {
        let Some(prefix) = prefix_of(node, family) else {
            return;
        };
        match self.end_of_own(node, family, prefix) {
            Ok(end) => {
                self.table.own.insert(family, end);
            }
            Err(refusal) => self.refuse(node, family, refusal),
        }
    }

    fn end_of_own(
        &mut self,
        node: &Node,
        family: IpFamily,
        prefix: IpNet,
    ) -> Result<OwnEnd, Refusal> {
        self.claim(node, prefix)?;
        let local = address_of(node, family).ok_or(Refusal::NoNodeAddress)?;
        let overwrite = annotation::overwrite(&node.annotations, family)?;
        // A node that was flannel's, or ours under another rule, keeps the
        // address that its peers know.
        let data = match annotation::vxlan_data(&node.annotations, family, self.settings) {
            Ok(data) => data,
            Err(_) => PeerData::Vxlan {
                mac: VtepMac::of_node(&node.name, family),
            },
        };
        self.claim_mac(node, family, &data)?;
        Ok(OwnEnd {
            prefix,
            local,
            public: overwrite.unwrap_or(local),
            data,
        })
    }

    fn peer(&mut self, node: &Node, family: IpFamily) {
        let prefix = prefix_of(node, family);
        // A claim counts whether or not the node takes part yet: the winner must
        // not change when an agent starts.
        let claimed = prefix.map(|prefix| self.claim(node, prefix).map(|()| prefix));
        if !self.table.own.contains_key(&family) {
            return;
        }
        let planned = match claimed {
            None => Err(Refusal::NoPodPrefix),
            Some(claimed) => claimed.and_then(|prefix| self.reach(node, family, prefix)),
        };
        match planned {
            Ok(peer) => {
                self.table
                    .peers
                    .insert(PeerKey::new(&node.name, family), peer);
            }
            Err(refusal) => self.refuse(node, family, refusal),
        }
    }

    fn reach(&mut self, node: &Node, family: IpFamily, prefix: IpNet) -> Result<Peer, Refusal> {
        let annotations = &node.annotations;
        if annotations.get(TAKES_PART).map(String::as_str) != Some("true") {
            return Err(Refusal::NotTakingPart {
                annotation: TAKES_PART,
            });
        }
        let backend = annotations
            .get(BACKEND_TYPE)
            .ok_or(Refusal::MissingAnnotation {
                annotation: BACKEND_TYPE,
            })?;
        if backend != self.settings.backend {
            return Err(Refusal::OtherBackend {
                theirs: backend.clone(),
                ours: self.settings.backend,
            });
        }
        let address = annotation::address(annotations, family)?;
        let data = annotation::vxlan_data(annotations, family, self.settings)?;
        self.claim_mac(node, family, &data)?;
        Ok(Peer {
            prefix,
            address,
            data,
        })
    }

    fn claim(&mut self, node: &Node, prefix: IpNet) -> Result<(), Refusal> {
        self.claims
            .claim(prefix, &node.name)
            .map_err(|(taken, holder)| Refusal::Overlap {
                prefix,
                taken,
                holder,
            })
    }

    fn claim_mac(&mut self, node: &Node, family: IpFamily, data: &PeerData) -> Result<(), Refusal> {
        let PeerData::Vxlan { mac } = *data;
        let holder = self
            .macs
            .entry((family, mac))
            .or_insert_with(|| node.name.clone());
        if *holder == node.name {
            return Ok(());
        }
        Err(Refusal::MacTaken {
            mac,
            holder: holder.clone(),
        })
    }

    fn refuse(&mut self, node: &Node, family: IpFamily, refusal: Refusal) {
        self.table
            .refused
            .insert(PeerKey::new(&node.name, family), refusal);
    }
}

fn prefix_of(node: &Node, family: IpFamily) -> Option<IpNet> {
    node.pod_prefixes
        .iter()
        .find(|prefix| IpFamily::of(&prefix.addr()) == family)
        .map(IpNet::trunc)
}

fn address_of(node: &Node, family: IpFamily) -> Option<IpAddr> {
    node.addresses
        .iter()
        .copied()
        .find(|address| IpFamily::of(address) == family)
}
