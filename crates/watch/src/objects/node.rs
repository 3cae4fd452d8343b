use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as api;
use podway_model::{Labels, Namespace, Node, Object, ObjectRef};

use super::address::{parse_address, parse_prefix};
use super::{Faults, Readable, Reading, cluster_name_of, revision_of};

/// Every namespace has this label; the API server sets it (KEP-2161).
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Taint of a node that the cluster autoscaler is about to delete (KEP-3836).
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// The annotations that nodes tell each other by; the rest of a Node's
/// annotations change often and mean nothing here.
const ANNOTATION_PREFIXES: [&str; 2] = ["flannel.alpha.coreos.com/", "podway.dev/"];

impl Readable for api::Namespace {
    fn reference(&self) -> ObjectRef {
        ObjectRef::Namespace(cluster_name_of(&self.metadata))
    }

    fn read(&self) -> Reading {
        let name = cluster_name_of(&self.metadata);
        let mut labels = self.metadata.labels.clone().unwrap_or_default();
        labels.insert(NAMESPACE_NAME.to_owned(), name.to_string());
        let namespace = Namespace {
            name,
            revision: revision_of(&self.metadata),
            labels,
        };
        Faults::of(self.reference()).reading(Some(Object::Namespace(Arc::new(namespace))))
    }
}

impl Readable for api::Node {
    fn reference(&self) -> ObjectRef {
        ObjectRef::Node(cluster_name_of(&self.metadata))
    }

    fn read(&self) -> Reading {
        let mut faults = Faults::of(self.reference());
        let metadata = &self.metadata;
        let node = Node {
            name: cluster_name_of(metadata),
            revision: revision_of(metadata),
            labels: metadata.labels.clone().unwrap_or_default(),
            annotations: annotations(metadata.annotations.as_ref()),
            addresses: addresses(self, &mut faults),
            pod_prefixes: pod_prefixes(self, &mut faults),
            ready: condition(self, "Ready") == Some(true),
            network_unavailable: condition(self, "NetworkUnavailable"),
            leaving: is_leaving(self),
        };
        faults.reading(Some(Object::Node(Arc::new(node))))
    }
}

/// Whether a condition is True, where it is told at all.
fn condition(raw: &api::Node, name: &str) -> Option<bool> {
    let conditions = raw.status.as_ref()?.conditions.as_ref()?;
    let told = conditions.iter().find(|told| told.type_ == name)?;
    Some(told.status == "True")
}

fn is_leaving(raw: &api::Node) -> bool {
    let taints = raw.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    raw.metadata.deletion_timestamp.is_some()
        || taints
            .into_iter()
            .flatten()
            .any(|taint| taint.key == TO_BE_DELETED)
}

fn annotations(all: Option<&Labels>) -> Labels {
    all.into_iter()
        .flatten()
        .filter(|(key, _)| {
            ANNOTATION_PREFIXES
                .iter()
                .any(|prefix| key.starts_with(prefix))
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn addresses(raw: &api::Node, faults: &mut Faults) -> Vec<IpAddr> {
    let listed = raw.status.as_ref().and_then(|s| s.addresses.as_ref());
    let listed: Vec<_> = listed.into_iter().flatten().enumerate().collect();
    let mut addresses = Vec::new();
    for wanted in ["InternalIP", "ExternalIP"] {
        for (i, entry) in listed.iter().filter(|(_, entry)| entry.type_ == wanted) {
            let field = format!("status.addresses[{i}].address");
            addresses.extend(faults.keep(&field, parse_address(&entry.address)));
        }
    }
    addresses
}

/// `podCIDRs`, or `podCIDR` in objects from before dual stack.
fn pod_prefixes(raw: &api::Node, faults: &mut Faults) -> Vec<IpNet> {
    let Some(spec) = &raw.spec else {
        return Vec::new();
    };
    let listed = spec.pod_cidrs.as_deref().unwrap_or_default();
    let (field, texts): (_, Vec<&String>) = if listed.is_empty() {
        ("spec.podCIDR", spec.pod_cidr.iter().collect())
    } else {
        ("spec.podCIDRs", listed.iter().collect())
    };
    let mut prefixes: Vec<IpNet> = Vec::new();
    for text in texts.into_iter().filter(|text| !text.is_empty()) {
        let Some(prefix) = faults.keep(field, parse_prefix(text)) else {
            continue;
        };
        let second = |known: &IpNet| known.addr().is_ipv4() == prefix.addr().is_ipv4();
        if prefixes.iter().any(second) {
            faults.add(
                field,
                format!("{prefix} is the second prefix of its family"),
            );
        } else {
            prefixes.push(prefix);
        }
    }
    prefixes
}
