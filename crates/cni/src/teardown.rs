//! Taking back what ADD made: for DEL, for GC, and for an ADD that failed.

use std::net::IpAddr;

use podway_kernel::route::Rtnetlink;

use crate::config::Network;
use crate::error::Error;
use crate::host_ports;
use crate::interface;
use crate::ipam::Ipam;
use crate::owner::Owner;

/// Removes host ports and interface, and then gives the addresses back, and
/// returns them: nobody else may get them while the old interface still answers
/// for them.
pub(crate) fn tear_down(
    socket: &mut Rtnetlink,
    owner: &Owner,
    network: &Network,
) -> Result<Vec<IpAddr>, Error> {
    host_ports::release(&network.data_dir, owner)?;
    interface::remove(socket, owner)?;
    release(owner, network)
}

/// Gives the addresses back of which no interface answers.
pub(crate) fn release(owner: &Owner, network: &Network) -> Result<Vec<IpAddr>, Error> {
    Ipam::open(network)?.release(owner)
}
