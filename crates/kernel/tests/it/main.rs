//! The kernel crate against the real kernel, as root, each test in network
//! namespaces of its own.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says why by panicking"
)]

mod conntrack;
mod ipset;
mod iptables;
mod ipvs;
mod netns;
mod nft;
mod route;
mod typed_sets;

use podway_kernel::netns::NetNs;

/// A network namespace of the test's own.
///
/// # Panics
/// Without root: a test that could not run must not be green.
fn namespace() -> NetNs {
    NetNs::anonymous().expect("tests of the kernel crate need root (CAP_SYS_ADMIN)")
}
