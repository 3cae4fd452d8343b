//! Frames as they come in by any interface, and frames as they are to go out
//! (`packet(7)`, capability `CAP_NET_RAW`).
//!
//! What a socket takes is decided in the kernel, by a filter that is attached
//! before the first frame can come: nothing else is ever copied to us.

use std::io;
use std::mem::size_of;
use std::net::Ipv6Addr;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// The frames that a socket takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frames {
    /// ARP requests (RFC 826).
    ArpRequests,
    /// IPv6 neighbour solicitations without extension headers (RFC 4861).
    NeighbourSolicitations,
}

/// Why frames cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot take {what} from the network interfaces (is CAP_NET_RAW there?)")]
pub struct Error {
    what: Frames,
    #[source]
    source: io::Error,
}

/// Takes and sends frames of every interface of the network namespace in which
/// it was opened. Non-blocking.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

/// The longest frame that is taken whole; what was asked for is shorter.
pub const LONGEST: usize = 512;

impl Frames {
    const fn ethertype(self) -> u16 {
        match self {
            Self::ArpRequests => 0x0806,
            Self::NeighbourSolicitations => 0x86dd,
        }
    }

    /// Classic BPF over the Ethernet frame (`bpf(4)`): compare, one field after
    /// the other; the length to keep, or 0.
    fn filter(self) -> Vec<libc::sock_filter> {
        const HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
        const BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
        let fields: &[(u32, u32, u32)] = match self {
            Self::ArpRequests => &[(HALF, 12, 0x0806), (HALF, 20, 1)],
            Self::NeighbourSolicitations => &[(HALF, 12, 0x86dd), (BYTE, 20, 58), (BYTE, 54, 135)],
        };
        let mut program = Vec::new();
        for (index, (load, offset, value)) in fields.iter().enumerate() {
            // To the last instruction, which refuses: over the other tests, two
            // instructions each, and the one that accepts.
            let rest = u8::try_from((fields.len() - index - 1) * 2 + 1).unwrap_or(u8::MAX);
            program.push(instruction(*load, *offset, 0));
            let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
            program.push(instruction(equal, *value, rest));
        }
        let answer = libc::BPF_RET | libc::BPF_K;
        program.push(instruction(answer, u32::MAX, 0));
        program.push(instruction(answer, 0, 0));
        program
    }
}

/// An instruction; a comparison that fails skips `otherwise` instructions.
fn instruction(code: u32, value: u32, otherwise: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: u16::try_from(code).expect("BPF codes have 16 bits"),
        jt: 0,
        jf: otherwise,
        k: value,
    }
}

impl PacketSocket {
    /// Opens one in the calling thread's network namespace.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`, or in a kernel without `AF_PACKET`.
    pub fn open(what: Frames) -> Result<Self, Error> {
        open(what)
            .map(|socket| Self { socket })
            .map_err(|source| Error { what, source })
    }

    /// Takes a frame, if there is one: its interface and its length in `buffer`.
    /// Frames longer than the buffer are cut.
    ///
    /// # Errors
    /// An interface that went down says so once, and more come from others: the
    /// caller goes on.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(u32, usize)>> {
        let mut from = link_address(0, 0);
        let mut length = socklen::<libc::sockaddr_ll>();
        // SAFETY: the kernel writes at most `buffer.len()` bytes to the buffer and
        // at most `length` to the address; both outlive the call.
        let result = unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
                (&raw mut from).cast(),
                &raw mut length,
            )
        };
        match Errno::result(result) {
            Ok(count) => {
                let interface = u32::try_from(from.sll_ifindex).unwrap_or(0);
                Ok(Some((interface, usize::try_from(count).unwrap_or(0))))
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sends a whole frame by an interface.
    ///
    /// # Errors
    /// The interface is gone or down.
    pub fn send(&self, interface: u32, frame: &[u8]) -> io::Result<()> {
        let ethertype = frame.get(12..14).unwrap_or(&[0, 0]);
        let protocol = u16::from_be_bytes([ethertype[0], ethertype[1]]);
        let to = link_address(protocol, interface);
        // SAFETY: the kernel reads the frame and the address, which outlive the
        // call, within the lengths given.
        let result = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT,
                (&raw const to).cast(),
                socklen::<libc::sockaddr_ll>(),
            )
        };
        Errno::result(result).map(drop).map_err(io::Error::from)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open(what: Frames) -> io::Result<OwnedFd> {
    // Protocol 0 takes nothing: no frame is taken unfiltered before `bind`.
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is passed.
    let socket = Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let mut filter = what.filter();
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("a filter has a dozen instructions"),
        filter: filter.as_mut_ptr(),
    };
    // The program is copied by the kernel while `filter` is alive.
    set(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
    // What we send ourselves is no question (Linux 4.20).
    set(
        &socket,
        libc::SOL_PACKET,
        libc::PACKET_IGNORE_OUTGOING,
        &1_i32,
    )?;
    let address = link_address(what.ethertype(), 0);
    // SAFETY: the kernel reads an address that outlives the call.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            socklen::<libc::sockaddr_ll>(),
        )
    };
    Errno::result(result)?;
    Ok(socket)
}

fn set<T>(socket: &OwnedFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of a value that outlives
    // the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            socklen::<T>(),
        )
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// An interface (0: all) and what is on top of Ethernet there.
fn link_address(ethertype: u16, interface: u32) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET.unsigned_abs().try_into().unwrap_or(0),
        sll_protocol: ethertype.to_be(),
        sll_ifindex: interface.try_into().unwrap_or(0),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

fn socklen<T>() -> libc::socklen_t {
    size_of::<T>().try_into().unwrap_or(0)
}

/// The multicast groups that interfaces have joined, so that frames to them come
/// in. The kernel reports each membership (MLD, RFC 3810), so that switches
/// which listen for that pass the frames on.
#[derive(Debug)]
pub struct Groups(UdpSocket);

impl Groups {
    /// None yet, in the calling thread's network namespace.
    ///
    /// # Errors
    /// A kernel without IPv6.
    pub fn open() -> io::Result<Self> {
        UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).map(Self)
    }

    /// Joins a group on an interface, until this is dropped.
    ///
    /// # Errors
    /// The interface is gone, or is a member already.
    pub fn join(&self, interface: u32, group: Ipv6Addr) -> io::Result<()> {
        self.0.join_multicast_v6(&group, interface)
    }

    /// Leaves it again.
    ///
    /// # Errors
    /// The interface is gone, or is no member.
    pub fn leave(&self, interface: u32, group: Ipv6Addr) -> io::Result<()> {
        self.0.leave_multicast_v6(&group, interface)
    }
}

impl std::fmt::Display for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ArpRequests => "ARP requests",
            Self::NeighbourSolicitations => "neighbour solicitations",
        })
    }
}
