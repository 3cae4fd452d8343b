use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REPLACE,
    NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

use super::error::{Error, Result};
use crate::netns::NetNs;

/// Larger than any datagram of a dump: the kernel fills at most 32 kB
/// (NLMSG_GOODSIZE and max_recvmsg_len), and errors quote our own request.
const RECEIVE_BUFFER: usize = 128 * 1024;

/// A dump that the kernel marks as interrupted is read again, this often.
const DUMP_ATTEMPTS: u32 = 16;

const NLMSGERR_ATTR_MSG: u16 = 1;
/// NLM_F_CAPPED: the quoted request is only its header.
const FLAG_CAPPED: u16 = 0x100;
/// NLM_F_ACK_TLVS: attributes follow the quoted request.
const FLAG_ACK_TLVS: u16 = 0x200;

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
            Self::Create => NLM_F_CREATE | NLM_F_EXCL,
            Self::Replace => NLM_F_CREATE | NLM_F_REPLACE,
            Self::Existing => 0,
        }
    }
}

/// What is being done and on what, for errors.
#[derive(Clone, Copy)]
pub(super) struct Doing<'a> {
    pub(super) operation: &'static str,
    pub(super) object: &'a dyn std::fmt::Display,
}

impl Doing<'_> {
    pub(super) fn refused(&self, errno: Errno, detail: String) -> Error {
        Error::Refused {
            operation: self.operation,
            object: self.object.to_string(),
            detail,
            errno,
        }
    }

    fn unreadable(&self, source: DecodeError) -> Error {
        Error::Answer {
            operation: self.operation,
            object: self.object.to_string(),
            source,
        }
    }
}

/// A blocking rtnetlink socket of one network namespace.
#[derive(Debug)]
pub struct Rtnetlink {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
    writes: u64,
}

impl Rtnetlink {
    /// Opens a socket in the calling thread's namespace.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub fn open() -> Result<Self> {
        let fd = open_socket(0)?;
        // Requests that make sense to an older kernel still work without these:
        // the options only make answers better and filters strict.
        for option in [
            libc::NETLINK_EXT_ACK,
            libc::NETLINK_CAP_ACK,
            libc::NETLINK_GET_STRICT_CHK,
        ] {
            enable(&fd, option)?;
        }
        Ok(Self {
            fd,
            sequence: 0,
            buffer: vec![0; RECEIVE_BUFFER],
            writes: 0,
        })
    }

    /// Opens a socket in another namespace; it can be used from here.
    ///
    /// # Errors
    /// [`Error::Socket`] or [`Error::Namespace`].
    pub fn open_in(namespace: &NetNs) -> Result<Self> {
        namespace.run(Self::open).map_err(Error::Namespace)?
    }

    /// How many changes the kernel has acknowledged on this socket.
    #[must_use]
    pub const fn writes(&self) -> u64 {
        self.writes
    }

    /// Sends a change and waits for its acknowledgement.
    pub(super) fn change(
        &mut self,
        doing: Doing<'_>,
        message: RouteNetlinkMessage,
        mode: Mode,
    ) -> Result<()> {
        self.request(message, NLM_F_ACK | mode.flags())?;
        let mut answers = Vec::new();
        self.collect(doing, &mut answers, false)?;
        self.writes += 1;
        Ok(())
    }

    /// Asks for one object.
    pub(super) fn ask(
        &mut self,
        doing: Doing<'_>,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        self.request(message, NLM_F_ACK)?;
        let mut answers = Vec::new();
        self.collect(doing, &mut answers, false)?;
        Ok(answers)
    }

    /// Asks for every object that the message selects.
    pub(super) fn dump(
        &mut self,
        doing: Doing<'_>,
        message: &RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMP_ATTEMPTS {
            self.request(message.clone(), NLM_F_DUMP)?;
            let mut answers = Vec::new();
            // NLM_F_DUMP_INTR: the table changed between two datagrams, so
            // entries may be missing or double.
            if !self.collect(doing, &mut answers, true)? {
                return Ok(answers);
            }
        }
        Err(Error::Unsteady {
            operation: doing.operation,
            object: doing.object.to_string(),
            attempts: DUMP_ATTEMPTS,
        })
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        loop {
            match send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(Error::Socket {
                        call: "send",
                        errno,
                    });
                }
            }
        }
    }

    /// Reads until the acknowledgement (or the end of the dump). Whether the
    /// dump was interrupted by a change.
    fn collect(
        &mut self,
        doing: Doing<'_>,
        answers: &mut Vec<RouteNetlinkMessage>,
        dump: bool,
    ) -> Result<bool> {
        let mut interrupted = false;
        loop {
            let length = receive(&self.fd, &mut self.buffer)?;
            for raw in RawMessages(&self.buffer[..length]) {
                let raw = raw.map_err(|source| doing.unreadable(source))?;
                // An answer to a request that failed half-way on our side.
                if raw.sequence != self.sequence {
                    continue;
                }
                interrupted |= raw.flags & NLM_F_DUMP_INTR != 0;
                match raw.kind {
                    LIBC_NLMSG_DONE if dump => return finish(doing, raw.payload, interrupted),
                    LIBC_NLMSG_ERROR => {
                        let (errno, detail) = raw.acknowledgement();
                        return match errno {
                            None => Ok(interrupted),
                            Some(errno) => Err(doing.refused(errno, detail)),
                        };
                    }
                    LIBC_NLMSG_NOOP => {}
                    _ => answers.push(raw.decode().map_err(|source| doing.unreadable(source))?),
                }
            }
        }
    }
}

const LIBC_NLMSG_NOOP: u16 = libc::NLMSG_NOOP as u16;
const LIBC_NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
const LIBC_NLMSG_DONE: u16 = libc::NLMSG_DONE as u16;

/// The end of a dump carries the error that ended it, if one did.
fn finish(doing: Doing<'_>, payload: &[u8], interrupted: bool) -> Result<bool> {
    let code = payload
        .first_chunk::<4>()
        .map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    if code < 0 {
        return Err(doing.refused(Errno::from_raw(-code), String::new()));
    }
    Ok(interrupted)
}

/// One netlink message of a datagram, its payload not yet read.
pub(super) struct RawMessage<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    payload: &'a [u8],
    whole: &'a [u8],
}

impl RawMessage<'_> {
    /// Reads an rtnetlink message.
    pub(super) fn decode(&self) -> std::result::Result<RouteNetlinkMessage, DecodeError> {
        match NetlinkMessage::deserialize(self.whole)?.payload {
            NetlinkPayload::InnerMessage(message) => Ok(message),
            _ => Err(DecodeError::from("unexpected control message")),
        }
    }

    /// The error of an acknowledgement, if it is one, and the kernel's words.
    fn acknowledgement(&self) -> (Option<Errno>, String) {
        let code = self
            .payload
            .first_chunk::<4>()
            .map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        if code == 0 {
            return (None, String::new());
        }
        (
            Some(Errno::from_raw(code.wrapping_neg())),
            self.kernel_words(),
        )
    }

    /// NLMSGERR_ATTR_MSG, behind the quoted request: its header alone
    /// (NETLINK_CAP_ACK, successes) or all of it.
    fn kernel_words(&self) -> String {
        if self.flags & FLAG_ACK_TLVS == 0 {
            return String::new();
        }
        let quoted = if self.flags & FLAG_CAPPED != 0 {
            16
        } else {
            self.payload
                .get(4..8)
                .and_then(|bytes| bytes.first_chunk::<4>())
                .map_or(0, |bytes| u32::from_ne_bytes(*bytes) as usize)
        };
        let attributes = self
            .payload
            .get(4 + quoted.next_multiple_of(4)..)
            .unwrap_or_default();
        attribute(attributes, NLMSGERR_ATTR_MSG)
            .map(|text| {
                String::from_utf8_lossy(text)
                    .trim_end_matches('\0')
                    .to_owned()
            })
            .unwrap_or_default()
    }
}

/// The messages of a datagram.
pub(super) struct RawMessages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for RawMessages<'a> {
    type Item = std::result::Result<RawMessage<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.0;
        if bytes.is_empty() {
            return None;
        }
        let Some(header) = bytes.first_chunk::<16>() else {
            self.0 = &[];
            return Some(Err(DecodeError::from("truncated netlink header")));
        };
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(whole) = bytes.get(..length).filter(|whole| whole.len() >= 16) else {
            self.0 = &[];
            return Some(Err(DecodeError::from("truncated netlink message")));
        };
        self.0 = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok(RawMessage {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            payload: &whole[16..],
            whole,
        }))
    }
}

fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some(header) = bytes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]);
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Opens an rtnetlink socket that listens to these multicast groups.
pub(super) fn open_socket(groups: u32) -> Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )
    .map_err(|errno| Error::Socket {
        call: "socket",
        errno,
    })?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups)).map_err(|errno| Error::Socket {
        call: "bind",
        errno,
    })?;
    Ok(fd)
}

/// Receives one datagram.
pub(super) fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match recv(fd.as_raw_fd(), buffer, MsgFlags::empty()) {
            Ok(length) => return Ok(length),
            Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(Error::Socket {
                    call: "recv",
                    errno,
                });
            }
        }
    }
}

fn enable(fd: &OwnedFd, option: libc::c_int) -> Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and the length describe `on`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    Errno::result(result)
        .map(drop)
        .map_err(|errno| Error::Socket {
            call: "setsockopt",
            errno,
        })
}
