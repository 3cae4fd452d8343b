//! From Services and Pods to EndpointSlices and Endpoints, as the EndpointSlice,
//! Endpoints and mirroring controllers do it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kinds::Kind;

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

/// One write that brings the stored objects to what they should be.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A new object, with its name.
    Create(&'static Kind, Value),
    /// The next value of an object, with the resource version it was read at.
    Update(&'static Kind, Value),
    /// The name of an object that has to go.
    Delete(&'static Kind, String),
}

/// The writes that are missing; none when everything is as it should be.
#[must_use]
pub fn reconcile(_observed: &Observed<'_>) -> Vec<Write> {
    Vec::new()
}
