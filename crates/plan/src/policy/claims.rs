use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use podway_model::{ClusterState, ObjectName, Pod};

/// Which pod is at which address: what the CNI plugin attached here, and for
/// the others what their status says.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims {
    attached: BTreeMap<ObjectName, Attachment>,
    of_pod: BTreeMap<ObjectName, BTreeSet<IpAddr>>,
    at_address: BTreeMap<IpAddr, BTreeSet<ObjectName>>,
}

#[derive(Debug, Clone)]
struct Attachment {
    uid: Arc<str>,
    addresses: BTreeSet<IpAddr>,
}

/// What is known of the pod of a name.
pub(super) enum Known<'a> {
    /// The pod, and that it is here where `attached`.
    Pod {
        /// The pod.
        pod: &'a Arc<Pod>,
        /// Whether the CNI plugin attached it to this node.
        attached: bool,
    },
    /// Attached here, but the API server has not told of it yet: the pod of this
    /// name is unknown, or an older one with another uid.
    Unannounced,
    /// No such pod, or one without addresses of its own.
    Nothing,
}

impl Claims {
    /// What is known of a pod.
    pub(super) fn known<'a>(&self, state: &'a ClusterState, name: &ObjectName) -> Known<'a> {
        let attachment = self.attached.get(name);
        match (attachment, state.pod(name)) {
            (Some(attachment), Some(pod)) if attachment.uid == pod.uid => own(pod, true),
            (Some(_), _) => Known::Unannounced,
            (None, Some(pod)) => own(pod, false),
            (None, None) => Known::Nothing,
        }
    }

    /// Remembers that the plugin attached a pod. The claims are to be refreshed.
    pub(super) fn attach(&mut self, name: &ObjectName, uid: &str, addresses: &[IpAddr]) {
        let attachment = Attachment {
            uid: uid.into(),
            addresses: addresses.iter().copied().collect(),
        };
        self.attached.insert(name.clone(), attachment);
    }

    /// Forgets an attachment, unless it has other addresses than these: then a
    /// newer sandbox of the pod holds it. Whether it was forgotten.
    pub(super) fn detach(&mut self, name: &ObjectName, addresses: &[IpAddr]) -> bool {
        let addresses: BTreeSet<IpAddr> = addresses.iter().copied().collect();
        let same = |attachment: &Attachment| attachment.addresses == addresses;
        let found = self.attached.get(name).is_some_and(same);
        found && self.attached.remove(name).is_some()
    }

    /// Brings a pod's claims up to date and returns every address that it
    /// claims or claimed.
    pub(super) fn refresh(&mut self, state: &ClusterState, name: &ObjectName) -> BTreeSet<IpAddr> {
        let after = self.claimed_by(state, name);
        let before = self.of_pod.remove(name).unwrap_or_default();
        for address in before.difference(&after) {
            if let Some(names) = self.at_address.get_mut(address) {
                names.remove(name);
                if names.is_empty() {
                    self.at_address.remove(address);
                }
            }
        }
        for address in &after {
            let names = self.at_address.entry(*address).or_default();
            names.insert(name.clone());
        }
        let touched = before.union(&after).copied().collect();
        if !after.is_empty() {
            self.of_pod.insert(name.clone(), after);
        }
        touched
    }

    fn claimed_by(&self, state: &ClusterState, name: &ObjectName) -> BTreeSet<IpAddr> {
        let attached = self.attached.get(name);
        match self.known(state, name) {
            Known::Pod { pod, .. } => attached.map_or_else(
                || pod.addresses.iter().copied().collect(),
                |attachment| attachment.addresses.clone(),
            ),
            Known::Unannounced => attached.map_or_else(BTreeSet::new, |a| a.addresses.clone()),
            Known::Nothing => BTreeSet::new(),
        }
    }

    /// The pods of a namespace that are attached but not announced.
    pub(super) fn unannounced<'a>(
        &'a self,
        state: &'a ClusterState,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a ObjectName> {
        self.attached
            .keys()
            .filter(move |name| &*name.namespace == namespace)
            .filter(|name| matches!(self.known(state, name), Known::Unannounced))
    }

    /// The pods that are attached but not announced.
    pub(super) fn every_unannounced<'a>(
        &'a self,
        state: &'a ClusterState,
    ) -> impl Iterator<Item = &'a ObjectName> {
        self.attached
            .keys()
            .filter(|name| matches!(self.known(state, name), Known::Unannounced))
    }

    /// Every pod that claims an address.
    pub(super) fn claimants(&self, address: IpAddr) -> impl Iterator<Item = &ObjectName> {
        self.at_address.get(&address).into_iter().flatten()
    }

    /// The pod that an address belongs to. An address may be given on before the
    /// old pod's status says so: attached here beats status, and a pod that
    /// stays beats one that is going away.
    pub(super) fn owner(&self, state: &ClusterState, address: IpAddr) -> Option<&ObjectName> {
        self.claimants(address).min_by_key(|name| {
            let going = state.pod(name).is_none_or(|pod| pod.terminating);
            (!self.attached.contains_key(*name), going)
        })
    }

    /// The addresses that a pod claims.
    pub(super) fn claims(&self, name: &ObjectName) -> impl Iterator<Item = IpAddr> {
        self.of_pod.get(name).into_iter().flatten().copied()
    }

    /// Every address that some pod claims.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.at_address.keys().copied()
    }

    /// The addresses that belong to a pod.
    pub(super) fn owned(&self, state: &ClusterState, name: &ObjectName) -> BTreeSet<IpAddr> {
        self.claims(name)
            .filter(|address| self.owner(state, *address) == Some(name))
            .collect()
    }
}

fn own(pod: &Arc<Pod>, attached: bool) -> Known<'_> {
    if pod.owns_addresses() {
        Known::Pod { pod, attached }
    } else {
        Known::Nothing
    }
}
