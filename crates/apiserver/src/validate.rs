//! Validation with Kubernetes' own field errors. One module a kind; the texts
//! are those that its clients and their users know.

pub(crate) mod address;
pub(crate) mod config_map;
pub(crate) mod endpoints;
mod error;
pub(crate) mod event;
pub(crate) mod ingress;
pub(crate) mod lease;
pub(crate) mod metadata;
pub(crate) mod names;
pub(crate) mod network_policy;
pub(crate) mod node;
pub(crate) mod pod;
pub(crate) mod port;
pub(crate) mod secret;
pub(crate) mod selector;
pub(crate) mod service;
pub(crate) mod workload;

pub(crate) use error::Path;
pub use error::{Cause, ErrorType, FieldError, FieldErrors, Invalid};
pub use names::NameRule;

#[cfg(test)]
mod tests;
