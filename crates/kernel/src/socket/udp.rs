use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::cmsg_space;
use nix::sys::socket::connect as connect_to;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockType, SockaddrStorage, recvmsg};

use super::{Error, Origin, bind_to, everywhere, is_taken, make_transparent, open, originate, set};

/// A burst waits here while another is worked on.
const RECEIVE_QUEUE: i32 = 4 << 20;

/// A datagram that [`receive`] took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Its length in bytes.
    pub length: usize,
    /// Who sent it.
    pub source: SocketAddr,
    /// Who it was sent to.
    pub destination: SocketAddr,
}

/// Waits for datagrams to any address of a family that rules hand to this port
/// (0: one that is free).
///
/// # Errors
/// Names the address; `CAP_NET_ADMIN` is needed.
pub fn take(family: IpAddr, port: u16) -> Result<UdpSocket, Error> {
    let address = SocketAddr::new(everywhere(family), port);
    let take = || -> io::Result<UdpSocket> {
        let socket = open(family, SockType::Datagram)?;
        make_transparent(&socket, family)?;
        match family {
            IpAddr::V4(_) => set(&socket, libc::SOL_IP, libc::IP_RECVORIGDSTADDR, 1)?,
            IpAddr::V6(_) => set(&socket, libc::SOL_IPV6, libc::IPV6_RECVORIGDSTADDR, 1)?,
        }
        set(
            &socket,
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            RECEIVE_QUEUE,
        )?;
        bind_to(&socket, address)?;
        Ok(socket.into())
    };
    take().map_err(|source| Error {
        kind: "UDP",
        address,
        source,
    })
}

/// Takes a datagram from a socket of [`take`]; what is longer than the buffer
/// is cut.
///
/// # Errors
/// `WouldBlock` where there is none.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut control = cmsg_space!(libc::sockaddr_in6);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    let destination = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4OrigDstAddr(address) => Some(SocketAddr::new(
            std::net::Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).into(),
            u16::from_be(address.sin_port),
        )),
        ControlMessageOwned::Ipv6OrigDstAddr(address) => Some(SocketAddr::new(
            std::net::Ipv6Addr::from(address.sin6_addr.s6_addr).into(),
            u16::from_be(address.sin6_port),
        )),
        _ => None,
    });
    let source = message.address.as_ref().and_then(address_of);
    match (source, destination) {
        (Some(source), Some(destination)) => Ok(Datagram {
            length: message.bytes,
            source,
            destination,
        }),
        _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

fn address_of(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(address) = storage.as_sockaddr_in() {
        return Some(SocketAddr::V4((*address).into()));
    }
    storage
        .as_sockaddr_in6()
        .map(|address| SocketAddr::V6((*address).into()))
}

/// A socket that answers as an address, whoever has it.
///
/// # Errors
/// A process of the host has the address and port and does not share them.
pub fn at(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(address.ip(), SockType::Datagram)?;
    make_transparent(&socket, address.ip())?;
    set(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    bind_to(&socket, address)?;
    Ok(socket.into())
}

/// A socket that exchanges datagrams with one endpoint.
///
/// # Errors
/// No route, no descriptor.
pub fn exchange(to: SocketAddr, origin: &Origin) -> io::Result<UdpSocket> {
    let begin = |keep_port| -> io::Result<OwnedFd> {
        let socket = originate(origin, to, SockType::Datagram, keep_port)?;
        connect_to(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
        Ok(socket)
    };
    let socket = match begin(true) {
        Err(error) if origin.source.is_some() && is_taken(&error) => begin(false)?,
        outcome => outcome?,
    };
    Ok(socket.into())
}
