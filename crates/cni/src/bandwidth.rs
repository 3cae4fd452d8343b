//! Limits on a pod's traffic (capability `bandwidth`).
//!
//! What a pod receives is shaped as it leaves the node's end. What a pod sends
//! comes in there, where the kernel cannot shape, so it takes a detour over an
//! interface of its own. Both are on the node: a pod cannot take them away.

use podway_kernel::route::{Bucket, LinkChange, LinkIndex, NewLink, Rtnetlink};
use serde::Deserialize;

use crate::error::Error;
use crate::interface::{LINK_GROUP, alias, belongs_to, ifb_name};
use crate::owner::Owner;

/// What a runtime asks for, in bits and bits per second; 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Bandwidth {
    ingress_rate: u64,
    ingress_burst: u64,
    egress_rate: u64,
    egress_burst: u64,
}

/// What container runtimes write where Kubernetes says nothing: its annotations
/// have a rate only. Taken by its word it would be half a gigabyte.
const NOT_SAID: [u64; 3] = [0, i32::MAX as u64, u32::MAX as u64];

/// A burst that nobody chose takes this long, at least this many bytes.
const BURST_MS: u64 = 100;
const SMALLEST_BURST: u64 = 64 * 1024;

/// What a packet has in front of the bytes that the MTU counts, with a VLAN tag.
const ETHERNET_HEADER: u64 = 18;

impl Bandwidth {
    /// # Errors
    /// A burst without a rate.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (rate, burst, name) in [
            (self.ingress_rate, self.ingress_burst, "ingress"),
            (self.egress_rate, self.egress_burst, "egress"),
        ] {
            if rate == 0 && !NOT_SAID.contains(&burst) {
                return Err(Error::Config {
                    field: "bandwidth",
                    reason: format!("{name}Burst without {name}Rate"),
                });
            }
        }
        Ok(())
    }

    /// What the pod may receive.
    pub(crate) fn ingress(&self, mtu: u32) -> Option<Bucket> {
        bucket(self.ingress_rate, self.ingress_burst, mtu)
    }

    /// What the pod may send.
    pub(crate) fn egress(&self, mtu: u32) -> Option<Bucket> {
        bucket(self.egress_rate, self.egress_burst, mtu)
    }
}

fn bucket(bits_per_second: u64, burst_bits: u64, mtu: u32) -> Option<Bucket> {
    if bits_per_second == 0 {
        return None;
    }
    let rate = (bits_per_second / 8).max(1);
    let burst = if NOT_SAID.contains(&burst_bits) {
        (rate / 1000 * BURST_MS).max(SMALLEST_BURST)
    } else {
        burst_bits / 8
    };
    // Less would let no packet through at all.
    let burst = burst.max(u64::from(mtu) + ETHERNET_HEADER);
    Some(Bucket {
        rate,
        burst: u32::try_from(burst).unwrap_or(u32::MAX),
    })
}

/// Limits an interface whose node's end is `end`.
pub(crate) fn apply(
    socket: &mut Rtnetlink,
    end: LinkIndex,
    owner: &Owner,
    bandwidth: &Bandwidth,
    mtu: u32,
) -> Result<(), Error> {
    if let Some(bucket) = bandwidth.ingress(mtu) {
        socket.limit_sending(end, bucket)?;
    }
    if let Some(bucket) = bandwidth.egress(mtu) {
        let detour = NewLink::ifb(ifb_name(owner)).mtu(mtu).group(LINK_GROUP);
        let detour = socket.create_link(&detour)?;
        let change = LinkChange::new().alias(alias(owner, None)).up();
        socket.change_link(detour, &change)?;
        socket.limit_sending(detour, bucket)?;
        socket.redirect_received(end, detour)?;
    }
    Ok(())
}

/// Whether the limits are there.
pub(crate) fn is_in_force(
    socket: &mut Rtnetlink,
    end: LinkIndex,
    owner: &Owner,
    bandwidth: &Bandwidth,
    mtu: u32,
) -> Result<bool, Error> {
    let mut holds = true;
    if let Some(bucket) = bandwidth.ingress(mtu) {
        holds &= has_rate(socket, end, bucket)?;
    }
    if let Some(bucket) = bandwidth.egress(mtu) {
        let detour = socket.link(&ifb_name(owner))?;
        holds &= match detour.filter(|link| belongs_to(link, owner)) {
            Some(link) => link.up && has_rate(socket, link.index, bucket)?,
            None => false,
        };
    }
    Ok(holds)
}

/// The kernel rounds the burst.
fn has_rate(socket: &mut Rtnetlink, link: LinkIndex, wanted: Bucket) -> Result<bool, Error> {
    let held = socket.sending_limit(link)?;
    Ok(held.is_some_and(|held| held.rate == wanted.rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_what_was_asked_for_or_a_tenth_of_a_second() {
        for (rate, burst, expected) in [
            (0, 0, None),
            (8_000_000, 800_000, Some((1_000_000, 100_000))),
            (8_000_000, 8, Some((1_000_000, 1518))),
            (8_000_000, 0, Some((1_000_000, 100_000))),
            (80_000, u64::from(u32::MAX), Some((10_000, 65_536))),
            (1, 0, Some((1, 65_536))),
            (u64::MAX, u64::MAX - 7, Some((u64::MAX / 8, u32::MAX))),
        ] {
            let expected = expected.map(|(rate, burst)| Bucket { rate, burst });
            assert_eq!(bucket(rate, burst, 1500), expected, "{rate} {burst}");
        }
    }
}
