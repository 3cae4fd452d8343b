//! The interface with the addresses of services, the node's other addresses, and
//! its kernel parameters.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use podway_kernel::netns::NetNs;
use podway_kernel::route::{
    self, Address, Group, LinkDetail, LinkIndex, Monitor, NewLink, Notification, Rtnetlink,
};
use podway_kernel::sysctl;

use super::error::IpvsError as Error;
use super::names::DEVICE;

/// The addresses of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Those of our interface; `None` where there is no such one.
    pub bound: Option<BTreeSet<IpAddr>>,
    /// All others, loopback addresses and those of one link only excepted.
    pub others: BTreeSet<IpAddr>,
}

/// Reads and writes what is neither a rule nor a set nor a virtual server.
pub trait Node {
    /// The addresses.
    ///
    /// # Errors
    /// Failures of netlink.
    fn addresses(&mut self) -> Result<Addresses, Error>;

    /// Whether others than ours have changed since the last time of asking.
    ///
    /// # Errors
    /// Failures of netlink.
    fn is_changed(&mut self) -> Result<bool, Error>;

    /// Makes the interface, where there is none.
    ///
    /// # Errors
    /// A kernel without dummy interfaces.
    fn make_device(&mut self) -> Result<(), Error>;

    /// Gives the interface an address.
    ///
    /// # Errors
    /// Failures of netlink.
    fn bind(&mut self, address: IpAddr) -> Result<(), Error>;

    /// Takes an address from the interface.
    ///
    /// # Errors
    /// Failures of netlink.
    fn unbind(&mut self, address: IpAddr) -> Result<(), Error>;

    /// Removes the interface with its addresses, where there is one.
    ///
    /// # Errors
    /// Failures of netlink.
    fn remove_device(&mut self) -> Result<(), Error>;

    /// Sets the kernel parameters that IPVS needs.
    ///
    /// # Errors
    /// What the kernel does not have or does not allow.
    fn set_parameters(&mut self, strict_arp: bool) -> Result<(), Error>;
}

/// The node whose network namespace it was opened in.
#[derive(Debug)]
pub struct KernelNode {
    namespace: NetNs,
    netlink: Rtnetlink,
    monitor: Monitor,
    device: Option<LinkIndex>,
}

/// A node in memory.
#[derive(Debug, Clone, Default)]
pub struct FakeNode {
    /// Its addresses.
    pub addresses: Addresses,
    /// Whether the next question for changes is answered with yes.
    pub changed: bool,
    /// Changes so far.
    pub writes: u64,
}

/// Before this, IPVS made new connections from a port that was just used wait a
/// second, or led them to real servers that are gone.
const REUSE_MENDED: (u32, u32) = (5, 9);

impl KernelNode {
    /// In the calling thread's network namespace.
    ///
    /// # Errors
    /// Failures of netlink.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            namespace: NetNs::current()?,
            netlink: Rtnetlink::open()?,
            monitor: Monitor::open(&[Group::Address])?,
            device: None,
        })
    }

    /// Makes an interface and removes it again, to see whether the kernel can.
    ///
    /// # Errors
    /// A kernel without dummy interfaces.
    pub(super) fn probe(&mut self, name: &str) -> Result<(), Error> {
        let link = self.netlink.create_link(&NewLink::dummy(name))?;
        Ok(self.netlink.delete_link(link)?)
    }

    fn find(&mut self) -> Result<Option<LinkIndex>, Error> {
        let link = self.netlink.link(DEVICE)?;
        self.device = link.map(|link| link.index);
        Ok(self.device)
    }

    fn device(&mut self) -> Result<LinkIndex, Error> {
        match self.device {
            Some(device) => Ok(device),
            None => self.find()?.ok_or(Error::NoDevice),
        }
    }
}

impl Node for KernelNode {
    fn addresses(&mut self) -> Result<Addresses, Error> {
        let device = self.find()?;
        let mut found = Addresses {
            bound: device.map(|_| BTreeSet::new()),
            others: BTreeSet::new(),
        };
        for address in self.netlink.addresses(None)? {
            let ip = address.address.addr();
            if Some(address.link) == device {
                if !is_link_local(ip) {
                    found.bound.get_or_insert_default().insert(ip);
                }
            } else if is_usable(ip) {
                found.others.insert(ip);
            }
        }
        Ok(found)
    }

    fn is_changed(&mut self) -> Result<bool, Error> {
        let device = self.device;
        let mut changed = false;
        while let Some(notification) = self.monitor.next(Some(Duration::ZERO))? {
            changed |= match notification {
                Notification::Address(_, Address { link, address, .. }) => {
                    Some(link) != device && is_usable(address.addr())
                }
                Notification::Lost => true,
                _ => false,
            };
        }
        Ok(changed)
    }

    fn make_device(&mut self) -> Result<(), Error> {
        match self.netlink.link(DEVICE)? {
            Some(link) if link.detail == LinkDetail::Other("dummy".into()) => {
                self.device = Some(link.index);
            }
            Some(_) => return Err(Error::DeviceTaken),
            // It stays down, as kube-proxy's does: its addresses are local all
            // the same, and it takes no part in multicast.
            None => self.device = Some(self.netlink.create_link(&NewLink::dummy(DEVICE))?),
        }
        Ok(())
    }

    fn bind(&mut self, address: IpAddr) -> Result<(), Error> {
        let device = self.device()?;
        Ok(self.netlink.add_address(device, IpNet::from(address))?)
    }

    fn unbind(&mut self, address: IpAddr) -> Result<(), Error> {
        let device = self.device()?;
        self.netlink.delete_address(device, IpNet::from(address))?;
        Ok(())
    }

    fn remove_device(&mut self) -> Result<(), Error> {
        if let Some(device) = self.find()? {
            self.device = None;
            match self.netlink.delete_link(device) {
                Err(error) if error.kind() == route::ErrorKind::NotFound => {}
                result => result?,
            }
        }
        Ok(())
    }

    fn set_parameters(&mut self, strict_arp: bool) -> Result<(), Error> {
        self.namespace.run(|| set_parameters(strict_arp))??;
        Ok(())
    }
}

fn set_parameters(strict_arp: bool) -> Result<(), sysctl::Error> {
    let mut wanted = vec![
        // Conntrack sees connections as they are, so that masquerading works.
        ("net/ipv4/vs/conntrack", "1"),
        // A connection whose real server is gone, and a client that is kept at
        // one without weight, begin anew.
        ("net/ipv4/vs/expire_nodest_conn", "1"),
        ("net/ipv4/vs/expire_quiescent_template", "1"),
        ("net/ipv4/ip_forward", "1"),
    ];
    if sysctl::read("kernel/osrelease").is_ok_and(|release| version(&release) < REUSE_MENDED) {
        wanted.push(("net/ipv4/vs/conn_reuse_mode", "0"));
    }
    if strict_arp {
        // Nobody else on the link may take the node for the owner of addresses
        // that an announcer elsewhere speaks for.
        wanted.push(("net/ipv4/conf/all/arp_ignore", "1"));
        wanted.push(("net/ipv4/conf/all/arp_announce", "2"));
    }
    for (key, value) in wanted {
        sysctl::ensure(key, value)?;
    }
    match sysctl::ensure("net/ipv6/conf/all/forwarding", "1") {
        // A host without IPv6.
        Err(sysctl::Error::Unknown { .. }) => Ok(()),
        result => result.map(|_| ()),
    }
}

/// `6.1.0-56-amd64` is (6, 1).
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse().ok());
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next())
}

fn is_usable(address: IpAddr) -> bool {
    !address.is_loopback() && !is_link_local(address)
}

const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

impl Node for FakeNode {
    fn addresses(&mut self) -> Result<Addresses, Error> {
        Ok(self.addresses.clone())
    }

    fn is_changed(&mut self) -> Result<bool, Error> {
        Ok(std::mem::take(&mut self.changed))
    }

    fn make_device(&mut self) -> Result<(), Error> {
        self.addresses.bound.get_or_insert_default();
        Ok(())
    }

    fn bind(&mut self, address: IpAddr) -> Result<(), Error> {
        let bound = self.addresses.bound.as_mut().ok_or(Error::NoDevice)?;
        bound.insert(address);
        self.writes += 1;
        Ok(())
    }

    fn unbind(&mut self, address: IpAddr) -> Result<(), Error> {
        let bound = self.addresses.bound.as_mut().ok_or(Error::NoDevice)?;
        bound.remove(&address);
        self.writes += 1;
        Ok(())
    }

    fn remove_device(&mut self) -> Result<(), Error> {
        self.addresses.bound = None;
        Ok(())
    }

    fn set_parameters(&mut self, _strict_arp: bool) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_kernels_are_compared_as_numbers() {
        for (release, expected) in [
            ("6.1.0-56-amd64", (6, 1)),
            ("5.10.0", (5, 10)),
            ("4.19", (4, 19)),
            ("7-rc1", (7, 0)),
            ("", (0, 0)),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
        assert!(version("5.10.0") > REUSE_MENDED && version("5.8.1") < REUSE_MENDED);
    }
}
