use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV6, UdpSocket as StdUdpSocket};
use std::os::fd::AsRawFd;

use nix::libc::in6_pktinfo;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, SockaddrStorage, recvmsg, sendmsg,
    setsockopt, sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A UDP socket that answers from the address that a datagram was sent to.
///
/// A host with several addresses would otherwise answer from the one that its
/// route prefers, and the client, or the connection tracking in between, would
/// not know the answer for its own.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: UdpSocket,
}

/// A datagram that was received.
#[derive(Debug)]
pub(super) struct Datagram {
    /// How many bytes of the buffer it fills.
    pub(super) length: usize,
    /// Who sent it.
    pub(super) client: SocketAddr,
    /// Where it was sent to; unknown on an IPv4 socket.
    destination: Option<in6_pktinfo>,
}

impl Datagrams {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = StdUdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
        })
    }

    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        self.socket
            .async_io(Interest::READABLE, || self.try_receive(buffer))
            .await
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        let mut space = nix::cmsg_space!(in6_pktinfo);
        let mut slices = [IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::empty(),
        )?;
        let destination = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(info),
            _ => None,
        });
        let client = message.address.as_ref().and_then(socket_address);
        Ok(Datagram {
            length: message.bytes,
            client: client.ok_or_else(|| io::Error::other("a datagram without a sender"))?,
            destination,
        })
    }

    pub(super) async fn answer(&self, to: &Datagram, answer: &[u8]) -> io::Result<()> {
        let destination = to.destination.map(|info| in6_pktinfo {
            // Any interface: the route back decides, as for TCP.
            ipi6_ifindex: 0,
            ..info
        });
        let control: Vec<_> = destination
            .iter()
            .map(ControlMessage::Ipv6PacketInfo)
            .collect();
        let client = SockaddrStorage::from(to.client);
        self.socket
            .async_io(Interest::WRITABLE, || {
                sendmsg(
                    self.socket.as_raw_fd(),
                    &[IoSlice::new(answer)],
                    &control,
                    MsgFlags::empty(),
                    Some(&client),
                )
                .map_err(io::Error::from)
            })
            .await
            .map(drop)
    }
}

fn socket_address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v6 = |address: &SockaddrIn6| SocketAddr::V6(SocketAddrV6::from(*address));
    storage
        .as_sockaddr_in6()
        .map(v6)
        .or_else(|| Some(SocketAddr::V4((*storage.as_sockaddr_in()?).into())))
}
