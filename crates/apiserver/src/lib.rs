//! The embedded Kubernetes API server: store, watches, validation, allocation
//! and HTTP for the kinds that a pod network needs.
//!
//! [`ApiServer::open`] reads the data, [`ApiServer::serve`] answers on as many
//! listeners as there are, [`ApiServer::kubeconfig`] lets clients in.

#![forbid(unsafe_code)]

pub mod allocate;
mod apply;
mod clock;
pub mod controllers;
mod defaults;
mod definitions;
pub mod endpoints;
mod error;
mod http;
pub mod kinds;
mod kubeconfig;
pub mod patch;
mod pki;
mod rest;
mod schema;
pub mod selector;
mod server;
mod status;
pub mod store;
mod table;
pub mod validate;
pub mod watch;

pub use error::Error;
pub use pki::User;
pub use server::{ApiServer, KubeletResolver, Settings};
pub use status::{Details, Status};
