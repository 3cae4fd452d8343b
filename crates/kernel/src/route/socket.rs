use std::fmt;

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};
use netlink_packet_route::RouteNetlinkMessage;

use super::error::{Error, Result};
use crate::netlink::{self, Bus, FLAG_CREATE, FLAG_EXCLUSIVE, Message, Messages, Socket};
use crate::netns::NetNs;

/// `NLM_F_REPLACE`.
const FLAG_REPLACE: u16 = 0x100;

/// How a change treats what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Fails where it exists.
    Create,
    /// Creates or replaces.
    Replace,
    /// Changes or deletes what exists.
    Existing,
}

impl Mode {
    const fn flags(self) -> u16 {
        match self {
            Self::Create => FLAG_CREATE | FLAG_EXCLUSIVE,
            Self::Replace => FLAG_CREATE | FLAG_REPLACE,
            Self::Existing => 0,
        }
    }
}

/// What is being done and on what, for errors.
#[derive(Clone, Copy)]
pub(super) struct Doing<'a> {
    pub(super) operation: &'static str,
    pub(super) object: &'a dyn fmt::Display,
}

impl Doing<'_> {
    fn failed(&self, error: netlink::Error) -> Error {
        let (operation, object) = (self.operation, self.object.to_string());
        match error {
            netlink::Error::Refused { errno, reason, .. } => Error::Refused {
                operation,
                object,
                reason,
                errno,
            },
            source => Error::Socket {
                operation,
                object,
                source,
            },
        }
    }

    fn decode(&self, messages: &Messages) -> Result<Vec<RouteNetlinkMessage>> {
        messages
            .iter()
            .map(|message| {
                decode(&message).map_err(|source| Error::Answer {
                    operation: self.operation,
                    object: self.object.to_string(),
                    source,
                })
            })
            .collect()
    }
}

/// A blocking rtnetlink socket of one network namespace.
#[derive(Debug)]
pub struct Rtnetlink {
    socket: Socket,
    writes: u64,
}

impl Rtnetlink {
    /// Opens a socket in the calling thread's namespace.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open() -> Result<Self> {
        let socket = Socket::open(Bus::Route).map_err(Error::Open)?;
        Ok(Self { socket, writes: 0 })
    }

    /// Opens a socket in another namespace; it can be used from here.
    ///
    /// # Errors
    /// [`Error::Open`] or [`Error::Namespace`].
    pub fn open_in(namespace: &NetNs) -> Result<Self> {
        namespace.run(Self::open).map_err(Error::Namespace)?
    }

    /// How many changes the kernel has acknowledged on this socket.
    #[must_use]
    pub const fn writes(&self) -> u64 {
        self.writes
    }

    /// The port that the kernel's notifications name as the origin of the
    /// changes made here.
    #[must_use]
    pub const fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Sends a change and waits for its acknowledgement.
    pub(super) fn change(
        &mut self,
        doing: Doing<'_>,
        message: &RouteNetlinkMessage,
        mode: Mode,
    ) -> Result<()> {
        let (kind, body) = encode(message);
        self.change_encoded(doing, kind, &body, mode)
    }

    /// As [`Rtnetlink::change`], for a message that is encoded already.
    pub(super) fn change_encoded(
        &mut self,
        doing: Doing<'_>,
        kind: u16,
        body: &[u8],
        mode: Mode,
    ) -> Result<()> {
        self.socket
            .request(kind, mode.flags(), body)
            .map_err(|error| doing.failed(error))?;
        self.writes += 1;
        Ok(())
    }

    /// As [`Rtnetlink::dump`], for a message that is encoded already.
    pub(super) fn dump_encoded(
        &mut self,
        doing: Doing<'_>,
        kind: u16,
        body: &[u8],
    ) -> Result<Messages> {
        let answers = self.socket.dump(kind, body);
        answers.map_err(|error| doing.failed(error))
    }

    /// Asks for one object.
    pub(super) fn ask(
        &mut self,
        doing: Doing<'_>,
        message: &RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        let (kind, body) = encode(message);
        let answers = self.socket.ask(kind, &body);
        doing.decode(&answers.map_err(|error| doing.failed(error))?)
    }

    /// Asks for every object that the message selects.
    pub(super) fn dump(
        &mut self,
        doing: Doing<'_>,
        message: &RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        let (kind, body) = encode(message);
        let answers = self.socket.dump(kind, &body);
        doing.decode(&answers.map_err(|error| doing.failed(error))?)
    }
}

pub(super) fn encode(message: &RouteNetlinkMessage) -> (u16, Vec<u8>) {
    let mut body = vec![0; message.buffer_len()];
    message.serialize(&mut body);
    (message.message_type(), body)
}

/// Reads an rtnetlink message.
pub(super) fn decode(
    message: &Message<'_>,
) -> std::result::Result<RouteNetlinkMessage, netlink_packet_core::DecodeError> {
    let mut header = NetlinkHeader::default();
    header.message_type = message.kind;
    RouteNetlinkMessage::deserialize(&header, message.body)
}
