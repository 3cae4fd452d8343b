//! Generic netlink: parts of the kernel that have a family of their own, found
//! by name.

use nix::errno::Errno;

use crate::netlink::{self, Attributes, Bus, Messages, Socket, attributes};

/// Length of `struct genlmsghdr`, before a message's attributes.
pub const HEADER: usize = 4;

/// The family that knows all others (`GENL_ID_CTRL`).
const CONTROLLER: u16 = 0x10;
const CONTROLLER_VERSION: u8 = 1;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// Why a family cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel has no such family.
    #[error("genetlink: the kernel has no family {family}")]
    NoFamily {
        /// The family.
        family: &'static str,
    },
    /// The kernel did not answer.
    #[error("genetlink: looking up family {family} failed")]
    Lookup {
        /// The family.
        family: &'static str,
        /// Why.
        #[source]
        source: netlink::Error,
    },
}

/// A socket of the network namespace in which it was opened, for one family.
#[derive(Debug)]
pub struct GenericSocket {
    socket: Socket,
    family: u16,
    version: u8,
}

/// What is sent: a command of the family with its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request(Vec<u8>);

impl GenericSocket {
    /// Opens a socket in the calling thread's network namespace. Asking for a
    /// family makes the kernel load its module, where it has modules.
    ///
    /// # Errors
    /// [`Error::NoFamily`] where the kernel does not have it.
    pub fn open(family: &'static str, version: u8) -> Result<Self, Error> {
        let failed = |source| match source {
            netlink::Error::Refused {
                errno: Errno::ENOENT,
                ..
            } => Error::NoFamily { family },
            source => Error::Lookup { family, source },
        };
        let mut socket = Socket::open(Bus::Generic).map_err(failed)?;
        let mut body = header(GET_FAMILY, CONTROLLER_VERSION);
        Attributes::new(&mut body).text(FAMILY_NAME, family);
        let answers = socket.ask(CONTROLLER, &body).map_err(failed)?;
        let number = answers.iter().find_map(|answer| {
            let mut found = attributes(answer.body.get(HEADER..)?);
            let number = found.find(|attribute| attribute.kind == FAMILY_ID)?;
            Some(u16::from_ne_bytes(*number.value.first_chunk()?))
        });
        Ok(Self {
            socket,
            family: number.ok_or(Error::NoFamily { family })?,
            version,
        })
    }

    /// A request for this family; `fill` writes its attributes.
    pub fn request(&self, command: u8, fill: impl FnOnce(&mut Attributes<'_>)) -> Request {
        let mut body = header(command, self.version);
        fill(&mut Attributes::new(&mut body));
        Request(body)
    }

    /// Sends one request and waits for its acknowledgement.
    ///
    /// # Errors
    /// Refusals, and failures of the socket.
    pub fn send(&mut self, request: &Request) -> Result<(), netlink::Error> {
        self.socket.request(self.family, 0, &request.0)
    }

    /// Sends one request and returns its answers.
    ///
    /// # Errors
    /// Refusals, and failures of the socket.
    pub fn ask(&mut self, request: &Request) -> Result<Messages, netlink::Error> {
        self.socket.ask(self.family, &request.0)
    }

    /// Reads a whole listing.
    ///
    /// # Errors
    /// Refusals, and failures of the socket.
    pub fn dump(&mut self, request: &Request) -> Result<Messages, netlink::Error> {
        self.socket.dump(self.family, &request.0)
    }
}

fn header(command: u8, version: u8) -> Vec<u8> {
    vec![command, version, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_that_is_not_there_is_named() {
        let error = GenericSocket::open("podway-no-such", 1).unwrap_err();
        assert!(matches!(error, Error::NoFamily { .. }), "{error:?}");
        assert!(error.to_string().contains("podway-no-such"), "{error}");
    }

    #[test]
    fn the_controller_finds_itself() {
        let socket = GenericSocket::open("nlctrl", 2).unwrap();
        assert_eq!(socket.family, CONTROLLER);
    }
}
