//! The interface between nodes: what carries an overlay.

use podway_kernel::route::{LinkIndex, Rtnetlink};
use podway_model::IpFamily;
use podway_plan::overlay::{OverlaySettings, OwnEnd};

use super::Error;

/// The interface that has the node's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carrier {
    pub(super) link: LinkIndex,
    pub(super) name: String,
    /// The largest packet that can be sent by it, or that is configured.
    pub(super) mtu: u32,
}

/// Finds the interface between nodes and checks that packets of pods, made
/// larger by `overhead` bytes, fit through it.
pub(super) fn find(
    socket: &mut Rtnetlink,
    own: &OwnEnd,
    settings: &OverlaySettings,
    overhead: u32,
) -> Result<Carrier, Error> {
    let missing = || Error::NoUnderlay { address: own.local };
    let address = socket
        .addresses(None)?
        .into_iter()
        .find(|address| address.address.addr() == own.local)
        .ok_or_else(missing)?;
    let link = socket.link_at(address.link)?.ok_or_else(missing)?;
    if let Some(mtu) = settings.mtu.filter(|mtu| *mtu > link.mtu) {
        return Err(Error::LargeMtu {
            mtu,
            link: link.name,
            link_mtu: link.mtu,
        });
    }
    let mtu = settings.mtu.unwrap_or(link.mtu);
    let family = IpFamily::of(&own.local);
    let smallest = match family {
        // RFC 791: every host takes 576 bytes; RFC 8200, 5: every link 1280.
        IpFamily::V4 => 576,
        IpFamily::V6 => 1280,
    };
    let needed = smallest + overhead;
    if mtu < needed {
        return Err(Error::SmallMtu {
            link: link.name,
            mtu,
            family,
            needed,
        });
    }
    Ok(Carrier {
        link: link.index,
        name: link.name,
        mtu,
    })
}
