//! From Services and Pods to EndpointSlices and Endpoints, as the EndpointSlice,
//! Endpoints and mirroring controllers do it.
//!
//! A service with a selector gets slices and an Endpoints object from its pods.
//! One without gets slices that mirror the Endpoints its author wrote, which
//! are never written here.

mod mirror;
mod pack;
mod pods;
mod slices;
mod subsets;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::controllers::Write;
use crate::kinds::{self, Kind};

/// Everything that decides the endpoints of one service.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// The service's namespace.
    pub namespace: &'a str,
    /// The service's name.
    pub name: &'a str,
    /// The service, unless it is gone.
    pub service: Option<&'a Value>,
    /// The pods of the namespace; others than the selected are ignored.
    pub pods: &'a [&'a Value],
    /// Node name to zone (label `topology.kubernetes.io/zone`).
    pub zones: &'a BTreeMap<String, String>,
    /// The namespace's EndpointSlices with the label `kubernetes.io/service-name`
    /// of this service, whoever manages them.
    pub slices: &'a [&'a Value],
    /// The Endpoints of the service's name, if there are any.
    pub endpoints: Option<&'a Value>,
}

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Who manages slices made from pods, and slices made from Endpoints.
const SLICE_CONTROLLER: &str = "endpointslice-controller.k8s.io";
const MIRRORING_CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
/// Marks the Endpoints that are made from pods (KEP-4974).
const ENDPOINTS_MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const ENDPOINTS_CONTROLLER: &str = "endpoint-controller";

/// The writes that are missing; none when everything is as it should be.
#[must_use]
pub fn reconcile(observed: &Observed<'_>) -> Vec<Write> {
    let service: Option<Service> = observed.service.and_then(parse);
    let spec = service.as_ref().and_then(|service| service.spec.as_ref());
    let selector = spec
        .and_then(|spec| spec.selector.as_ref())
        .filter(|s| !s.is_empty());
    let external = spec.is_some_and(|spec| spec.type_.as_deref() == Some("ExternalName"));
    let mut writes = Vec::new();
    match (&service, selector) {
        (Some(service), Some(selector)) if !external => {
            let pods = pods::selected(observed.pods, selector);
            let groups = slices::desired(service, &pods, observed.zones);
            let template = slices::template(service);
            writes.extend(pack::pack(
                &template,
                groups,
                managed(observed, SLICE_CONTROLLER),
            ));
            delete_slices(managed(observed, MIRRORING_CONTROLLER), &mut writes);
            writes.extend(subsets::write(service, &pods, observed.endpoints));
        }
        (Some(service), None) if !external => {
            delete_slices(managed(observed, SLICE_CONTROLLER), &mut writes);
            let existing = managed(observed, MIRRORING_CONTROLLER);
            match observed.endpoints.and_then(parse).filter(mirror::wanted) {
                Some(endpoints) => {
                    let groups = mirror::desired(&endpoints);
                    let template = mirror::template(service, &endpoints);
                    writes.extend(pack::pack(&template, groups, existing));
                }
                None => delete_slices(existing, &mut writes),
            }
        }
        // The service is gone, or its name stands for a DNS name.
        _ => {
            delete_slices(managed(observed, SLICE_CONTROLLER), &mut writes);
            delete_slices(managed(observed, MIRRORING_CONTROLLER), &mut writes);
            writes.extend(subsets::delete(observed.endpoints));
        }
    }
    writes
}

/// The existing slices of one controller, by name.
fn managed(observed: &Observed<'_>, controller: &str) -> Vec<EndpointSlice> {
    let mut slices: Vec<EndpointSlice> = observed
        .slices
        .iter()
        .filter_map(|slice| parse::<EndpointSlice>(slice))
        .filter(|slice| label(slice.metadata.labels.as_ref(), MANAGED_BY) == Some(controller))
        .collect();
    slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    slices
}

fn delete_slices(slices: Vec<EndpointSlice>, writes: &mut Vec<Write>) {
    let names = slices.into_iter().filter_map(|slice| slice.metadata.name);
    writes.extend(names.map(|name| Write::Delete(slice_kind(), name)));
}

fn label<'a>(labels: Option<&'a BTreeMap<String, String>>, key: &str) -> Option<&'a str> {
    labels?.get(key).map(String::as_str)
}

/// Whether clients get the endpoints' own addresses instead of a cluster IP.
fn is_headless(spec: &ServiceSpec) -> bool {
    matches!(spec.cluster_ip.as_deref(), None | Some("" | "None"))
}

/// The labels of the object that slices or Endpoints are made from, without
/// those that say who made them.
fn inherited(labels: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    const OURS: [&str; 4] = [SERVICE_NAME, MANAGED_BY, HEADLESS, ENDPOINTS_MANAGED_BY];
    let mut labels = labels.cloned().unwrap_or_default();
    labels.retain(|key, _| !OURS.contains(&key.as_str()));
    labels
}

/// Stored objects have been decoded once; one that does not decode any more is
/// left out, as if it were not there.
fn parse<T: DeserializeOwned>(object: &Value) -> Option<T> {
    T::deserialize(object).ok()
}

fn encode(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("Kubernetes types have string keys only")
}

fn slice_kind() -> Arc<Kind> {
    Arc::clone(kinds::known("discovery.k8s.io/v1", "EndpointSlice"))
}

fn endpoints_kind() -> Arc<Kind> {
    Arc::clone(kinds::known("v1", "Endpoints"))
}

#[cfg(test)]
mod tests;
