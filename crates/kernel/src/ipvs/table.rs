use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use nix::errno::Errno;

use super::codec;
use super::error::errno;
use super::{Error, Ipvs, RealServer, SCHEDULERS, Scheduling, Timeouts, VirtualServer};
use crate::genetlink::{GenericSocket, HEADER};
use crate::netlink;

const FAMILY: &str = "IPVS";
const VERSION: u8 = 1;

const NEW_SERVICE: u8 = 1;
const SET_SERVICE: u8 = 2;
const DEL_SERVICE: u8 = 3;
const GET_SERVICE: u8 = 4;
const NEW_DEST: u8 = 5;
const SET_DEST: u8 = 6;
const DEL_DEST: u8 = 7;
const GET_DEST: u8 = 8;
const SET_CONFIG: u8 = 12;
const GET_CONFIG: u8 = 13;

/// A virtual server that nobody can want: of TEST-NET-2 (RFC 5737). Schedulers
/// are tried on it.
const TRIAL: VirtualServer = VirtualServer::Address {
    protocol: libc::IPPROTO_TCP as u8,
    address: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 0), 20_000)),
};

/// The virtual servers of the network namespace in which it was opened.
#[derive(Debug)]
pub struct IpvsTable {
    socket: GenericSocket,
}

impl IpvsTable {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::Absent`] where the kernel has no IPVS.
    pub fn open() -> Result<Self, Error> {
        let socket = GenericSocket::open(FAMILY, VERSION).map_err(Error::Absent)?;
        Ok(Self { socket })
    }

    fn change_server(
        &mut self,
        command: u8,
        server: &VirtualServer,
        scheduling: Option<&Scheduling>,
    ) -> Result<(), netlink::Error> {
        let request = self
            .socket
            .request(command, |out| codec::put_server(out, server, scheduling));
        self.socket.send(&request)
    }

    fn change_real(
        &mut self,
        command: u8,
        server: &VirtualServer,
        real: SocketAddr,
        weight: Option<u32>,
    ) -> Result<(), netlink::Error> {
        let request = self.socket.request(command, |out| {
            codec::put_server(out, server, None);
            codec::put_real(out, real, weight);
        });
        self.socket.send(&request)
    }
}

impl Ipvs for IpvsTable {
    fn servers(&mut self) -> Result<BTreeMap<VirtualServer, Scheduling>, Error> {
        let request = self.socket.request(GET_SERVICE, |_| ());
        let messages = self.socket.dump(&request);
        let messages = messages.map_err(read("listing virtual servers"))?;
        let bodies = messages
            .iter()
            .filter_map(|message| message.body.get(HEADER..));
        Ok(bodies.filter_map(codec::read_server).collect())
    }

    fn real_servers(
        &mut self,
        server: &VirtualServer,
    ) -> Result<BTreeMap<SocketAddr, RealServer>, Error> {
        let request = self
            .socket
            .request(GET_DEST, |out| codec::put_server(out, server, None));
        let messages = self.socket.dump(&request);
        let messages = messages.map_err(Error::server("listing real servers of", server))?;
        let bodies = messages
            .iter()
            .filter_map(|message| message.body.get(HEADER..));
        Ok(bodies
            .filter_map(|body| codec::read_real(body, server.family()))
            .collect())
    }

    fn add(&mut self, server: &VirtualServer, scheduling: &Scheduling) -> Result<(), Error> {
        self.change_server(NEW_SERVICE, server, Some(scheduling))
            .map_err(Error::server("adding", server))
    }

    fn reschedule(&mut self, server: &VirtualServer, scheduling: &Scheduling) -> Result<(), Error> {
        self.change_server(SET_SERVICE, server, Some(scheduling))
            .map_err(Error::server("changing", server))
    }

    fn remove(&mut self, server: &VirtualServer) -> Result<(), Error> {
        match self.change_server(DEL_SERVICE, server, None) {
            Err(error) if errno(&error) == Some(Errno::ESRCH) => Ok(()),
            result => result.map_err(Error::server("removing", server)),
        }
    }

    fn add_real(
        &mut self,
        server: &VirtualServer,
        real: SocketAddr,
        weight: u32,
    ) -> Result<(), Error> {
        self.change_real(NEW_DEST, server, real, Some(weight))
            .map_err(Error::real("adding", server, real))
    }

    fn weigh_real(
        &mut self,
        server: &VirtualServer,
        real: SocketAddr,
        weight: u32,
    ) -> Result<(), Error> {
        self.change_real(SET_DEST, server, real, Some(weight))
            .map_err(Error::real("weighing", server, real))
    }

    fn remove_real(&mut self, server: &VirtualServer, real: SocketAddr) -> Result<(), Error> {
        match self.change_real(DEL_DEST, server, real, None) {
            Err(error) if matches!(errno(&error), Some(Errno::ENOENT | Errno::ESRCH)) => Ok(()),
            result => result.map_err(Error::real("removing", server, real)),
        }
    }

    fn timeouts(&mut self) -> Result<Timeouts, Error> {
        let failed = |source| Error::Read {
            doing: "reading the timeouts",
            source,
        };
        let request = self.socket.request(GET_CONFIG, |_| ());
        let messages = self.socket.ask(&request).map_err(failed)?;
        let found = messages
            .iter()
            .find_map(|message| codec::read_timeouts(message.body.get(HEADER..)?));
        found.ok_or(failed(netlink::Error::Malformed {
            what: "no timeouts in it",
        }))
    }

    fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<(), Error> {
        let request = self
            .socket
            .request(SET_CONFIG, |out| codec::put_timeouts(out, timeouts));
        self.socket
            .send(&request)
            .map_err(read("setting the timeouts"))
    }

    /// By a virtual server that lives for the moment of the question.
    fn has_scheduler(&mut self, name: &str) -> Result<bool, Error> {
        // Left behind by one who was killed while asking.
        self.remove(&TRIAL)?;
        match self.change_server(NEW_SERVICE, &TRIAL, Some(&Scheduling::by(name))) {
            Ok(()) => {}
            Err(error) if errno(&error) == Some(Errno::ENOENT) => return Ok(false),
            Err(error) => return Err(Error::server("trying a scheduler on", &TRIAL)(error)),
        }
        self.remove(&TRIAL)?;
        Ok(true)
    }

    fn schedulers(&mut self) -> Result<Vec<&'static str>, Error> {
        let mut present = Vec::new();
        for scheduler in SCHEDULERS {
            if self.has_scheduler(scheduler)? {
                present.push(scheduler);
            }
        }
        Ok(present)
    }
}

fn read(doing: &'static str) -> impl FnOnce(netlink::Error) -> Error {
    move |source| Error::Read { doing, source }
}
