//! The protocols that load balancer addresses are told with, without I/O.
//!
//! Each protocol is a value. Frames, datagrams and bytes go in together with
//! the time; what is to be sent and the next deadline come out. Nothing here
//! opens a socket or reads a clock, so that every run can be repeated, and a
//! thousand partitions of a cluster take seconds.
//!
//! * [`layer2`]: ARP and NDP, answered for announced addresses only.
//! * [`mesh`]: which node holds an address: failure detection and leases.
//! * [`bgp`]: a speaker that announces prefixes and learns none.
//! * [`bfd`]: whether the way to a neighbour is alive.

#![forbid(unsafe_code)]

pub mod bfd;
pub mod bgp;
pub mod layer2;
pub mod mesh;
mod moment;
mod reader;

pub use moment::Moment;
