use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use crate::{
    ClusterNetworkPolicy, EndpointSlice, Namespace, NetworkPolicy, Node, ObjectName, Pod, Service,
    SortedSet,
};

/// The kinds of object that a node's network is planned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// Namespace.
    Namespace,
    /// Node.
    Node,
    /// Pod.
    Pod,
    /// Service.
    Service,
    /// EndpointSlice.
    EndpointSlice,
    /// NetworkPolicy.
    NetworkPolicy,
    /// ClusterNetworkPolicy, which a cluster may not have.
    ClusterNetworkPolicy,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::Service,
        Self::EndpointSlice,
        Self::NetworkPolicy,
        Self::ClusterNetworkPolicy,
    ];
}

/// An object of any kind, shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A Namespace.
    Namespace(Arc<Namespace>),
    /// A Node.
    Node(Arc<Node>),
    /// A Pod.
    Pod(Arc<Pod>),
    /// A Service.
    Service(Arc<Service>),
    /// An EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// A NetworkPolicy.
    NetworkPolicy(Arc<NetworkPolicy>),
    /// A ClusterNetworkPolicy.
    ClusterNetworkPolicy(Arc<ClusterNetworkPolicy>),
}

/// What names an object: its kind and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectRef {
    /// A Namespace.
    Namespace(Arc<str>),
    /// A Node.
    Node(Arc<str>),
    /// A Pod.
    Pod(ObjectName),
    /// A Service.
    Service(ObjectName),
    /// An EndpointSlice.
    EndpointSlice(ObjectName),
    /// A NetworkPolicy.
    NetworkPolicy(ObjectName),
    /// A ClusterNetworkPolicy.
    ClusterNetworkPolicy(Arc<str>),
}

impl Object {
    /// The object's kind.
    #[must_use]
    pub const fn kind(&self) -> ObjectKind {
        match self {
            Self::Namespace(_) => ObjectKind::Namespace,
            Self::Node(_) => ObjectKind::Node,
            Self::Pod(_) => ObjectKind::Pod,
            Self::Service(_) => ObjectKind::Service,
            Self::EndpointSlice(_) => ObjectKind::EndpointSlice,
            Self::NetworkPolicy(_) => ObjectKind::NetworkPolicy,
            Self::ClusterNetworkPolicy(_) => ObjectKind::ClusterNetworkPolicy,
        }
    }

    /// What names the object.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        match self {
            Self::Namespace(o) => ObjectRef::Namespace(o.name.clone()),
            Self::Node(o) => ObjectRef::Node(o.name.clone()),
            Self::Pod(o) => ObjectRef::Pod(o.name.clone()),
            Self::Service(o) => ObjectRef::Service(o.name.clone()),
            Self::EndpointSlice(o) => ObjectRef::EndpointSlice(o.name.clone()),
            Self::NetworkPolicy(o) => ObjectRef::NetworkPolicy(o.name.clone()),
            Self::ClusterNetworkPolicy(o) => ObjectRef::ClusterNetworkPolicy(o.name.clone()),
        }
    }

    /// The object's `resourceVersion` as a number.
    #[must_use]
    pub fn revision(&self) -> u64 {
        match self {
            Self::Namespace(o) => o.revision,
            Self::Node(o) => o.revision,
            Self::Pod(o) => o.revision,
            Self::Service(o) => o.revision,
            Self::EndpointSlice(o) => o.revision,
            Self::NetworkPolicy(o) => o.revision,
            Self::ClusterNetworkPolicy(o) => o.revision,
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(name) => write!(f, "Namespace {name}"),
            Self::Node(name) => write!(f, "Node {name}"),
            Self::Pod(name) => write!(f, "Pod {name}"),
            Self::Service(name) => write!(f, "Service {name}"),
            Self::EndpointSlice(name) => write!(f, "EndpointSlice {name}"),
            Self::NetworkPolicy(name) => write!(f, "NetworkPolicy {name}"),
            Self::ClusterNetworkPolicy(name) => write!(f, "ClusterNetworkPolicy {name}"),
        }
    }
}

/// What a watch says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The object is new or has changed.
    Upsert(Object),
    /// The object is gone.
    Delete(ObjectRef),
    /// A complete list of one kind: what is not in it is gone.
    Replace(ObjectKind, Vec<Object>),
    /// A kind is known up to this revision, which no object has: what had it is
    /// gone, or not for us.
    Seen(ObjectKind, u64),
}

/// One object's transition, as `ClusterState::apply` found it. Never both `None`,
/// never equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The object before.
    pub before: Option<Object>,
    /// The object after.
    pub after: Option<Object>,
}

/// Everything that a node's network is planned from, with the indexes that keep
/// planning proportional to the change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterState {
    namespaces: BTreeMap<Arc<str>, Arc<Namespace>>,
    nodes: BTreeMap<Arc<str>, Arc<Node>>,
    pods: BTreeMap<ObjectName, Arc<Pod>>,
    services: BTreeMap<ObjectName, Arc<Service>>,
    slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    policies: BTreeMap<ObjectName, Arc<NetworkPolicy>>,
    cluster_policies: BTreeMap<Arc<str>, Arc<ClusterNetworkPolicy>>,
    slices_of_service: BTreeMap<ObjectName, SortedSet<ObjectName>>,
    pods_at_address: BTreeMap<IpAddr, SortedSet<ObjectName>>,
    /// By kind, in the order of [`ObjectKind::ALL`].
    revisions: [u64; ObjectKind::ALL.len()],
}

impl ClusterState {
    /// Takes in a change and returns what it changed, object by object. A repeat
    /// of what is known changes nothing and returns nothing.
    pub fn apply(&mut self, change: Change) -> Vec<Update> {
        match change {
            Change::Upsert(object) => self.upsert(object).into_iter().collect(),
            Change::Delete(reference) => self.delete(&reference).into_iter().collect(),
            Change::Replace(kind, objects) => self.replace(kind, objects),
            Change::Seen(kind, revision) => {
                self.see(kind, revision);
                Vec::new()
            }
        }
    }

    fn see(&mut self, kind: ObjectKind, revision: u64) {
        let seen = &mut self.revisions[kind as usize];
        *seen = revision.max(*seen);
    }

    /// The highest `resourceVersion` of any kind seen so far.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revisions.into_iter().max().unwrap_or(0)
    }

    /// The highest `resourceVersion` of a kind seen so far, of objects that are
    /// gone included. Each
    /// kind has a watch of its own, so that only this says that an older object
    /// of the same kind has been seen.
    #[must_use]
    pub const fn revision_of(&self, kind: ObjectKind) -> u64 {
        self.revisions[kind as usize]
    }

    /// The Namespace of this name.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Arc<Namespace>> {
        self.namespaces.get(name)
    }

    /// Every Namespace, by name.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.namespaces.values()
    }

    /// The Node of this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(name)
    }

    /// Every Node, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// The Pod of this name.
    #[must_use]
    pub fn pod(&self, name: &ObjectName) -> Option<&Arc<Pod>> {
        self.pods.get(name)
    }

    /// Every Pod, by name.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values()
    }

    /// Every Pod of a namespace, by name.
    pub fn pods_in(&self, namespace: &str) -> impl Iterator<Item = &Arc<Pod>> {
        let from = ObjectName::new(namespace, "");
        let namespace = from.namespace.clone();
        self.pods
            .range((Bound::Included(from), Bound::Unbounded))
            .take_while(move |(name, _)| name.namespace == namespace)
            .map(|(_, pod)| pod)
    }

    /// The Pod that owns an address: not finished, with a network of its own.
    /// Where two claim it (an address given on before the old pod's status
    /// says so), the one that is not going away.
    #[must_use]
    pub fn pod_at(&self, address: IpAddr) -> Option<&Arc<Pod>> {
        self.pods_at_address
            .get(&address)?
            .iter()
            .filter_map(|name| self.pods.get(name))
            .min_by_key(|pod| pod.terminating)
    }

    /// The Node that has an address.
    #[must_use]
    pub fn node_at(&self, address: IpAddr) -> Option<&Arc<Node>> {
        self.nodes
            .values()
            .find(|node| node.addresses.contains(&address))
    }

    /// The Service of this name.
    #[must_use]
    pub fn service(&self, name: &ObjectName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// Every Service of a namespace, by name.
    pub fn services_in(&self, namespace: &str) -> impl Iterator<Item = &Arc<Service>> {
        let from = ObjectName::new(namespace, "");
        let namespace = from.namespace.clone();
        self.services
            .range((Bound::Included(from), Bound::Unbounded))
            .take_while(move |(name, _)| name.namespace == namespace)
            .map(|(_, service)| service)
    }

    /// Every Service, by name.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// The EndpointSlices of a Service, by name.
    pub fn slices_of(&self, service: &ObjectName) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.slices_of_service
            .get(service)
            .into_iter()
            .flatten()
            .filter_map(|name| self.slices.get(name))
    }

    /// Every EndpointSlice, by name.
    pub fn slices(&self) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.slices.values()
    }

    /// The NetworkPolicy of this name.
    #[must_use]
    pub fn policy(&self, name: &ObjectName) -> Option<&Arc<NetworkPolicy>> {
        self.policies.get(name)
    }

    /// Every NetworkPolicy, by name.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<NetworkPolicy>> {
        self.policies.values()
    }

    /// The ClusterNetworkPolicy of this name.
    #[must_use]
    pub fn cluster_policy(&self, name: &str) -> Option<&Arc<ClusterNetworkPolicy>> {
        self.cluster_policies.get(name)
    }

    /// Every ClusterNetworkPolicy, by name.
    pub fn cluster_policies(&self) -> impl Iterator<Item = &Arc<ClusterNetworkPolicy>> {
        self.cluster_policies.values()
    }

    /// Every NetworkPolicy of a namespace, by name.
    pub fn policies_in(&self, namespace: &str) -> impl Iterator<Item = &Arc<NetworkPolicy>> {
        let from = ObjectName::new(namespace, "");
        let namespace = from.namespace.clone();
        self.policies
            .range((Bound::Included(from), Bound::Unbounded))
            .take_while(move |(name, _)| name.namespace == namespace)
            .map(|(_, policy)| policy)
    }

    fn replace(&mut self, kind: ObjectKind, objects: Vec<Object>) -> Vec<Update> {
        let mut gone: BTreeSet<ObjectRef> = self.references(kind).into_iter().collect();
        let mut updates = Vec::new();
        for object in objects.into_iter().filter(|object| object.kind() == kind) {
            gone.remove(&object.reference());
            updates.extend(self.upsert(object));
        }
        updates.extend(gone.iter().filter_map(|reference| self.delete(reference)));
        updates
    }

    fn references(&self, kind: ObjectKind) -> Vec<ObjectRef> {
        match kind {
            ObjectKind::Namespace => names(&self.namespaces, ObjectRef::Namespace),
            ObjectKind::Node => names(&self.nodes, ObjectRef::Node),
            ObjectKind::Pod => names(&self.pods, ObjectRef::Pod),
            ObjectKind::Service => names(&self.services, ObjectRef::Service),
            ObjectKind::EndpointSlice => names(&self.slices, ObjectRef::EndpointSlice),
            ObjectKind::NetworkPolicy => names(&self.policies, ObjectRef::NetworkPolicy),
            ObjectKind::ClusterNetworkPolicy => {
                names(&self.cluster_policies, ObjectRef::ClusterNetworkPolicy)
            }
        }
    }

    fn upsert(&mut self, object: Object) -> Option<Update> {
        self.see(object.kind(), object.revision());
        let before = match object.clone() {
            Object::Namespace(o) => self
                .namespaces
                .insert(o.name.clone(), o)
                .map(Object::Namespace),
            Object::Node(o) => self.nodes.insert(o.name.clone(), o).map(Object::Node),
            Object::Pod(o) => self.pods.insert(o.name.clone(), o).map(Object::Pod),
            Object::Service(o) => self.services.insert(o.name.clone(), o).map(Object::Service),
            Object::EndpointSlice(o) => self
                .slices
                .insert(o.name.clone(), o)
                .map(Object::EndpointSlice),
            Object::NetworkPolicy(o) => self
                .policies
                .insert(o.name.clone(), o)
                .map(Object::NetworkPolicy),
            Object::ClusterNetworkPolicy(o) => self
                .cluster_policies
                .insert(o.name.clone(), o)
                .map(Object::ClusterNetworkPolicy),
        };
        if before.as_ref() == Some(&object) {
            return None;
        }
        if let Some(before) = &before {
            self.unindex(before);
        }
        self.index(&object);
        Some(Update {
            before,
            after: Some(object),
        })
    }

    fn delete(&mut self, reference: &ObjectRef) -> Option<Update> {
        let before = match reference {
            ObjectRef::Namespace(name) => self.namespaces.remove(name).map(Object::Namespace),
            ObjectRef::Node(name) => self.nodes.remove(name).map(Object::Node),
            ObjectRef::Pod(name) => self.pods.remove(name).map(Object::Pod),
            ObjectRef::Service(name) => self.services.remove(name).map(Object::Service),
            ObjectRef::EndpointSlice(name) => self.slices.remove(name).map(Object::EndpointSlice),
            ObjectRef::NetworkPolicy(name) => self.policies.remove(name).map(Object::NetworkPolicy),
            ObjectRef::ClusterNetworkPolicy(name) => self
                .cluster_policies
                .remove(name)
                .map(Object::ClusterNetworkPolicy),
        }?;
        self.unindex(&before);
        Some(Update {
            before: Some(before),
            after: None,
        })
    }

    fn index(&mut self, object: &Object) {
        match object {
            Object::EndpointSlice(slice) => {
                self.slices_of_service
                    .entry(slice.service.clone())
                    .or_default()
                    .insert(slice.name.clone());
            }
            Object::Pod(pod) if pod.owns_addresses() => {
                for address in &pod.addresses {
                    self.pods_at_address
                        .entry(*address)
                        .or_default()
                        .insert(pod.name.clone());
                }
            }
            _ => {}
        }
    }

    fn unindex(&mut self, object: &Object) {
        match object {
            Object::EndpointSlice(slice) => {
                unindex(&mut self.slices_of_service, &slice.service, &slice.name);
            }
            Object::Pod(pod) => {
                for address in &pod.addresses {
                    unindex(&mut self.pods_at_address, address, &pod.name);
                }
            }
            _ => {}
        }
    }
}

fn names<K: Clone, V>(objects: &BTreeMap<K, V>, reference: fn(K) -> ObjectRef) -> Vec<ObjectRef> {
    objects.keys().cloned().map(reference).collect()
}

fn unindex<K: Ord>(index: &mut BTreeMap<K, SortedSet<ObjectName>>, key: &K, name: &ObjectName) {
    if let Some(names) = index.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
