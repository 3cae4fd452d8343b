use k8s_openapi::api::{
    core::v1 as core, discovery::v1 as discovery, networking::v1 as networking,
};
use serde::de::DeserializeOwned;

use crate::objects::cluster_network_policy::api::ClusterNetworkPolicy;
use crate::objects::{Readable, Reading};
use crate::yaml::{Node, Problem, decode};

/// A kind of object that files may hold.
pub(super) struct Kind {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    /// Decodes an object strictly and, where a node's network is planned from
    /// the kind, reads it.
    pub(super) read: fn(&Node) -> (Option<Reading>, Vec<Problem>),
}

/// Every kind: those that the embedded API server stores, and a custom resource.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        api_version: "v1",
        kind: "Namespace",
        read: read::<core::Namespace>,
    },
    Kind {
        api_version: "v1",
        kind: "Node",
        read: read::<core::Node>,
    },
    Kind {
        api_version: "v1",
        kind: "Pod",
        read: read::<core::Pod>,
    },
    Kind {
        api_version: "v1",
        kind: "Service",
        read: read::<core::Service>,
    },
    Kind {
        api_version: "v1",
        kind: "Endpoints",
        read: check::<core::Endpoints>,
    },
    Kind {
        api_version: "v1",
        kind: "ConfigMap",
        read: check::<core::ConfigMap>,
    },
    Kind {
        api_version: "v1",
        kind: "Event",
        read: check::<core::Event>,
    },
    Kind {
        api_version: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        read: read::<discovery::EndpointSlice>,
    },
    Kind {
        api_version: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        read: read::<networking::NetworkPolicy>,
    },
    Kind {
        api_version: "policy.networking.k8s.io/v1alpha2",
        kind: "ClusterNetworkPolicy",
        read: read::<ClusterNetworkPolicy>,
    },
];

fn read<K: Readable + DeserializeOwned>(node: &Node) -> (Option<Reading>, Vec<Problem>) {
    let (object, problems) = decode::<K>(node);
    (object.map(|object| object.read()), problems)
}

fn check<K: DeserializeOwned>(node: &Node) -> (Option<Reading>, Vec<Problem>) {
    (None, decode::<K>(node).1)
}
