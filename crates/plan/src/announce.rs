//! Load balancer addresses: where they come from and who tells them to whom.
//!
//! Configuration is `MetalLB`'s, both generations, and so are the rules; where it
//! leaves something to chance (the order of pools) here it is the order of
//! names.

mod allocator;
mod config;
mod elect;
mod plan;
mod range;

pub use allocator::{
    Allocation, Allocator, DualStack, PoolUse, PortUse, Refusal, Request, Sharing,
};
pub use config::{
    AddressPool, BfdProfile, BgpAdvertisement, BgpPeer, Config, ConfigError, ConfigProblem, GROUP,
    Layer2Advertisement, Objects, Password, PeerAs, PeerEnd, PoolChoice, Preference, RESOURCES,
    Resource, ServiceAllocation, Sources, objects, parse_config_map,
};
pub use elect::{Candidate, rank};
pub use plan::{
    AnnouncedService, Announcements, BgpRoute, Layer2Address, Protocol, Silence, Speaker,
    plan_announcements,
};
pub use range::{AddressRange, RangeError};

#[cfg(test)]
mod tests;
