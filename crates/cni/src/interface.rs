//! A pod's interface: a veth pair between the pod and an isolated port of the
//! node's bridge.
//!
//! The pod has its addresses alone (/32, /128), and an on-link route to the
//! bridge for everything: also two pods of one node talk through the node's IP
//! stack, where services and policies are decided.

use std::net::IpAddr;

use ipnet::IpNet;
use podway_kernel::netns::NetNs;
use podway_kernel::route::{
    BridgePort, ErrorKind, LinkChange, LinkIndex, Mac, NewLink, Route, Rtnetlink, VethPeer,
};
use podway_kernel::sysctl;

use crate::environment::Target;
use crate::error::Error;

/// What a pod's interface must be.
#[derive(Debug)]
pub(crate) struct PodInterface<'a> {
    pub(crate) target: &'a Target,
    pub(crate) namespace: &'a NetNs,
    pub(crate) mtu: u32,
    /// The pod's addresses, at most one of each family.
    pub(crate) addresses: &'a [IpAddr],
    /// The bridge's addresses, in the same order.
    pub(crate) gateways: &'a [IpAddr],
}

/// The node's end of an interface: a name that follows from the container, so
/// that DEL finds it without the pod's namespace.
pub(crate) fn host_name(target: &Target) -> String {
    let id = format!("{}/{}", target.container, target.ifname);
    // FNV-1a: the same in every version of this program.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("pod{:012x}", hash >> 16)
}

/// An Ethernet address that follows from an IP address of the node's range: a
/// neighbour entry that somebody still has for a reused address is right.
pub(crate) fn mac_of(address: IpAddr) -> Mac {
    let (family, [a, b, c, d]) = match address {
        IpAddr::V4(address) => (0x04, address.octets()),
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            (0x06, [a, b, c, d])
        }
    };
    // 0x0a: locally administered, unicast.
    Mac([0x0a, family, a, b, c, d])
}

impl PodInterface<'_> {
    /// Makes the pair, its peer in the pod's namespace from the start, as a port
    /// of `bridge`. Nothing is up yet.
    pub(crate) fn create(
        &self,
        socket: &mut Rtnetlink,
        bridge: LinkIndex,
    ) -> Result<LinkIndex, Error> {
        let mut peer = VethPeer::new(&self.target.ifname)
            .in_namespace(self.namespace)
            .mtu(self.mtu);
        if let Some(address) = self.addresses.first() {
            peer = peer.mac(mac_of(*address));
        }
        let pair = NewLink::veth(host_name(self.target), peer)
            .mtu(self.mtu)
            .master(bridge);
        match socket.create_link(&pair) {
            Err(error) if error.kind() == ErrorKind::Exists => Err(self.taken()),
            made => Ok(made?),
        }
    }

    /// The kernel does not say which of a pair's two names is taken.
    fn taken(&self) -> Error {
        let name = &self.target.ifname;
        let inside = self
            .namespace
            .run(|| Rtnetlink::open()?.link(name))
            .is_ok_and(|link| matches!(link, Ok(Some(_))));
        let (name, namespace) = if inside {
            (name.clone(), self.namespace.path().display().to_string())
        } else {
            (host_name(self.target), "the node's namespace".into())
        };
        Error::InterfaceExists { name, namespace }
    }

    /// Isolates the node's end from the other pods' ports before it comes up.
    pub(crate) fn connect(&self, socket: &mut Rtnetlink, end: LinkIndex) -> Result<(), Error> {
        // The bridge has the addresses: without this every port would get a
        // link-local one of its own, with a route and duplicate detection.
        let ipv6 = format!("net/ipv6/conf/{}/disable_ipv6", host_name(self.target));
        match sysctl::ensure(&ipv6, "1") {
            // A kernel without IPv6.
            Ok(_) | Err(sysctl::Error::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let port = BridgePort {
            isolated: true,
            hairpin: false,
        };
        let mut change = LinkChange::new().port(port).up();
        if let Some(pod) = &self.target.pod {
            // For people who read `ip link`.
            change = change.alias(format!("{}/{}", pod.namespace, pod.name));
        }
        Ok(socket.change_link(end, &change)?)
    }

    /// Gives the pod's end its addresses and routes and brings it up.
    pub(crate) fn configure(&self) -> Result<(), Error> {
        self.namespace.run(|| self.configure_inside())?
    }

    fn configure_inside(&self) -> Result<(), Error> {
        let name = &self.target.ifname;
        let mut socket = Rtnetlink::open()?;
        let link = socket
            .link(name)?
            .ok_or_else(|| Error::Namespace {
                path: self.namespace.path().display().to_string(),
                reason: format!("interface {name} has vanished from it"),
            })?
            .index;
        self.set_parameters()?;
        socket.change_link(link, &LinkChange::new().up())?;
        for address in self.addresses {
            socket.add_address(link, IpNet::from(*address))?;
        }
        for gateway in self.gateways {
            let on_link = Route::new(IpNet::from(*gateway)).dev(link).scope_link();
            socket.replace_route(&on_link)?;
            let default = Route::default_via(*gateway).dev(link);
            socket.add_route(&default)?;
        }
        Ok(())
    }

    fn set_parameters(&self) -> Result<(), Error> {
        let name = &self.target.ifname;
        // Without forwarding a redirect is taken where "all" or the interface
        // allows it (ip-sysctl: accept_redirects).
        for interface in ["all", name] {
            let key = format!("net/ipv4/conf/{interface}/accept_redirects");
            sysctl::ensure(&key, "0")?;
        }
        let ipv6 = [
            // Some runtimes switch IPv6 off in namespaces they make.
            ("disable_ipv6", "0"),
            // The plugin's addresses are unique: no second of waiting.
            ("accept_dad", "0"),
            ("accept_ra", "0"),
            ("accept_redirects", "0"),
        ];
        if !self.addresses.iter().any(IpAddr::is_ipv6) {
            return Ok(());
        }
        for (parameter, value) in ipv6 {
            sysctl::ensure(&format!("net/ipv6/conf/{name}/{parameter}"), value)?;
        }
        Ok(())
    }
}

/// Removes the node's end, and with it the pod's. Whether it was there.
pub(crate) fn remove(socket: &mut Rtnetlink, target: &Target) -> Result<bool, Error> {
    let Some(link) = socket.link(&host_name(target))? else {
        return Ok(false);
    };
    match socket.delete_link(link.index) {
        Ok(()) => Ok(true),
        // The pod's namespace went at the same moment.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_follow_from_what_they_are_for() {
        let target = |container: &str| Target {
            container: container.into(),
            ifname: "eth0".into(),
            netns: None,
            pod: None,
        };
        let name = host_name(&target("c1"));
        assert_eq!(name, host_name(&target("c1")));
        assert_ne!(name, host_name(&target("c2")));
        assert_eq!(name.len(), 15, "{name}");
        for (address, mac) in [
            ("10.244.1.2", "0a:04:0a:f4:01:02"),
            ("fd00:10:244:1::1:2", "0a:06:00:01:00:02"),
        ] {
            assert_eq!(mac_of(address.parse().unwrap()).to_string(), mac);
        }
    }
}
