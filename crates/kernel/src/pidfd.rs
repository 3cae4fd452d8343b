//! Processes held by descriptor: a process id can be given to another process
//! at any time, a descriptor (`pidfd_open(2)`) cannot.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

/// A process that is held. The descriptor becomes readable when it ends.
#[derive(Debug)]
pub struct PidFd {
    descriptor: OwnedFd,
}

impl PidFd {
    /// Takes hold of a process; `None` where there is none with this id.
    ///
    /// # Errors
    /// What `pidfd_open(2)` says, out of descriptors for example.
    pub fn open(pid: i32) -> io::Result<Option<Self>> {
        // SAFETY: pidfd_open takes two integers and returns a new descriptor,
        // close-on-exec by itself.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let Ok(descriptor) = i32::try_from(result) else {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        };
        if descriptor < 0 {
            return match Errno::last() {
                // EINVAL: the id of a thread that leads no process, or not positive.
                Errno::ESRCH | Errno::EINVAL => Ok(None),
                errno => Err(errno.into()),
            };
        }
        // SAFETY: the descriptor was just returned to us and belongs to nobody else.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Some(Self { descriptor }))
    }

    /// Sends a signal. Whether the process was still there.
    ///
    /// # Errors
    /// Not permitted, for a process of somebody else.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        // SAFETY: pidfd_send_signal takes a descriptor that we hold, integers,
        // and a null pointer where it would take a siginfo.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.descriptor.as_raw_fd(),
                signal as i32,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        match Errno::result(result) {
            Ok(_) => Ok(true),
            Err(Errno::ESRCH) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until the process has ended, for at most `limit`. Whether it has.
    ///
    /// # Errors
    /// What `poll(2)` says.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        loop {
            let mut watched = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
            match poll(&mut watched, timeout) {
                Ok(ended) => return Ok(ended > 0),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }
}
