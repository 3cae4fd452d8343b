//! What Kubernetes fills in: defaults of fields left out, what a new object
//! starts with, and what an update carries over from the object it replaces.

pub(crate) mod endpoints;
pub(crate) mod network_policy;
pub(crate) mod pod;
pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod workload;

use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus, Node};

const TCP: &str = "TCP";

/// Sets what is absent.
fn absent(field: &mut Option<String>, value: &str) {
    field.get_or_insert_with(|| value.to_owned());
}

pub(crate) fn namespace(namespace: &mut Namespace) {
    if let Some(name) = namespace.metadata.name.clone() {
        let labels = namespace.metadata.labels.get_or_insert_default();
        labels.insert("kubernetes.io/metadata.name".to_owned(), name);
    }
}

/// A namespace starts active, and goes only when its content is gone.
pub(crate) fn new_namespace(namespace: &mut Namespace) {
    const FINALIZER: &str = "kubernetes";
    namespace.status = Some(NamespaceStatus {
        phase: Some("Active".to_owned()),
        conditions: None,
    });
    let finalizers = namespace
        .spec
        .get_or_insert_default()
        .finalizers
        .get_or_insert_default();
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
}

/// `podCIDR` is the first of `podCIDRs`; old clients know only the one, new
/// ones may give only the list.
pub(crate) fn node(node: &mut Node) {
    let Some(spec) = &mut node.spec else { return };
    match (&spec.pod_cidr, spec.pod_cidrs.as_deref()) {
        (Some(one), None | Some([])) => spec.pod_cidrs = Some(vec![one.clone()]),
        (None, Some([first, ..])) => spec.pod_cidr = Some(first.clone()),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
