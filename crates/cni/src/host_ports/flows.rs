//! UDP "connections" that would go on where they went before.
//!
//! The first packet of a flow decides its translation. A client that goes on
//! sending would never reach the pod that has the port now.

use std::net::IpAddr;

use podway_kernel::conntrack::{Conntrack, ConntrackTable, Error, Flow};
use podway_kernel::route::Rtnetlink;

use super::{Forward, Protocol};

/// Ends flows to these ports of the node that lead elsewhere: to a pod that is
/// gone, or to the node itself.
pub(super) fn end_those_of_others(forwards: &[Forward], socket: &mut Rtnetlink) {
    // The node's own, so that flows that only pass it go on.
    let local = socket.addresses(None).unwrap_or_default();
    let is_local =
        |ip: IpAddr| ip.is_loopback() || local.iter().any(|own| own.address.addr() == ip);
    end_where(forwards, |forward, flow| {
        let destination = flow.original.destination;
        forward.is_for(flow) && is_local(destination.ip()) && flow.reply.source != forward.to
    });
}

/// Ends the flows to these ports.
pub(super) fn end(forwards: &[Forward]) {
    end_where(forwards, |forward, flow| {
        forward.is_for(flow) && flow.reply.source == forward.to
    });
}

impl Forward {
    fn is_for(&self, flow: &Flow) -> bool {
        let destination = flow.original.destination;
        destination.port() == self.port
            && destination.is_ipv4() == self.to.is_ipv4()
            && self
                .address
                .is_none_or(|address| address == destination.ip())
    }
}

/// The ports are right without this, so a kernel that cannot do it is only
/// complained of.
fn end_where(forwards: &[Forward], is_stale: impl Fn(&Forward, &Flow) -> bool) {
    let udp: Vec<&Forward> = forwards
        .iter()
        .filter(|forward| forward.protocol == Protocol::Udp)
        .collect();
    if udp.is_empty() {
        return;
    }
    if let Err(error) = try_end(|flow| udp.iter().any(|forward| is_stale(forward, flow))) {
        eprintln!("podway-cni: old UDP flows to host ports may go on: {error}");
    }
}

fn try_end(is_stale: impl Fn(&Flow) -> bool) -> Result<(), Error> {
    let mut table = ConntrackTable::open()?;
    for flow in table.flows(Protocol::Udp.number())? {
        if is_stale(&flow) {
            table.delete(&flow)?;
        }
    }
    Ok(())
}
