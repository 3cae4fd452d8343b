//! Decisions: cluster state in, tables out. Every Kubernetes rule is resolved
//! here, so that a table holds verdicts and a backend holds no rule.
//!
//! Nothing here does I/O or reads a clock: values in, values out.

#![forbid(unsafe_code)]

pub mod announce;
pub mod explain;
pub mod node_prefixes;
pub mod overlay;
pub mod policy;
pub mod service;
