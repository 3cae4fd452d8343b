use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use serde::Deserialize;
use tokio::net::unix::pipe;

use crate::descriptor;

/// The master's end of a pseudo-terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    master: OwnedFd,
}

/// A size as kubectl sends it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

impl Terminal {
    pub(super) fn new(master: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_truncate(fcntl(&master, FcntlArg::F_GETFL)?);
        fcntl(&master, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        fcntl(&master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        Ok(Self { master })
    }

    /// What is typed.
    pub(super) fn input(&self) -> io::Result<pipe::Sender> {
        descriptor::writer(&self.master)
    }

    /// What is shown. It ends with an error (EIO) when the last process has
    /// closed its side.
    pub(super) fn output(&self) -> io::Result<pipe::Receiver> {
        descriptor::reader(&self.master)
    }

    /// Takes the size from a message of the resize channel; one that cannot be
    /// understood changes nothing.
    pub(super) fn resize(&self, message: &[u8]) {
        let Ok(size) = serde_json::from_slice::<Size>(message) else {
            return;
        };
        if let Err(error) = podway_kernel::terminal::resize(&self.master, size.width, size.height) {
            tracing::debug!(%error, "terminal cannot be resized");
        }
    }
}
