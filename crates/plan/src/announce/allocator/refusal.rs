use std::net::IpAddr;

use podway_model::{IpFamily, ObjectName};
use thiserror::Error;

/// Why a Service has no address: the text of its event `AllocationFailed`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It has no cluster address.
    #[error("the Service has no cluster address yet")]
    NoClusterAddress,
    /// It asks for two addresses of a family.
    #[error("two {0} addresses are asked for; there is one for each family")]
    TwoOfFamily(IpFamily),
    /// It asks for an address of a family that it does not have.
    #[error("{address} is asked for, and the Service has only {}", names(.families))]
    Family {
        /// The address.
        address: IpAddr,
        /// Its families.
        families: Vec<IpFamily>,
    },
    /// It requires both families and asks for an address of one.
    #[error("ipFamilyPolicy RequireDualStack needs an address of each family")]
    BothNeeded,
    /// It names a pool that is not there.
    #[error("there is no address pool {0:?}; annotation metallb.io/address-pool names it")]
    NoPool(String),
    /// It asks for an address that no pool has.
    #[error("{0} is in no address pool")]
    InNoPool(IpAddr),
    /// It asks for addresses of two pools.
    #[error("the addresses asked for are in different pools")]
    TwoPools,
    /// It asks for an address and a pool that does not have it.
    #[error("{address} is not in address pool {pool:?}")]
    NotInPool {
        /// The address.
        address: IpAddr,
        /// The pool.
        pool: String,
    },
    /// The pool is for others.
    #[error("address pool {0:?} is not for this Service: see its serviceAllocation")]
    NotForIt(String),
    /// Somebody has it.
    #[error(
        "{address} belongs to {by}; to share it both need the same metallb.io/allow-shared-ip, different ports and the same endpoints"
    )]
    InUse {
        /// The address.
        address: IpAddr,
        /// The Service that has it.
        by: ObjectName,
    },
    /// The pool has nothing left.
    #[error("address pool {0:?} has no address left")]
    PoolExhausted(String),
    /// No pool has anything.
    #[error("no address is left in any pool for this Service (tried: {})", .0.join(", "))]
    Exhausted(Vec<String>),
    /// No pool is for it.
    #[error("there is no address pool for this Service: none assigns automatically")]
    NoneForIt,
}

fn names(families: &[IpFamily]) -> String {
    let names: Vec<String> = families.iter().map(ToString::to_string).collect();
    names.join(" and ")
}
