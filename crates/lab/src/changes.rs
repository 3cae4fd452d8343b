//! Changes of a file or folder, awaited.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

/// A watch on one path. What changed is not told: look at it again.
#[derive(Debug)]
pub(crate) struct Changes {
    descriptor: AsyncFd<OwnedFd>,
}

impl Changes {
    /// Watches `path` for `what` from now on.
    pub(crate) fn of(path: &Path, what: AddWatchFlags) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        inotify.add_watch(path, what)?;
        let descriptor = inotify.as_fd().try_clone_to_owned()?;
        Ok(Self {
            descriptor: AsyncFd::new(descriptor)?,
        })
    }

    /// Waits for a change since the last call; several count as one.
    pub(crate) async fn next(&self) -> io::Result<()> {
        let mut readable = self.descriptor.readable().await?;
        let mut buffer = [0; 4096];
        loop {
            match nix::unistd::read(self.descriptor.get_ref(), &mut buffer) {
                Ok(_) => {}
                Err(Errno::EAGAIN) => {
                    readable.clear_ready();
                    return Ok(());
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
