//! Notifications: what anybody changes in a namespace.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::address::Address;
use super::error::{Error, Result};
use super::link::{Link, LinkIndex};
use super::neighbour::{FdbEntry, Neighbour, destination_of};
use super::routes::Route;
use super::rule::Rule;
use super::socket::decode;
use crate::netlink::{self, Bus, Socket};

/// What to be told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Interfaces.
    Link,
    /// Addresses of both families.
    Address,
    /// Routes of both families.
    Route,
    /// Neighbours and forwarding entries.
    Neighbour,
    /// Rules of both families.
    Rule,
}

impl Group {
    /// RTNLGRP_*.
    const fn numbers(self) -> &'static [u32] {
        match self {
            Self::Link => &[libc::RTNLGRP_LINK],
            Self::Address => &[libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR],
            Self::Route => &[libc::RTNLGRP_IPV4_ROUTE, libc::RTNLGRP_IPV6_ROUTE],
            Self::Neighbour => &[libc::RTNLGRP_NEIGH],
            Self::Rule => &[libc::RTNLGRP_IPV4_RULE, libc::RTNLGRP_IPV6_RULE],
        }
    }
}

/// What happened. `true` where the thing exists now, `false` where it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notification {
    /// An interface.
    Link(bool, Link),
    /// An address.
    Address(bool, Address),
    /// A route.
    Route(bool, Route),
    /// A permanent neighbour, or one of any kind that is gone (the kernel does
    /// not say any more what kind it was).
    Neighbour(bool, LinkIndex, IpAddr),
    /// A permanent forwarding entry.
    Fdb(bool, FdbEntry),
    /// A rule.
    Rule(bool, Rule),
    /// Something was lost (the socket's buffer was full, or a message could
    /// not be read): only a new dump tells what is there.
    Lost,
}

/// A subscription to one namespace's changes, our own included.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    /// With the port of the socket that caused it.
    pending: VecDeque<(Notification, u32)>,
}

impl Monitor {
    /// Subscribes in the calling thread's namespace.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(groups: &[Group]) -> Result<Self> {
        let socket = Socket::open(Bus::Route).map_err(Error::Open)?;
        for group in groups.iter().flat_map(|group| group.numbers()) {
            socket.join(*group).map_err(Error::Open)?;
        }
        Ok(Self {
            socket,
            pending: VecDeque::new(),
        })
    }

    /// Waits for the next notification, at most `timeout` (for ever without).
    ///
    /// # Errors
    /// [`Error::Monitor`].
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Notification>> {
        let next = self.next_with_origin(timeout)?;
        Ok(next.map(|(notification, _)| notification))
    }

    /// As [`Monitor::next`], with the port of the socket whose request caused it
    /// ([`super::Rtnetlink::port`]); 0 is the kernel itself, which tells most of
    /// what happens to interfaces in its own name, whoever asked for it.
    ///
    /// # Errors
    /// [`Error::Monitor`].
    pub fn next_with_origin(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<(Notification, u32)>> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if let Some(notification) = self.pending.pop_front() {
                return Ok(Some(notification));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match wait_readable(&self.socket, left) {
                Ok(true) => self.fill()?,
                Ok(false) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(Error::Monitor(netlink::Error::Call {
                        call: "poll",
                        errno,
                    }));
                }
            }
        }
    }

    fn fill(&mut self) -> Result<()> {
        let Some(messages) = self.socket.notifications().map_err(Error::Monitor)? else {
            self.pending.push_back((Notification::Lost, 0));
            return Ok(());
        };
        for message in messages.iter() {
            let origin = message.port;
            let notification = match decode(&message) {
                Ok(message) => notification(&message),
                Err(_) => Some(Notification::Lost),
            };
            let pending = notification.map(|notification| (notification, origin));
            self.pending.extend(pending);
        }
        Ok(())
    }
}

fn wait_readable(socket: &Socket, timeout: Option<Duration>) -> nix::Result<bool> {
    let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
        // Rounded up: polling 0 ms for the last fraction would spin.
        let milliseconds = timeout.as_micros().div_ceil(1000);
        PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
    });
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, timeout)? > 0)
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn notification(message: &RouteNetlinkMessage) -> Option<Notification> {
    use RouteNetlinkMessage as Message;
    Some(match message {
        Message::NewLink(_) => Notification::Link(true, Link::of_message(message)?),
        Message::DelLink(_) => Notification::Link(false, Link::of_message(message)?),
        Message::NewAddress(_) => Notification::Address(true, Address::of_message(message)?),
        Message::DelAddress(_) => Notification::Address(false, Address::of_message(message)?),
        Message::NewRoute(_) => Notification::Route(true, Route::of_message(message)?),
        Message::DelRoute(_) => Notification::Route(false, Route::of_message(message)?),
        Message::NewRule(_) => Notification::Rule(true, Rule::of_message(message)?),
        Message::DelRule(_) => Notification::Rule(false, Rule::of_message(message)?),
        Message::NewNeighbour(entry) => neighbour(true, entry)?,
        Message::DelNeighbour(entry) => neighbour(false, entry)?,
        _ => return None,
    })
}

fn neighbour(exists: bool, entry: &NeighbourMessage) -> Option<Notification> {
    if let Some(entry) = FdbEntry::of_message(entry) {
        return Some(Notification::Fdb(exists, entry));
    }
    if exists {
        let Neighbour { link, address, .. } = Neighbour::of_message(entry)?;
        return Some(Notification::Neighbour(true, link, address));
    }
    let address = entry.attributes.iter().find_map(destination_of)?;
    let link = LinkIndex(entry.header.ifindex);
    Some(Notification::Neighbour(false, link, address))
}
