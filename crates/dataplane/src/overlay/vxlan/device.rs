//! The tunnel device of a family: made, kept, mended.

use std::net::Ipv4Addr;

use podway_kernel::route::{
    self, ErrorKind, Link, LinkChange, LinkDetail, LinkIndex, NewLink, Rtnetlink,
};
use podway_model::IpFamily;
use podway_plan::overlay::OwnEnd;

use super::render::{Device, PORT, overhead, render_device};
use super::{Ready, Vxlan, device_name};
use crate::overlay::{DeviceName, Error, carrier, device};

impl Vxlan {
    /// Makes the device be as it must, and changes nothing where it is.
    pub(super) fn ensure_device(&mut self, own: &OwnEnd) -> Result<Ready, Error> {
        let family = IpFamily::of(&own.local);
        let name = device_name(family);
        let overhead = overhead(family);
        let carrier = carrier::find(&mut self.socket, own, &self.settings, overhead)?;
        let device = render_device(own, &self.settings, carrier.link, carrier.mtu);
        self.parameters.forward(family)?;
        let found = self.socket.link(name.name)?;
        let index = match kept(found, &name, &device, &mut self.socket)? {
            Some(link) => {
                mend(&mut self.socket, &link, &device)?;
                link.index
            }
            None => self.make(&name, &device)?,
        };
        device::set_address(&mut self.socket, index, device.address)?;
        Ok(Ready {
            index,
            lower: carrier.link,
            mtu: device.mtu,
        })
    }

    fn make(&mut self, name: &DeviceName, device: &Device) -> Result<LinkIndex, Error> {
        let link = NewLink::vxlan(name.name, device.vxlan.clone())
            .mac(device.mac)
            .mtu(device.mtu);
        let index = match self.socket.create_link(&link) {
            Err(error) if error.kind() == ErrorKind::Exists => {
                return Err(self.same_network(device)?.unwrap_or(error.into()));
            }
            outcome => outcome?,
        };
        self.parameters.prepare(name.name)?;
        self.socket.change_link(index, &LinkChange::new().up())?;
        Ok(index)
    }

    /// The kernel allows one device for each network and port, whatever the
    /// local address.
    fn same_network(&mut self, device: &Device) -> Result<Option<Error>, Error> {
        let (vni, port) = (device.vxlan.vni, device.vxlan.port);
        let links = self.socket.links()?.into_iter();
        let taken = links.into_iter().find(|link| match &link.detail {
            LinkDetail::Vxlan(other) => other.vni == vni && other.port == port,
            _ => false,
        });
        Ok(taken.map(|link| Error::VniTaken {
            other: link.name,
            vni,
            port,
        }))
    }
}

/// Makes a device, to see whether the kernel can.
pub(super) fn try_out(socket: &mut Rtnetlink) -> Result<(), Error> {
    let vxlan = route::Vxlan {
        vni: 1,
        port: PORT,
        local: Ipv4Addr::LOCALHOST.into(),
        lower: None,
        learning: false,
    };
    let link = NewLink::vxlan("probe-vxlan", vxlan);
    let index = socket.create_link(&link)?;
    Ok(socket.delete_link(index)?)
}

/// The device that is there, if it can stay. One of ours that cannot be changed
/// into what it must be is deleted; somebody else's is not touched.
fn kept(
    found: Option<Link>,
    name: &DeviceName,
    device: &Device,
    socket: &mut Rtnetlink,
) -> Result<Option<Link>, Error> {
    let Some(link) = found else { return Ok(None) };
    name.check(&link.detail)?;
    match &link.detail {
        LinkDetail::Vxlan(vxlan) if *vxlan == device.vxlan => Ok(Some(link)),
        _ => {
            socket.delete_link(link.index)?;
            Ok(None)
        }
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
