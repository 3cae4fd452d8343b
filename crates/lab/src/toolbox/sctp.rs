//! SCTP in its one-to-one style, in which a socket behaves as a TCP one does
//! (RFC 6458 section 4).

use std::io;
use std::net::SocketAddr;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind,
    connect as start_connect, listen as start_listen, setsockopt, socket, sockopt,
};
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::net::{TcpListener, TcpStream};

/// Listens on an address.
///
/// # Errors
/// Protocol not supported, where the kernel has no SCTP.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    start_listen(&socket, Backlog::MAXCONN)?;
    TcpListener::from_std(std::net::TcpListener::from(socket))
}

/// Connects to an address.
pub(super) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = open(address)?;
    match start_connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(errno) => return Err(errno.into()),
    }
    let stream = TcpStream::from_std(std::net::TcpStream::from(socket))?;
    // Writable once the association is up or has failed, as with TCP.
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

fn open(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(socket(family, SockType::Stream, flags, SockProtocol::Sctp)?)
}
