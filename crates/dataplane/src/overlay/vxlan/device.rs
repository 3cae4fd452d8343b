//! The tunnel device of a family: made, kept, mended.

use podway_kernel::route::{Link, LinkChange, LinkDetail, LinkIndex, NewLink, Rtnetlink};
use podway_kernel::sysctl;
use podway_model::IpFamily;
use podway_plan::overlay::OwnEnd;

use super::render::{Device, overhead, render_device};
use super::{Ready, Vxlan};
use crate::overlay::Error;

impl Vxlan {
    /// Makes the device be as it must, and changes nothing where it is.
    pub(super) fn ensure_device(&mut self, own: &OwnEnd, family: IpFamily) -> Result<Ready, Error> {
        let (lower, mtu) = self.underlay(own, family)?;
        let device = render_device(own, family, &self.settings, lower, mtu);
        self.forward(family)?;
        let index = match kept(self.socket.link(device.name)?, &device, &mut self.socket)? {
            Some(link) => {
                mend(&mut self.socket, &link, &device)?;
                link.index
            }
            None => self.make(&device)?,
        };
        self.address(index, &device)?;
        Ok(Ready {
            index,
            mtu: device.mtu,
        })
    }

    /// The interface that has the node's address.
    fn underlay(&mut self, own: &OwnEnd, family: IpFamily) -> Result<(LinkIndex, u32), Error> {
        let missing = || Error::NoUnderlay { address: own.local };
        let address = self
            .socket
            .addresses(None)?
            .into_iter()
            .find(|address| address.address.addr() == own.local)
            .ok_or_else(missing)?;
        let link = self.socket.link_at(address.link)?.ok_or_else(missing)?;
        let smallest = match family {
            // RFC 791: every host takes 576 bytes; RFC 8200, 5: every link 1280.
            IpFamily::V4 => 576,
            IpFamily::V6 => 1280,
        };
        let needed = smallest + overhead(family);
        if link.mtu < needed {
            return Err(Error::SmallMtu {
                link: link.name,
                mtu: link.mtu,
                family,
                needed,
            });
        }
        Ok((link.index, link.mtu))
    }

    fn make(&mut self, device: &Device) -> Result<LinkIndex, Error> {
        let link = NewLink::vxlan(device.name, device.vxlan.clone())
            .mac(device.mac)
            .mtu(device.mtu);
        let index = self.socket.create_link(&link)?;
        // Before it comes up: it has no router and no address to contest.
        let directory = format!("net/ipv6/conf/{}", device.name);
        for (name, value) in [("accept_ra", "0"), ("accept_dad", "0")] {
            self.set(&format!("{directory}/{name}"), value)?;
        }
        self.socket.change_link(index, &LinkChange::new().up())?;
        Ok(index)
    }

    fn address(&mut self, index: LinkIndex, device: &Device) -> Result<(), Error> {
        let mut present = false;
        for held in self.socket.addresses(Some(index))? {
            if held.address == device.address {
                present = true;
            } else if !held.scope_link {
                // Of a podCIDR that the node had before.
                self.socket.delete_address(index, held.address)?;
            }
        }
        if !present {
            self.socket.add_address(index, device.address)?;
        }
        Ok(())
    }

    fn forward(&mut self, family: IpFamily) -> Result<(), Error> {
        match family {
            IpFamily::V4 => self.set("net/ipv4/ip_forward", "1"),
            IpFamily::V6 => self.set("net/ipv6/conf/all/forwarding", "1"),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        match sysctl::ensure(key, value) {
            Ok(wrote) => {
                self.parameters += u64::from(wrote);
                Ok(())
            }
            // A kernel without IPv6 has nothing to switch off on a device.
            Err(sysctl::Error::Unknown { .. }) if key.starts_with("net/ipv6/conf/podway") => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The device that is there, if it can stay. One of ours that cannot be changed
/// into what it must be is deleted; somebody else's is not touched.
fn kept(
    found: Option<Link>,
    device: &Device,
    socket: &mut Rtnetlink,
) -> Result<Option<Link>, Error> {
    let Some(link) = found else { return Ok(None) };
    match &link.detail {
        LinkDetail::Vxlan(vxlan) if *vxlan == device.vxlan => Ok(Some(link)),
        LinkDetail::Vxlan(_) => {
            socket.delete_link(link.index)?;
            Ok(None)
        }
        other => Err(Error::ForeignDevice {
            name: device.name,
            kind: kind_of(other),
        }),
    }
}

fn mend(socket: &mut Rtnetlink, link: &Link, device: &Device) -> Result<(), Error> {
    let mut change = LinkChange::new();
    let mut differs = false;
    if link.mac != Some(device.mac) {
        change = change.mac(device.mac);
        differs = true;
    }
    if link.mtu != device.mtu {
        change = change.mtu(device.mtu);
        differs = true;
    }
    if !link.up {
        change = change.up();
        differs = true;
    }
    if differs {
        socket.change_link(link.index, &change)?;
    }
    Ok(())
}

fn kind_of(detail: &LinkDetail) -> String {
    match detail {
        LinkDetail::Bridge => "bridge".into(),
        LinkDetail::Veth => "veth".into(),
        LinkDetail::Vxlan(_) => "vxlan".into(),
        LinkDetail::Other(kind) if kind.is_empty() => "physical interface".into(),
        LinkDetail::Other(kind) => kind.clone(),
    }
}
