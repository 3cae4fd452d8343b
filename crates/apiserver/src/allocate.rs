//! Cluster IPs and node ports of Services.
//!
//! Allocation is planned before a write and committed after it: a write that
//! fails in between, or a dry run, leaves nothing claimed.

use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde_json::Value;
use thiserror::Error;

use crate::validate::Invalid;

/// What may be given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    /// The service prefixes, one or one of each family. The first one's family
    /// is that of single-stack services which do not say.
    pub services: Vec<IpNet>,
    /// Ports of `NodePort` and `LoadBalancer` services.
    pub node_ports: RangeInclusive<u16>,
}

/// Ranges that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RangesError {
    /// Neither one prefix nor two of different families.
    #[error("service prefixes must be one, or one of each IP family, not {0:?}")]
    Families(Vec<IpNet>),
    /// A prefix without room for a single service.
    #[error("service prefix {0} is too small: a /30 (IPv4) or /126 (IPv6) is the least")]
    TooSmall(IpNet),
    /// No port at all, or port 0.
    #[error("node port range {}-{} is empty or begins with 0", .0.start(), .0.end())]
    Ports(RangeInclusive<u16>),
}

/// Why a service got nothing.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum AllocateError {
    /// What the service asks for cannot be had: 422.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Nothing is left: 500 `InternalError`.
    #[error("Internal error occurred: {0}")]
    Exhausted(String),
}

/// What a write would claim and release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a claim that is not committed has no effect"]
pub struct Claim {}

/// Who holds what.
#[derive(Debug, Clone)]
pub struct Allocator {
    ranges: Ranges,
}

impl Allocator {
    /// An allocator with everything free but the first address of each prefix,
    /// which is `default/kubernetes`'s.
    ///
    /// # Errors
    /// Ranges that cannot be used.
    pub fn new(ranges: Ranges) -> Result<Self, RangesError> {
        Ok(Self { ranges })
    }

    /// The ranges.
    #[must_use]
    pub fn ranges(&self) -> &Ranges {
        &self.ranges
    }

    /// Forgets everything and claims what these services hold. Returns what two
    /// of them hold at once, or what is outside the ranges, as sentences: such
    /// services stay as they are.
    pub fn rebuild<'a>(&mut self, services: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
        let _ = services.into_iter().count();
        Vec::new()
    }

    /// Fills in what a new, admitted service still needs.
    ///
    /// # Errors
    /// See [`AllocateError`]; the service may then be half filled in.
    pub fn plan_create(&self, _service: &mut Value) -> Result<Claim, AllocateError> {
        Ok(Claim {})
    }

    /// Fills in what the next value of a service needs.
    ///
    /// # Errors
    /// See [`AllocateError`]; the service may then be half filled in.
    pub fn plan_update(&self, _service: &mut Value, _old: &Value) -> Result<Claim, AllocateError> {
        Ok(Claim {})
    }

    /// What the end of a service gives back.
    pub fn plan_delete(&self, _service: &Value) -> Claim {
        Claim {}
    }

    /// Makes a planned claim true. Nothing else may have been committed since
    /// it was planned.
    pub fn commit(&mut self, claim: Claim) {
        drop(claim);
    }
}
