//! From Kubernetes' API types to the model's words.
//!
//! Objects are read as leniently as kube-proxy reads them (addresses with
//! leading zeros, source ranges with white space, absent conditions), because
//! objects older than today's validation exist. What cannot be understood is
//! left out and named in a [`Fault`]; what would *open* something by being left
//! out stays in as a peer or a service that matches nothing.

mod address;
pub mod cluster_network_policy;
mod endpoint_slice;
mod network_policy;
mod node;
mod pod;
mod selector;
mod service;

use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use podway_model::{MODE, Object, ObjectName, ObjectRef, Protocol, WEIGHT};

/// What is wrong with one field of one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{object}: {field}: {reason}")]
pub struct Fault {
    /// The object.
    pub object: ObjectRef,
    /// The field, as in `spec.ports[0].nodePort`.
    pub field: String,
    /// What is wrong and what is expected.
    pub reason: String,
}

/// What an API object means to a node's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What names the object.
    pub reference: ObjectRef,
    /// The object; `None` where it is broken, or not for us (the labels by which
    /// kube-proxy leaves Services and EndpointSlices to somebody else).
    pub object: Option<Object>,
    /// What in it was not understood.
    pub faults: Vec<Fault>,
}

/// A Kubernetes type that a node's network is planned from.
pub trait Readable {
    /// What names the object.
    fn reference(&self) -> ObjectRef;

    /// Reads it into the model's words.
    fn read(&self) -> Reading;
}

/// A collector of faults that knows the object.
struct Faults {
    object: ObjectRef,
    faults: Vec<Fault>,
}

impl Faults {
    fn of(object: ObjectRef) -> Self {
        Self {
            object,
            faults: Vec::new(),
        }
    }

    fn add(&mut self, field: impl Into<String>, reason: impl fmt::Display) {
        self.faults.push(Fault {
            object: self.object.clone(),
            field: field.into(),
            reason: reason.to_string(),
        });
    }

    /// Keeps what is right and notes what is not.
    fn keep<T, E: fmt::Display>(&mut self, field: &str, outcome: Result<T, E>) -> Option<T> {
        outcome.map_err(|reason| self.add(field, reason)).ok()
    }

    /// A port number, 1-65535.
    fn port(&mut self, field: &str, number: i32) -> Option<u16> {
        let port = u16::try_from(number).ok().filter(|port| *port != 0);
        if port.is_none() {
            self.add(field, format!("{number} is not a port: expected 1-65535"));
        }
        port
    }

    /// A protocol; TCP where there is none.
    fn protocol(&mut self, field: &str, name: Option<&str>) -> Option<Protocol> {
        let name = name.unwrap_or("TCP");
        let protocol = Protocol::parse(name);
        if protocol.is_none() {
            self.add(
                field,
                format!("{name:?} is not a protocol: expected TCP, UDP or SCTP"),
            );
        }
        protocol
    }

    /// Annotation [`WEIGHT`]. One that is no weight is none.
    fn weight(&mut self, metadata: &ObjectMeta) -> Option<u8> {
        let text = metadata.annotations.as_ref()?.get(WEIGHT)?;
        let weight = text.parse().ok().filter(|weight| *weight <= 100);
        if weight.is_none() {
            let field = format!("metadata.annotations[{WEIGHT}]");
            self.add(field, format!("{text:?} is not a weight: expected 0-100"));
        }
        weight
    }

    fn reading(self, object: Option<Object>) -> Reading {
        Reading {
            reference: self.object,
            object,
            faults: self.faults,
        }
    }
}

/// The namespaced name; `default` where the object names no namespace, as
/// kubectl assumes for a file.
fn name_of(metadata: &ObjectMeta) -> ObjectName {
    ObjectName::new(
        metadata.namespace.as_deref().unwrap_or("default"),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

fn cluster_name_of(metadata: &ObjectMeta) -> Arc<str> {
    metadata.name.as_deref().unwrap_or_default().into()
}

fn revision_of(metadata: &ObjectMeta) -> u64 {
    metadata
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or(0)
}

fn generation_of(metadata: &ObjectMeta) -> u64 {
    metadata
        .generation
        .and_then(|generation| generation.try_into().ok())
        .unwrap_or(0)
}

/// Whether annotation [`MODE`] says that a policy only reports. Any other value
/// is a fault, and the policy is enforced.
fn is_audit(metadata: &ObjectMeta, faults: &mut Faults) -> bool {
    const AUDIT: &str = "audit";
    let annotations = metadata.annotations.as_ref();
    match annotations.and_then(|annotations| annotations.get(MODE)) {
        None => false,
        Some(mode) if mode == AUDIT => true,
        Some(other) => {
            let field = format!("metadata.annotations[{MODE}]");
            faults.add(field, format!("{other:?} is not a mode: expected {AUDIT}"));
            false
        }
    }
}

fn has_label(metadata: &ObjectMeta, key: &str) -> bool {
    metadata
        .labels
        .as_ref()
        .is_some_and(|labels| labels.contains_key(key))
}

#[cfg(test)]
mod tests;
