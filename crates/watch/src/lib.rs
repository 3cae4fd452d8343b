//! List and watch Kubernetes objects into the cluster's state, and read them
//! from files: the only client of Kubernetes' own types beside the API server.

#![forbid(unsafe_code)]

pub mod address_config;
pub mod client;
pub mod manifest;
pub mod objects;
pub mod yaml;
