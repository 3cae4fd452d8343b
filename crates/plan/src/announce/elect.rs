use std::net::IpAddr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// A node that may announce an address, and its place among those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: Arc<str>,
    /// The lowest comes first; the same number on every node that computes it.
    pub rank: u128,
}

/// A node's place: the sum of its preferences, the more the better, then the
/// bytes of SHA-256 of `node#address`. That is `MetalLB`'s rule, so that an
/// address stays where it is when a cluster moves to Podway, and a rendezvous
/// hash: a node that goes moves nobody else's addresses.
#[must_use]
pub fn rank(node: &str, address: IpAddr, weight: u32) -> u128 {
    let digest = Sha256::digest(format!("{node}#{address}"));
    let mut number = [0; 16];
    // 96 bits of the hash keep its order but for one tie in 2^96.
    number[..4].copy_from_slice(&(u32::MAX - weight).to_be_bytes());
    number[4..].copy_from_slice(&digest[..12]);
    u128::from_be_bytes(number)
}
