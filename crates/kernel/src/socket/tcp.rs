use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{Backlog, SockType, SockaddrStorage};
use nix::sys::socket::{connect as connect_to, listen as listen_on};

use super::{Error, Origin, bind_to, everywhere, is_taken, make_transparent, open, originate, set};

/// An idle connection is asked after this time whether it still lives, in
/// seconds, then this often, and given up after so many questions.
const IDLE: i32 = 120;
const INTERVAL: i32 = 30;
const PROBES: i32 = 4;

/// Listens for connections to any address of a family that rules hand to this
/// port (0: one that is free). Several may listen at one port and share what
/// comes. Their local address is what the client connects to.
///
/// # Errors
/// Names the address; `CAP_NET_ADMIN` is needed.
pub fn listen(family: IpAddr, port: u16) -> Result<TcpListener, Error> {
    let address = SocketAddr::new(everywhere(family), port);
    let listen = || -> io::Result<TcpListener> {
        let socket = open(family, SockType::Stream)?;
        make_transparent(&socket, family)?;
        set(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        bind_to(&socket, address)?;
        listen_on(&socket, Backlog::MAXALLOWABLE)?;
        Ok(socket.into())
    };
    listen().map_err(|source| Error {
        kind: "TCP",
        address,
        source,
    })
}

/// Takes a connection, and says who it is from.
///
/// # Errors
/// `WouldBlock` where there is none.
pub fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, client) = listener.accept()?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok((stream, client))
}

/// Begins to connect. The stream becomes writable when [`outcome`] can be asked.
///
/// # Errors
/// What is known at once: no route, no descriptor.
pub fn connect(to: SocketAddr, origin: &Origin) -> io::Result<TcpStream> {
    let begin = |keep_port| -> io::Result<OwnedFd> {
        let socket = originate(origin, to, SockType::Stream, keep_port)?;
        match connect_to(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
            Err(errno) => Err(errno.into()),
        }
    };
    let socket = match begin(true) {
        Err(error) if origin.source.is_some() && is_taken(&error) => begin(false)?,
        outcome => outcome?,
    };
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether a connection that has begun is there: false where it is still to
/// come.
///
/// # Errors
/// Why it will not come.
pub fn outcome(stream: &TcpStream) -> io::Result<bool> {
    match stream.take_error()? {
        Some(error) => Err(error),
        None => match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        },
    }
}

/// Lets the kernel find out when the other end is gone without a word.
///
/// # Errors
/// What `setsockopt(2)` says.
pub fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    set(stream, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set(stream, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, IDLE)?;
    set(stream, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, INTERVAL)?;
    set(stream, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, PROBES)
}

/// Ends a connection with a reset: the other end learns that something is lost.
pub fn end(stream: TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let length = libc::socklen_t::try_from(size_of_val(&linger)).unwrap_or(8);
    // SAFETY: SO_LINGER is a struct of this length, which outlives the call.
    // What it says does not matter: without it the connection ends in order.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            length,
        );
    }
    drop(stream);
}
