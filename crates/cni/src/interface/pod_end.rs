//! The pod's end of its interface.

use std::net::IpAddr;

use ipnet::IpNet;
use podway_kernel::route::{LinkChange, LinkIndex, Neighbour, Route, Rtnetlink};
use podway_kernel::sysctl;

use super::{PodInterface, await_ready};
use crate::error::Error;

impl PodInterface<'_> {
    /// Gives the pod's end its addresses and routes and brings it up.
    pub(crate) fn configure(&self) -> Result<(), Error> {
        self.namespace.run(|| self.configure_inside())?
    }

    fn configure_inside(&self) -> Result<(), Error> {
        let name = &self.target.owner.ifname;
        let mut socket = Rtnetlink::open()?;
        let link = socket
            .link(name)?
            .ok_or_else(|| Error::Namespace {
                path: self.namespace.path().display().to_string(),
                reason: format!("interface {name} has vanished from it"),
            })?
            .index;
        self.set_pod_parameters()?;
        socket.change_link(link, &LinkChange::new().up())?;
        for ip in self.ips {
            socket.add_address(link, IpNet::from(ip.address))?;
            self.route_through(ip.gateway, link, &mut socket)?;
        }
        await_ready(&mut socket, link, self.ips.iter().map(|ip| ip.address))
    }

    fn route_through(
        &self,
        gateway: IpAddr,
        link: LinkIndex,
        socket: &mut Rtnetlink,
    ) -> Result<(), Error> {
        if let Some(mac) = self.gateway_mac() {
            // The node's end never changes its Ethernet address: nothing needs
            // to be asked before the first packet. Where somebody removes the
            // entry, the node answers for its address.
            let address = gateway;
            socket.replace_neighbour(&Neighbour { link, address, mac })?;
        }
        let on_link = Route::new(IpNet::from(gateway)).dev(link).scope_link();
        socket.add_route(&on_link)?;
        Ok(socket.add_route(&Route::default_via(gateway).dev(link))?)
    }

    fn set_pod_parameters(&self) -> Result<(), Error> {
        let name = &self.target.owner.ifname;
        // The node sends one when a pod reaches itself through a service.
        // Without forwarding it is taken where "all" or the interface allows it
        // (ip-sysctl: accept_redirects).
        for interface in ["all", name] {
            let key = format!("net/ipv4/conf/{interface}/accept_redirects");
            sysctl::ensure(&key, "0")?;
        }
        // The node hears of another Ethernet address at once.
        sysctl::ensure(&format!("net/ipv4/conf/{name}/arp_notify"), "1")?;
        if !self.ips.iter().any(|ip| ip.address.is_ipv6()) {
            return Ok(());
        }
        let ipv6 = [
            // Some runtimes switch IPv6 off in namespaces they make.
            ("disable_ipv6", "0"),
            // The plugin's addresses are unique: no second of waiting.
            ("accept_dad", "0"),
            ("accept_ra", "0"),
            ("accept_redirects", "0"),
            // As arp_notify.
            ("ndisc_notify", "1"),
        ];
        for (parameter, value) in ipv6 {
            sysctl::ensure(&format!("net/ipv6/conf/{name}/{parameter}"), value)?;
        }
        Ok(())
    }
}
