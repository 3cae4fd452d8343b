//! Changes of files, as the kernel notifies of them (inotify(7)).
//!
//! Folders are watched, not files: editors and ConfigMap volumes put a new file
//! in an old one's place, and a watch of the old one would hear of nothing.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Whatever can put another content at a path.
const EVENTS: u32 = libc::IN_CLOSE_WRITE
    | libc::IN_MOVED_TO
    | libc::IN_MOVED_FROM
    | libc::IN_CREATE
    | libc::IN_DELETE
    | libc::IN_ATTRIB
    | libc::IN_ONLYDIR;

/// Folders that are watched.
#[derive(Debug)]
pub struct FolderWatch {
    events: File,
}

impl FolderWatch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// What `inotify_init1(2)` says: too many instances, perhaps.
    pub fn open() -> io::Result<Self> {
        // SAFETY: a system call without pointers.
        let descriptor = Errno::result(unsafe { libc::inotify_init1(libc::IN_CLOEXEC) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self {
            events: File::from(owned),
        })
    }

    /// Watches a folder too. One that is watched already stays so.
    ///
    /// # Errors
    /// What `inotify_add_watch(2)` says: no such folder, too many watches.
    pub fn add(&mut self, folder: &Path) -> io::Result<()> {
        let path = CString::new(folder.as_os_str().as_bytes())?;
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&self.events);
        // SAFETY: the path is a C string that outlives the call.
        let watch = unsafe { libc::inotify_add_watch(descriptor, path.as_ptr(), EVENTS) };
        Errno::result(watch)?;
        Ok(())
    }

    /// Waits until something happens in the folders, and then until nothing has
    /// for a while: many writes are one change.
    ///
    /// # Errors
    /// Failures of reading.
    pub fn wait(&mut self, quiet: Duration) -> io::Result<()> {
        let mut buffer = [0; 4096];
        // Waits; a signal is no event.
        loop {
            match self.events.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome.map(drop)?,
            }
        }
        let quiet = PollTimeout::try_from(quiet).unwrap_or(PollTimeout::MAX);
        loop {
            let mut waiting = [PollFd::new(self.events.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waiting, quiet) {
                Ok(0) => return Ok(()),
                Ok(_) => {
                    // What the events say does not matter, only that there were any.
                    let _length = self.events.read(&mut buffer)?;
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
