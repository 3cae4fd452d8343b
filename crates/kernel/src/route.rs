//! Links, addresses, routes, neighbours, bridge forwarding entries, rules and
//! limits, over a blocking rtnetlink socket.
//!
//! A socket belongs to the network namespace of the thread that opened it, for
//! as long as it lives: it can be used from any thread afterwards.

mod address;
mod error;
mod link;
mod monitor;
mod neighbour;
mod routes;
mod rule;
mod shaping;
mod socket;

pub use address::Address;
pub use error::{Error, ErrorKind, Result};
pub use link::{
    BridgePort, Link, LinkChange, LinkDetail, LinkIndex, Mac, MacError, NewLink, VethPeer, Vxlan,
    check_interface_name,
};
pub use monitor::{Group, Monitor, Notification};
pub use neighbour::{FdbEntry, Neighbour};
pub use routes::{MAIN_TABLE, Route, RouteFilter, RouteKind, Scope};
pub use rule::Rule;
pub use shaping::Bucket;
pub use socket::Rtnetlink;
