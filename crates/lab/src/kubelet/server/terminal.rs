use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::Deserialize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The master's end of a pseudo-terminal. Clones are the same end.
#[derive(Debug, Clone)]
pub(super) struct Terminal {
    master: Arc<AsyncFd<OwnedFd>>,
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
        let flags = fcntl(&master, FcntlArg::F_GETFL)?;
        let flags = OFlag::from_bits_truncate(flags) | OFlag::O_NONBLOCK;
        fcntl(&master, FcntlArg::F_SETFL(flags))?;
        fcntl(&master, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
        Ok(Self {
            master: Arc::new(AsyncFd::new(master)?),
        })
    }

    /// Takes the size from a message of the resize channel; one that cannot be
    /// understood changes nothing.
    pub(super) fn resize(&self, message: &[u8]) {
        let Ok(size) = serde_json::from_slice::<Size>(message) else {
            return;
        };
        if let Err(error) =
            podway_kernel::terminal::resize(self.master.get_ref(), size.width, size.height)
        {
            tracing::debug!(%error, "terminal cannot be resized");
        }
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut readable = ready!(self.master.poll_read_ready(context))?;
            let space = buffer.initialize_unfilled();
            let result = readable.try_io(|master| Ok(nix::unistd::read(master.get_ref(), space)?));
            // Otherwise it was not readable after all: wait again.
            if let Ok(result) = result {
                return Poll::Ready(result.map(|length| buffer.advance(length)));
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut writable = ready!(self.master.poll_write_ready(context))?;
            let result = writable.try_io(|master| Ok(nix::unistd::write(master.get_ref(), data)?));
            if let Ok(result) = result {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
