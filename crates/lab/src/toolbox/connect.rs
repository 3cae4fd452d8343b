use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use podway_model::{IpFamily, Protocol};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::toolbox::sctp;

/// How an attempt to connect ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Ok,
    /// Nothing came back in time.
    Timeout,
    /// It was refused: a TCP reset or an ICMP error that says so.
    Refused,
    /// Something else: no route, an unknown host, no such protocol here.
    Other,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::Timeout => "TIMEOUT",
            Self::Refused => "REFUSED",
            Self::Other => "OTHER",
        })
    }
}

impl From<&io::Error> for Outcome {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Other,
        }
    }
}

/// Tries one connection to `target` (HOST:PORT) for at most `limit`. The error
/// is what [`Outcome::Other`] stands for.
pub(super) async fn connect(
    target: &str,
    protocol: Protocol,
    limit: Duration,
) -> (Outcome, Option<io::Error>) {
    match timeout(limit, attempt(target, protocol)).await {
        Ok(Ok(())) => (Outcome::Ok, None),
        Ok(Err(error)) => (Outcome::from(&error), Some(error)),
        Err(_) => (Outcome::Timeout, None),
    }
}

async fn attempt(target: &str, protocol: Protocol) -> io::Result<()> {
    let address = tokio::net::lookup_host(target)
        .await?
        .next()
        .ok_or_else(|| io::Error::other("the host has no address"))?;
    match protocol {
        Protocol::Tcp => TcpStream::connect(address).await.map(drop),
        Protocol::Sctp => sctp::connect(address).await.map(drop),
        Protocol::Udp => ask(address).await,
    }
}

/// UDP has no handshake: only an answer shows that somebody is there.
async fn ask(address: SocketAddr) -> io::Result<()> {
    let unspecified = match IpFamily::of(&address.ip()) {
        IpFamily::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpFamily::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((unspecified, 0)).await?;
    // Connected, so that ICMP errors come back as errors of this socket.
    socket.connect(address).await?;
    socket.send(b"hostname\n").await?;
    socket.recv(&mut [0; 1024]).await.map(drop)
}
