//! The tunnel devices of all overlays: what they are called, and what they have
//! in common.

use ipnet::IpNet;
use podway_kernel::route::{LinkDetail, LinkIndex, Rtnetlink};
use podway_model::IpFamily;
use podway_plan::overlay::OverlayMode;

use super::{Error, ErrorList};

/// A device of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceName {
    /// Which overlay's.
    pub mode: OverlayMode,
    /// Which family's.
    pub family: IpFamily,
    /// Its name.
    pub name: &'static str,
    /// What it is, as the kernel calls it; under the same name anything else is
    /// somebody else's.
    pub kind: &'static str,
}

/// Every device that an overlay makes.
pub const DEVICES: [DeviceName; 4] = [
    device(OverlayMode::Vxlan, IpFamily::V4, "podway-vxlan", "vxlan"),
    device(OverlayMode::Vxlan, IpFamily::V6, "podway-vxlan6", "vxlan"),
    device(OverlayMode::Udp, IpFamily::V4, "podway-udp", "tun"),
    device(OverlayMode::Udp, IpFamily::V6, "podway-udp6", "tun"),
];

const fn device(
    mode: OverlayMode,
    family: IpFamily,
    name: &'static str,
    kind: &'static str,
) -> DeviceName {
    DeviceName {
        mode,
        family,
        name,
        kind,
    }
}

impl DeviceName {
    /// The device if it is there and ours.
    pub(super) fn find(&self, socket: &mut Rtnetlink) -> Result<Option<LinkIndex>, Error> {
        let link = socket.link(self.name)?;
        let ours = link.filter(|link| kind_of(&link.detail) == self.kind);
        Ok(ours.map(|link| link.index))
    }

    /// Whether a link of this name is a foreign one.
    pub(super) fn check(&self, detail: &LinkDetail) -> Result<(), Error> {
        let kind = kind_of(detail);
        if kind == self.kind {
            return Ok(());
        }
        Err(Error::ForeignDevice {
            name: self.name,
            kind: if kind.is_empty() {
                "physical interface".to_owned()
            } else {
                kind.to_owned()
            },
        })
    }
}

/// The devices of ours that are there.
pub(super) fn present(socket: &mut Rtnetlink) -> Result<Vec<LinkIndex>, Error> {
    let mut present = Vec::new();
    for device in DEVICES {
        present.extend(device.find(socket)?);
    }
    Ok(present)
}

/// Removes devices. Neighbours, forwarding entries and routes go with them.
pub(super) fn remove(
    socket: &mut Rtnetlink,
    is_unwanted: impl Fn(&DeviceName) -> bool,
) -> Result<Vec<&'static str>, ErrorList> {
    let mut removed = Vec::new();
    let mut errors = Vec::new();
    for device in DEVICES.iter().filter(|device| is_unwanted(device)) {
        match remove_one(socket, device) {
            Ok(true) => removed.push(device.name),
            Ok(false) => {}
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(removed)
    } else {
        Err(ErrorList(errors))
    }
}

/// Removes a device if it is there and ours. Whether it was.
pub(super) fn remove_one(socket: &mut Rtnetlink, device: &DeviceName) -> Result<bool, Error> {
    let Some(link) = device.find(socket)? else {
        return Ok(false);
    };
    socket.delete_link(link)?;
    Ok(true)
}

/// Makes `address` the device's only one, beside link-local ones.
pub(super) fn set_address(
    socket: &mut Rtnetlink,
    link: LinkIndex,
    address: IpNet,
) -> Result<(), Error> {
    let mut is_present = false;
    for held in socket.addresses(Some(link))? {
        if held.address == address {
            is_present = true;
        } else if !held.scope_link {
            // Of a podCIDR that the node had before.
            socket.delete_address(link, held.address)?;
        }
    }
    if !is_present {
        socket.add_address(link, address)?;
    }
    Ok(())
}

const fn kind_of(detail: &LinkDetail) -> &str {
    match detail {
        LinkDetail::Bridge => "bridge",
        LinkDetail::Veth => "veth",
        LinkDetail::Vxlan(_) => "vxlan",
        LinkDetail::Other(kind) => kind.as_str(),
    }
}
