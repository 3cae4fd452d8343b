//! The node's bridge: the gateway of its pods. It belongs to the node: the
//! first ADD makes it, no DEL removes it.

use ipnet::IpNet;
use podway_kernel::route::{
    ErrorKind, Link, LinkChange, LinkDetail, LinkIndex, NewLink, Rtnetlink,
};
use podway_kernel::sysctl;

use crate::config::Config;
use crate::error::Error;
use crate::interface::mac_of;

/// Makes the bridge be as it must; any number of ADDs may do so at once.
pub(crate) fn ensure(socket: &mut Rtnetlink, config: &Config) -> Result<Link, Error> {
    let link = find_or_make(socket, config)?;
    set_parameters(config)?;
    if !link.up || link.mtu != config.mtu {
        let change = LinkChange::new().mtu(config.mtu).up();
        socket.change_link(link.index, &change)?;
    }
    give_addresses(socket, link.index, config)?;
    Ok(link)
}

fn find_or_make(socket: &mut Rtnetlink, config: &Config) -> Result<Link, Error> {
    let name = &config.bridge;
    if socket.link(name)?.is_none() {
        let mut bridge = NewLink::bridge(name).mtu(config.mtu);
        // A bridge without an address of its own takes one of its ports' and
        // changes it as ports come and go, under the pods' feet.
        if let Some(range) = config.ranges.first() {
            bridge = bridge.mac(mac_of(range.gateway()));
        }
        match socket.create_link(&bridge) {
            Err(error) if error.kind() != ErrorKind::Exists => return Err(error.into()),
            _ => {}
        }
    }
    let not_a_bridge = || Error::NotABridge { name: name.clone() };
    socket
        .link(name)?
        .filter(|link| link.detail == LinkDetail::Bridge)
        .ok_or_else(not_a_bridge)
}

/// Addresses of a podCIDR that the node had before stay: pods that still have
/// one need their gateway.
fn give_addresses(socket: &mut Rtnetlink, bridge: LinkIndex, config: &Config) -> Result<(), Error> {
    let held: Vec<IpNet> = socket
        .addresses(Some(bridge))?
        .into_iter()
        .map(|address| address.address)
        .collect();
    for range in &config.ranges {
        let address = IpNet::new_assert(range.gateway(), range.prefix().prefix_len());
        if !held.contains(&address) {
            socket.add_address(bridge, address)?;
        }
    }
    Ok(())
}

fn set_parameters(config: &Config) -> Result<(), Error> {
    let name = &config.bridge;
    let (mut ipv4, mut ipv6) = (false, false);
    for range in &config.ranges {
        ipv4 |= range.prefix().addr().is_ipv4();
        ipv6 |= range.prefix().addr().is_ipv6();
    }
    if ipv4 {
        sysctl::ensure("net/ipv4/ip_forward", "1")?;
        // Packets between pods leave by the interface that they came in by, on
        // purpose. A redirect is sent where "all" or the interface allows it.
        for interface in ["all", name] {
            let key = format!("net/ipv4/conf/{interface}/send_redirects");
            sysctl::ensure(&key, "0")?;
        }
    }
    if ipv6 {
        sysctl::ensure("net/ipv6/conf/all/forwarding", "1")?;
        for parameter in ["accept_ra", "accept_dad"] {
            sysctl::ensure(&format!("net/ipv6/conf/{name}/{parameter}"), "0")?;
        }
    }
    Ok(())
}
