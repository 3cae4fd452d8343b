use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;

/// What a pipe is asked to hold. The kernel gives a process without
/// `CAP_SYS_RESOURCE` less once its user has many.
const CAPACITY: i32 = 1 << 20;

/// A buffer in the kernel: bytes go from one socket to another through it
/// without coming to this process (`splice(2)`).
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
}

impl Pipe {
    /// An empty pipe.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn new() -> io::Result<Self> {
        let (read, write) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        let fd = write.as_raw_fd();
        // SAFETY: F_SETPIPE_SZ takes an integer. Where it is refused, the pipe
        // stays as large as it is, which F_GETPIPE_SZ tells.
        let capacity = unsafe {
            libc::fcntl(fd, libc::F_SETPIPE_SZ, CAPACITY);
            libc::fcntl(fd, libc::F_GETPIPE_SZ)
        };
        Ok(Self {
            read,
            write,
            capacity: usize::try_from(capacity).unwrap_or(0),
        })
    }

    /// How many bytes it holds at most. Small packets fill it with fewer.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes in what a socket has received, at most so many bytes; 0 is its end.
    ///
    /// # Errors
    /// `WouldBlock` where there is nothing to read, or the pipe is full.
    pub fn fill(&self, from: &impl AsFd, most: usize) -> io::Result<usize> {
        splice(from, &self.write, most)
    }

    /// Gives a socket to send what the pipe holds, at most so many bytes.
    ///
    /// # Errors
    /// `WouldBlock` where the socket takes no more for now.
    pub fn drain(&self, to: &impl AsFd, most: usize) -> io::Result<usize> {
        splice(&self.read, to, most)
    }
}

fn splice(from: &impl AsFd, to: &impl AsFd, most: usize) -> io::Result<usize> {
    loop {
        // SAFETY: splice takes two descriptors that are borrowed for the call,
        // no offsets (neither end is a file), a length and flags.
        let moved = unsafe {
            libc::splice(
                from.as_fd().as_raw_fd(),
                std::ptr::null_mut(),
                to.as_fd().as_raw_fd(),
                std::ptr::null_mut(),
                most,
                libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE,
            )
        };
        match Errno::result(moved) {
            Err(Errno::EINTR) => {}
            outcome => return Ok(usize::try_from(outcome?).unwrap_or(0)),
        }
    }
}
