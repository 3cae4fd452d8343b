//! Questions and answers. An answer is the address at which it was asked and
//! the one that asked, as the answering host saw them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use podway_model::Protocol;

/// Longer than an answer takes, and than TCP waits to ask again.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is dropped shows itself by nothing. Too short a wait would make a wrong
/// rule look right only where an answer takes longer than this.
const SILENCE: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Who answered, and whom it saw.
    From { answered: SocketAddr, saw: IpAddr },
    /// A reset, or ICMP port unreachable.
    Refused,
    /// Nothing came back.
    Silence,
}

/// A question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) from: IpAddr,
    pub(super) to: SocketAddr,
    pub(super) is_udp: bool,
}

/// Answers until the process ends.
pub(super) fn listen(at: SocketAddr, protocol: Protocol) {
    match protocol {
        Protocol::Tcp => {
            let listener = TcpListener::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
            thread::spawn(move || listener.incoming().flatten().for_each(greet));
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
            thread::spawn(move || {
                while let Ok((_, peer)) = socket.recv_from(&mut [0; 8]) {
                    let _ = socket.send_to(format!("{at} {}", peer.ip()).as_bytes(), peer);
                }
            });
        }
        Protocol::Sctp => {}
    }
}

fn greet(mut stream: TcpStream) {
    if let (Ok(at), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) {
        let _ = stream.write_all(format!("{at} {}", peer.ip()).as_bytes());
    }
}

impl Ask {
    /// In the client's namespace, where an answer of some kind is expected.
    pub(super) fn patiently(&self, port: u16) -> Answer {
        self.within(PATIENCE, port)
    }

    /// The same where none is.
    pub(super) fn briefly(&self, port: u16) -> Answer {
        self.within(SILENCE, port)
    }

    fn within(&self, patience: Duration, port: u16) -> Answer {
        let from = SocketAddr::new(self.from, port);
        let text = if self.is_udp {
            self.by_datagram(from, patience)
        } else {
            self.by_connection(from, patience)
        };
        match text {
            Ok(text) => {
                let (answered, saw) = text.split_once(' ').expect("an answer");
                Answer::From {
                    answered: answered.parse().expect("an address"),
                    saw: saw.parse().expect("an address"),
                }
            }
            Err(error) => match error.kind() {
                ErrorKind::ConnectionRefused => Answer::Refused,
                ErrorKind::TimedOut | ErrorKind::WouldBlock => Answer::Silence,
                // The node's own datagrams are dropped where it sends them.
                ErrorKind::PermissionDenied => Answer::Silence,
                _ if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => Answer::Silence,
                _ => panic!("neither answered nor refused: {self:?}: {error}"),
            },
        }
    }

    fn by_datagram(&self, from: SocketAddr, patience: Duration) -> std::io::Result<String> {
        let socket = UdpSocket::bind(from)?;
        socket.connect(self.to)?;
        socket.set_read_timeout(Some(patience))?;
        socket.send(b"?")?;
        let mut bytes = [0; 128];
        let length = socket.recv(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    fn by_connection(&self, from: SocketAddr, patience: Duration) -> std::io::Result<String> {
        let mut stream = connected(from, self.to, patience)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }
}

/// A connection from an address and port of the test's own choice.
pub(super) fn connected(
    from: SocketAddr,
    to: SocketAddr,
    patience: Duration,
) -> std::io::Result<TcpStream> {
    let family = if from.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let made = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&made, sockopt::ReuseAddr, &true)?;
    let patience = TimeVal::milliseconds(i64::try_from(patience.as_millis()).expect("seconds"));
    setsockopt(&made, sockopt::SendTimeout, &patience)?;
    let raw = std::os::fd::AsRawFd::as_raw_fd(&made);
    bind(raw, &SockaddrStorage::from(from))?;
    connect(raw, &SockaddrStorage::from(to))?;
    Ok(TcpStream::from(made))
}
