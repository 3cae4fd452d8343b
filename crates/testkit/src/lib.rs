//! Test support: builders, packet tracers, namespace topologies.

#![forbid(unsafe_code)]

pub mod builders;
pub mod flows;
pub mod iptables_trace;
pub mod nft_trace;
pub mod policy_scenario;
pub mod scenario;
