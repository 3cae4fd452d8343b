//! Effects: netlink, nftables, namespaces, sysctls. The only crate with unsafe.

#![allow(unsafe_code, reason = "system calls; every block says why it is sound")]

pub mod clock;
pub mod conntrack;
pub mod file_watch;
pub mod genetlink;
pub mod ipset;
pub mod iptables;
pub mod ipvs;
pub mod netlink;
pub mod netns;
pub mod nflog;
pub mod nft;
pub mod packet;
pub mod pidfd;
pub mod route;
pub mod socket;
pub mod spawn;
pub mod sysctl;
pub mod terminal;
pub mod thread;
pub mod tun;
