//! The node's end of a pod's interface: the pod's gateway, and the route to it.

use std::net::IpAddr;

use ipnet::IpNet;
use podway_kernel::route::{LinkChange, LinkIndex, Neighbour, Route, Rtnetlink};
use podway_kernel::sysctl;

use super::{PodInterface, alias, host_name};
use crate::error::Error;

/// RTPROT_* of the routes to pods, as of the overlay's: `ip route show proto 112`
/// shows all that Podway made.
const ROUTE_PROTOCOL: u8 = 112;

impl PodInterface<'_> {
    /// Sets the node's end up as the gateway of its pod.
    pub(crate) fn connect(&self, socket: &mut Rtnetlink, end: LinkIndex) -> Result<(), Error> {
        self.set_node_parameters()?;
        let change = LinkChange::new()
            .alias(alias(&self.target.owner, self.target.args.pod.as_ref()))
            .up();
        socket.change_link(end, &change)?;
        for ip in self.ips {
            socket.add_address(end, IpNet::from(ip.gateway))?;
            // Its source is not named: it is the only address of its family on
            // this interface, and some kernels take routes that name an address
            // away when one of several interfaces with it goes.
            let route = Route::new(IpNet::from(ip.address))
                .dev(end)
                .scope_link()
                .protocol(ROUTE_PROTOCOL);
            socket.add_route(&route)?;
            self.learn(ip.address, end, socket)?;
        }
        Ok(())
    }

    /// Saves the first question for an IPv6 address, which the kernel could not
    /// ask before a thread of its own has given this end a link-local address.
    /// Nothing permanent: a plugin behind this one (tuning) may change the pod's
    /// Ethernet address, which the pod then tells (ndisc_notify). IPv4 can ask
    /// at once.
    fn learn(&self, address: IpAddr, end: LinkIndex, socket: &mut Rtnetlink) -> Result<(), Error> {
        match self.mac {
            Some(mac) if address.is_ipv6() => Ok(socket.learn_neighbour(&Neighbour {
                link: end,
                address,
                mac,
            })?),
            _ => Ok(()),
        }
    }

    fn set_node_parameters(&self) -> Result<(), Error> {
        let name = host_name(&self.target.owner);
        if self.ips.iter().any(|ip| ip.address.is_ipv4()) {
            // What comes for a pod comes in by other interfaces: forwarding on
            // its own alone would not do.
            sysctl::ensure("net/ipv4/ip_forward", "1")?;
            let ipv4 = [
                ("conf", "forwarding", "1"),
                ("conf", "accept_redirects", "0"),
                // Nobody else can answer: the pod's last word counts at once.
                ("neigh", "locktime", "0"),
            ];
            for (kind, parameter, value) in ipv4 {
                sysctl::ensure(&format!("net/ipv4/{kind}/{name}/{parameter}"), value)?;
            }
        }
        if self.ips.iter().any(|ip| ip.address.is_ipv6()) {
            sysctl::ensure("net/ipv6/conf/all/forwarding", "1")?;
            let ipv6 = [
                ("disable_ipv6", "0"),
                ("forwarding", "1"),
                // Nobody else is on the link: no second of waiting.
                ("accept_dad", "0"),
                // A pod is no router, whatever it says.
                ("accept_ra", "0"),
                ("accept_redirects", "0"),
            ];
            for (parameter, value) in ipv6 {
                sysctl::ensure(&format!("net/ipv6/conf/{name}/{parameter}"), value)?;
            }
        }
        Ok(())
    }
}
