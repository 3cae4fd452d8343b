//! UDP for tunnels: many datagrams in one system call, and trains of datagrams
//! of one length as one piece (`UDP_SEGMENT`, `UDP_GRO` of linux/udp.h).

use std::io::{self, IoSlice};
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, SockaddrStorage,
    sendto, socket,
};

use super::{Error, bind_to, open, set};

/// The most datagrams in a train, and the most bytes of it: what kernels since
/// 4.18 take (`UDP_MAX_SEGMENTS`), and what fits a UDP length.
pub const MOST_SEGMENTS: usize = 64;
/// See [`MOST_SEGMENTS`].
pub const MOST_BYTES: usize = 65_535 - 40 - 8;

/// A burst waits here while another is worked on, in both directions.
const QUEUE: i32 = 8 << 20;

/// Room for the one control message of either direction, with its alignment.
type Control = [u64; 8];
const CONTROL: usize = size_of::<Control>();

/// A train of datagrams to one destination.
#[derive(Debug, Clone, Copy)]
pub struct Train<'a> {
    /// Where to.
    pub to: SocketAddr,
    /// The bytes, in parts; all together at most [`MOST_BYTES`].
    pub parts: &'a [IoSlice<'a>],
    /// The length of each datagram, of which the last may be shorter; `None`
    /// sends a single one. At most [`MOST_SEGMENTS`].
    pub segment: Option<u16>,
}

/// Opens sockets that share an address, each for a thread of its own. A
/// datagram that carries an IP packet comes to one of them by the packet's
/// addresses and ports, so that the packets of one connection stay in order.
///
/// # Errors
/// Names the address: it is not the host's, or somebody has the port.
pub fn open_tunnel(local: SocketAddr, count: usize) -> Result<Vec<UdpSocket>, Error> {
    let open_all = || -> io::Result<Vec<UdpSocket>> {
        let mut sockets = Vec::with_capacity(count);
        for _ in 0..count.max(1) {
            let socket = open_one(local, count > 1)?;
            if sockets.is_empty() && count > 1 {
                spread(&socket, local.ip(), count)?;
            }
            sockets.push(socket.into());
        }
        Ok(sockets)
    };
    open_all().map_err(|source| Error {
        kind: "UDP",
        address: local,
        source,
    })
}

fn open_one(local: SocketAddr, is_shared: bool) -> io::Result<OwnedFd> {
    let socket = open(local.ip(), SockType::Datagram)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, QUEUE)?;
    set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, QUEUE)?;
    if is_shared {
        set(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    // A tunnel's packets may be fragmented on the way, as those of the kernel's.
    match local.ip() {
        IpAddr::V4(_) => set(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, 0)?,
        IpAddr::V6(_) => set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, 0)?,
    }
    // Without it (before Linux 5.0) datagrams come one by one.
    let _ = set(&socket, libc::SOL_UDP, libc::UDP_GRO, 1);
    bind_to(&socket, local)?;
    Ok(socket)
}

/// Chooses the socket of a group by a datagram's first bytes.
fn spread(socket: &OwnedFd, family: IpAddr, count: usize) -> io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const STORE: u16 = libc::BPF_ST as u16;
    const LOAD_X: u16 = (libc::BPF_LDX | libc::BPF_MEM) as u16;
    const XOR_X: u16 = (libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X) as u16;
    const MULTIPLY: u16 = (libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K) as u16;
    const SHIFT: u16 = (libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K) as u16;
    const MODULO: u16 = (libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_A) as u16;
    // The ends of both addresses, and the ports where there are no options.
    let words: [u32; 3] = match family {
        IpAddr::V4(_) => [12, 16, 20],
        IpAddr::V6(_) => [20, 36, 40],
    };
    let step = |code, k| libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    };
    let mut program = vec![step(LOAD, words[0])];
    for word in &words[1..] {
        program.extend([step(STORE, 0), step(LOAD, *word)]);
        program.extend([step(LOAD_X, 0), step(XOR_X, 0)]);
    }
    let count = u32::try_from(count).unwrap_or(1);
    program.extend([step(MULTIPLY, 0x9e37_79b1), step(SHIFT, 16)]);
    program.extend([step(MODULO, count), step(RETURN, 0)]);
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(0),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the option is a `struct sock_fprog`, which with its instructions
    // outlives the call; the kernel checks and copies them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            length_of::<libc::sock_fprog>(),
        )
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// Sends trains in order, and returns how many were sent: fewer than all where
/// the next one failed, which the next call tells. Waits for room.
///
/// # Errors
/// Why the first was not sent: no route, no such neighbour, or trains are not
/// possible there (`EINVAL`, `EMSGSIZE`, `EIO`), and single datagrams may be.
pub fn send(socket: &UdpSocket, trains: &[Train<'_>]) -> io::Result<usize> {
    let mut places: Vec<Place> = trains.iter().map(Place::of).collect();
    let mut messages: Vec<libc::mmsghdr> = trains
        .iter()
        .zip(&mut places)
        .map(|(train, place)| place.message(train))
        .collect();
    loop {
        let count = libc::c_uint::try_from(messages.len()).unwrap_or(libc::c_uint::MAX);
        // SAFETY: the messages, and the addresses, control messages and parts
        // that they point to, outlive the call.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        match Errno::result(sent) {
            Ok(sent) => return Ok(usize::try_from(sent).unwrap_or(0)),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait_for_room(socket)?,
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn wait_for_room(socket: &UdpSocket) -> io::Result<()> {
    let mut wanted = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one descriptor, in a struct that outlives the call.
    match Errno::result(unsafe { libc::poll(&raw mut wanted, 1, -1) }) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// What a message to send points to.
struct Place {
    address: SockaddrStorage,
    control: Control,
}

impl Place {
    fn of(train: &Train<'_>) -> Self {
        Self {
            address: SockaddrStorage::from(train.to),
            control: [0; 8],
        }
    }

    fn message(&mut self, train: &Train<'_>) -> libc::mmsghdr {
        // SAFETY: plain old data, for which all zeroes is a value.
        let mut message: libc::mmsghdr = unsafe { zeroed() };
        let header = &mut message.msg_hdr;
        // The kernel does not write to what it sends.
        header.msg_name = self.address.as_ptr().cast_mut().cast();
        header.msg_namelen = self.address.len();
        header.msg_iov = train.parts.as_ptr().cast_mut().cast();
        header.msg_iovlen = train.parts.len() as _;
        if let Some(segment) = train.segment {
            header.msg_control = (&raw mut self.control).cast();
            header.msg_controllen = CONTROL as _;
            // SAFETY: the control buffer is aligned, zeroed and has room for a
            // header and two bytes, which CMSG_SPACE says; the length that is
            // set last covers exactly those.
            unsafe {
                let first = libc::CMSG_FIRSTHDR(header);
                (*first).cmsg_level = libc::SOL_UDP;
                (*first).cmsg_type = libc::UDP_SEGMENT;
                (*first).cmsg_len = libc::CMSG_LEN(2) as _;
                libc::CMSG_DATA(first)
                    .cast::<u16>()
                    .write_unaligned(segment);
                header.msg_controllen = libc::CMSG_SPACE(2) as _;
            }
        }
        message
    }
}

/// Sends whole packets as the host (`raw(7)`, capability `CAP_NET_RAW`): they
/// are routed as its own, which those that come in by a device are not when the
/// host's address is their source.
#[derive(Debug)]
pub struct RawSender(OwnedFd);

impl RawSender {
    /// Opens a socket of an address's family.
    ///
    /// # Errors
    /// Without the capability.
    pub fn open(family: IpAddr) -> io::Result<Self> {
        let family = match family {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        Ok(Self(socket(
            family,
            SockType::Raw,
            flags,
            SockProtocol::Raw,
        )?))
    }

    /// Sends a packet with its IP header to where that says, which is `to`.
    ///
    /// # Errors
    /// No route, or no room.
    pub fn send(&self, packet: &[u8], to: IpAddr) -> io::Result<()> {
        let to = SockaddrStorage::from(SocketAddr::new(to, 0));
        sendto(self.0.as_raw_fd(), packet, &to, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }
}

/// Buffers for datagrams, used again and again.
pub struct Receiver {
    buffers: Vec<Box<[u8]>>,
    places: Vec<(libc::sockaddr_storage, Control)>,
    received: Vec<Received>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("buffers", &self.buffers.len())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
struct Received {
    length: usize,
    segment: usize,
    source: Option<SocketAddr>,
}

impl Receiver {
    /// Room for so many trains at once.
    #[must_use]
    pub fn new(count: usize) -> Self {
        // SAFETY: plain old data, for which all zeroes is a value.
        let address = unsafe { zeroed() };
        Self {
            buffers: vec![vec![0; 65_536].into_boxed_slice(); count],
            places: vec![(address, [0; 8]); count],
            received: Vec::with_capacity(count),
        }
    }

    /// Takes what is there, without waiting, and returns how many trains it
    /// was. What the receiver held before is gone.
    ///
    /// # Errors
    /// `WouldBlock` where there is nothing. Otherwise it may be the answer of
    /// some host to what was sent before.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.received.clear();
        let mut parts: Vec<libc::iovec> = self.buffers.iter_mut().map(|b| part_of(b)).collect();
        let places = self.places.iter_mut().zip(&mut parts);
        let mut messages: Vec<libc::mmsghdr> = places
            .map(|((address, control), part)| empty_message(address, control, part))
            .collect();
        let count = libc::c_uint::try_from(messages.len()).unwrap_or(libc::c_uint::MAX);
        // SAFETY: the messages, and the buffers, addresses and control buffers
        // that they point to with their lengths, outlive the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(Errno::result(received)?).unwrap_or(0);
        let filled = messages.iter().take(received).zip(&self.places);
        self.received.extend(filled.map(|(message, (address, _))| {
            let length = message.msg_len as usize;
            Received {
                length,
                segment: segment_of(&message.msg_hdr).unwrap_or(length).max(1),
                source: address_of(address),
            }
        }));
        Ok(received)
    }

    /// The datagrams that are held, with their sender's address, in order.
    pub fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let trains = self.received.iter().zip(&self.buffers);
        trains.flat_map(|(received, buffer)| {
            let datagrams = buffer[..received.length.min(buffer.len())].chunks(received.segment);
            let source = received.source;
            datagrams.filter_map(move |datagram| Some((source?, datagram)))
        })
    }
}

fn part_of(buffer: &mut [u8]) -> libc::iovec {
    libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    }
}

fn empty_message(
    address: &mut libc::sockaddr_storage,
    control: &mut Control,
    part: &mut libc::iovec,
) -> libc::mmsghdr {
    // SAFETY: plain old data, for which all zeroes is a value.
    let mut message: libc::mmsghdr = unsafe { zeroed() };
    let header = &mut message.msg_hdr;
    header.msg_name = std::ptr::from_mut(address).cast();
    header.msg_namelen = length_of::<libc::sockaddr_storage>();
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header.msg_control = std::ptr::from_mut(control).cast();
    header.msg_controllen = CONTROL as _;
    message
}

/// The length of a train's datagrams, where it is one.
fn segment_of(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel wrote the control messages and their length into a
    // buffer that is still there; CMSG_FIRSTHDR and CMSG_NXTHDR stay inside.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while let Some(message) = control.as_ref() {
            if message.cmsg_level == libc::SOL_UDP && message.cmsg_type == libc::UDP_GRO {
                let data = libc::CMSG_DATA(control).cast::<libc::c_int>();
                return usize::try_from(data.read_unaligned()).ok();
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    None
}

fn address_of(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says what was written; sizes and alignment fit.
            let name = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some((ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let name = unsafe { &*std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some((ip, u16::from_be(name.sin6_port)).into())
        }
        _ => None,
    }
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}
