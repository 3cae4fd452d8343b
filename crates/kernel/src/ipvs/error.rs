use std::net::SocketAddr;

use nix::errno::Errno;

use super::VirtualServer;
use crate::{genetlink, netlink};

/// Why virtual servers could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel has no IPVS.
    #[error(
        "ipvs: the kernel has no IP_VS (module ip_vs; docs/second-kernel.md has one that does)"
    )]
    Absent(#[source] genetlink::Error),
    /// The kernel did not list something.
    #[error("ipvs: {doing} failed")]
    Read {
        /// What was attempted.
        doing: &'static str,
        /// Why not.
        #[source]
        source: netlink::Error,
    },
    /// The kernel did not change something.
    #[error("ipvs: {doing} {object} failed{}", hint.unwrap_or_default())]
    Change {
        /// What was attempted.
        doing: &'static str,
        /// The virtual or real server.
        object: Box<str>,
        /// What is likely wrong.
        hint: Option<&'static str>,
        /// Why not.
        #[source]
        source: netlink::Error,
    },
}

impl Error {
    pub(super) fn server(
        doing: &'static str,
        server: &VirtualServer,
    ) -> impl FnOnce(netlink::Error) -> Self {
        let object = format!("virtual server {server}").into();
        // A missing scheduler and a missing virtual server have answers of
        // their own.
        let hints = [
            (Errno::ENOENT, " (the kernel does not have this scheduler)"),
            (Errno::ESRCH, " (it is not there)"),
        ];
        Self::change(doing, object, hints)
    }

    pub(super) fn real(
        doing: &'static str,
        server: &VirtualServer,
        real: SocketAddr,
    ) -> impl FnOnce(netlink::Error) -> Self {
        let object = format!("real server {real} of virtual server {server}").into();
        let hints = [
            (Errno::ENOENT, " (it is not there)"),
            (Errno::ESRCH, " (there is no such virtual server)"),
        ];
        Self::change(doing, object, hints)
    }

    fn change(
        doing: &'static str,
        object: Box<str>,
        hints: [(Errno, &'static str); 2],
    ) -> impl FnOnce(netlink::Error) -> Self {
        let always = [
            (Errno::EEXIST, " (it is there already)"),
            (Errno::EPERM, " (CAP_NET_ADMIN is needed)"),
        ];
        move |source| {
            let mut hints = hints.into_iter().chain(always);
            let hint = hints.find(|(number, _)| errno(&source) == Some(*number));
            Self::Change {
                doing,
                object,
                hint: hint.map(|(_, text)| text),
                source,
            }
        }
    }
}

/// What the kernel refused with.
pub(super) const fn errno(error: &netlink::Error) -> Option<Errno> {
    match error {
        netlink::Error::Refused { errno, .. } => Some(*errno),
        _ => None,
    }
}
