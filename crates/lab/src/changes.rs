//! Changes of a file or folder, awaited.

use std::io::{self, ErrorKind};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe;

use crate::descriptor;

/// A watch on one path. What changed is not told: look at it again.
#[derive(Debug)]
pub(crate) struct Changes {
    events: pipe::Receiver,
}

impl Changes {
    /// Watches `path` for `what` from now on.
    pub(crate) fn of(path: &Path, what: AddWatchFlags) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        inotify.add_watch(path, what)?;
        Ok(Self {
            events: descriptor::reader(inotify)?,
        })
    }

    /// Waits for a change since the last call; several count as one.
    pub(crate) async fn next(&self) -> io::Result<()> {
        self.events.readable().await?;
        let mut buffer = [0; 4096];
        loop {
            match self.events.try_read(&mut buffer) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
