//! TUN devices: interfaces whose packets a process reads and writes
//! (`/dev/net/tun`, Documentation/networking/tuntap.rst).
//!
//! Several queues, and a header before each packet (`struct virtio_net_hdr`)
//! that lets TCP and UDP packets of up to 64 KiB through in one piece, to be
//! split where they leave the machine.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;

use crate::route::check_interface_name;

/// Length of the header before each packet (`struct virtio_net_hdr`,
/// linux/virtio_net.h).
pub const HEADER: usize = 10;

/// The largest packet, with its header.
pub const MOST: usize = HEADER + 65_535;

const PATH: &str = "/dev/net/tun";

/// `TUN_F_*` of linux/if_tun.h: what we take in one piece. Partial checksums,
/// TCP segments of either family (also with ECN), UDP segments.
const CHECKSUMS: libc::c_uint = 0x01;
const TCP: libc::c_uint = 0x02 | 0x04 | 0x08;
const UDP: libc::c_uint = 0x20 | 0x40;

/// Why a TUN device could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device file is not there or cannot be opened.
    #[error(
        "cannot open {PATH}: load the module tun, or build the kernel with CONFIG_TUN (in a container, the file has to be there)"
    )]
    Open(#[source] io::Error),
    /// A name that no interface can have.
    #[error("cannot make TUN device {name}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: Box<crate::route::Error>,
    },
    /// The kernel refused.
    #[error("cannot {operation} TUN device {name}{}", hint(source))]
    Refused {
        /// What was attempted.
        operation: &'static str,
        /// The device.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EBUSY) => " (another process has it open)",
        Some(libc::EPERM) => " (is CAP_NET_ADMIN there?)",
        _ => "",
    }
}

/// A device with the queues that this process has open. The interface itself
/// stays when they are closed, and is deleted as any other.
#[derive(Debug)]
pub struct Tun {
    /// At least one.
    pub queues: Vec<Queue>,
    /// Whether UDP packets may be in one piece as well (since Linux 6.2).
    pub splits_udp: bool,
}

/// One queue. Reading and writing never wait.
#[derive(Debug)]
pub struct Queue(File);

impl Tun {
    /// Opens the device of this name in the calling thread's network namespace,
    /// or makes it. A new one is down and has no address.
    ///
    /// # Errors
    /// [`Error`]. A device of the name that is no TUN device with several
    /// queues is refused (`EINVAL`).
    pub fn open(name: &str, queues: usize) -> Result<Self, Error> {
        check_interface_name(name).map_err(|source| Error::Name {
            name: name.to_owned(),
            source: Box::new(source),
        })?;
        let mut opened = Vec::with_capacity(queues);
        for _ in 0..queues.max(1) {
            opened.push(Queue::open(name)?);
        }
        let first = &opened[0];
        let splits_udp = first.offload(CHECKSUMS | TCP | UDP).is_ok();
        if !splits_udp {
            first
                .offload(CHECKSUMS | TCP)
                .map_err(refused("set the offloads of", name))?;
        }
        first
            .control(TUNSETPERSIST, 1)
            .map_err(refused("keep", name))?;
        Ok(Self {
            queues: opened,
            splits_udp,
        })
    }
}

/// `TUNSETPERSIST` and `TUNSETOFFLOAD` take an integer (`_IOW('T', n, int)`).
const TUNSETPERSIST: libc::Ioctl = 0x4004_54cb;
const TUNSETOFFLOAD: libc::Ioctl = 0x4004_54d0;
/// `TUNSETIFF` takes a `struct ifreq` (`_IOW('T', 202, int)`, by tradition).
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;

impl Queue {
    fn open(name: &str) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(PATH)
            .map_err(Error::Open)?;
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
        // SAFETY: `ifreq` is plain old data, for which all zeroes is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        // The flags are 16 bits wide in this structure.
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes a `struct ifreq`, which outlives
        // the call; its name ends with a zero, for it is at most 15 bytes long.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) };
        Errno::result(result)
            .map_err(io::Error::from)
            .map_err(refused("make or open", name))?;
        Ok(Self(file))
    }

    fn offload(&self, flags: libc::c_uint) -> io::Result<()> {
        self.control(TUNSETOFFLOAD, flags)
    }

    fn control(&self, request: libc::Ioctl, value: libc::c_uint) -> io::Result<()> {
        let value = libc::c_ulong::from(value);
        // SAFETY: both requests take an integer by value.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request, value) };
        Errno::result(result).map(drop).map_err(io::Error::from)
    }

    /// Takes one packet with its header, and returns their length; a buffer of
    /// [`MOST`] bytes holds any.
    ///
    /// # Errors
    /// `WouldBlock` where there is none; others where the device is gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    /// Gives one packet with its header, in parts.
    ///
    /// # Errors
    /// A header that does not fit the packet, a device that is down or gone.
    pub fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        (&self.0).write_vectored(parts).map(drop)
    }
}

/// Whether an error of a queue says that its device is no more.
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBADFD)
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn refused(operation: &'static str, name: &str) -> impl FnOnce(io::Error) -> Error {
    let name = name.to_owned();
    move |source| Error::Refused {
        operation,
        name,
        source,
    }
}
