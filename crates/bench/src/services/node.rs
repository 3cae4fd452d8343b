//! Network namespaces of this bench.

use anyhow::Context as _;
use podway_kernel::netns::NetNs;
use podway_kernel::route::{LinkChange, Rtnetlink};
use podway_kernel::sysctl;

/// A namespace that forwards, with `lo` up.
pub(super) fn namespace() -> anyhow::Result<NetNs> {
    let namespace =
        NetNs::anonymous().context("bench services makes network namespaces: run it as root")?;
    namespace.run(|| -> anyhow::Result<()> {
        sysctl::write("net/ipv4/ip_forward", "1")?;
        let mut netlink = Rtnetlink::open()?;
        let lo = netlink.link("lo")?.context("lo")?.index;
        netlink.change_link(lo, &LinkChange::new().up())?;
        Ok(())
    })??;
    Ok(namespace)
}
