use podway_kernel::{ipset, iptables, ipvs, netns, route, sysctl};

use super::names::DEVICE;

/// Why services are not in force in mode `ipvs`.
#[derive(Debug, thiserror::Error)]
pub enum IpvsError {
    /// Virtual servers could not be read or written.
    #[error("virtual servers could not be read or written")]
    Ipvs(#[from] ipvs::Error),
    /// Sets that rules look up could not be read or written.
    #[error("IP sets could not be read or written")]
    Sets(#[from] ipset::Error),
    /// Rules could not be read or written.
    #[error("rules could not be read or written")]
    Rules(#[from] iptables::Error),
    /// The interface could not be read or written.
    #[error("interface {DEVICE} could not be read or written")]
    Device(#[from] route::Error),
    /// Kernel parameters could not be set.
    #[error("a kernel parameter could not be set")]
    Parameter(#[from] sysctl::Error),
    /// The network namespace could not be entered.
    #[error("the node's network namespace cannot be entered")]
    Namespace(#[from] netns::Error),
    /// There is an interface of this name that is no dummy.
    #[error("interface {DEVICE} is there and no dummy: it is somebody else's; remove or rename it")]
    DeviceTaken,
    /// The interface went while it was used.
    #[error("interface {DEVICE} is gone: somebody else removed it")]
    NoDevice,
    /// A set of this name is there and of another type.
    #[error("IP set {name} is of another type, and in use: remove the rules that name it")]
    SetTaken {
        /// The set.
        name: String,
    },
    /// The kernel does not have the scheduler.
    #[error("the kernel does not have scheduler {name:?}; it has {}", present.join(", "))]
    Scheduler {
        /// The scheduler that was asked for.
        name: String,
        /// Those that there are.
        present: Vec<&'static str>,
    },
}
