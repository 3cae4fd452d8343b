use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use podway_model::IpFamily;

use super::{OverlaySettings, OverlayTable};

/// The text of flannel's `subnet.env`, from which its CNI plugin and others learn
/// the node's pod prefixes and MTU. `None` before the node has a pod prefix, or
/// where the pods' network is not configured: without it the plugins that read
/// the file fail.
///
/// `masquerade` says that packets that leave the cluster are masqueraded here,
/// so that the plugin must not.
#[must_use]
pub fn subnet_env(
    table: &OverlayTable,
    settings: &OverlaySettings,
    mtu: u32,
    masquerade: bool,
) -> Option<String> {
    let mut text = String::new();
    for (family, prefix) in [(IpFamily::V4, ""), (IpFamily::V6, "IPV6_")] {
        let Some(own) = table.own.get(&family) else {
            continue;
        };
        let mut networks = settings.networks.iter();
        let network = networks.find(|network| network.contains(&own.prefix))?;
        let subnet = first_address(own.prefix)?;
        writeln!(text, "FLANNEL_{prefix}NETWORK={network}").ok()?;
        writeln!(text, "FLANNEL_{prefix}SUBNET={subnet}").ok()?;
    }
    if text.is_empty() {
        return None;
    }
    writeln!(text, "FLANNEL_MTU={mtu}\nFLANNEL_IPMASQ={masquerade}").ok()?;
    Some(text)
}

/// `10.244.1.1/24` of `10.244.1.0/24`.
fn first_address(prefix: IpNet) -> Option<IpNet> {
    let address: IpAddr = match prefix.network() {
        IpAddr::V4(first) => first
            .to_bits()
            .checked_add(1)
            .map(|bits| IpAddr::V4(bits.into()))?,
        IpAddr::V6(first) => first
            .to_bits()
            .checked_add(1)
            .map(|bits| IpAddr::V6(bits.into()))?,
    };
    IpNet::new(address, prefix.prefix_len()).ok()
}
