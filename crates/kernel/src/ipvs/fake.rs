use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;

use super::{Error, Ipvs, MAX_WEIGHT, RealServer, SCHEDULERS, Scheduling, Timeouts, VirtualServer};
use crate::netlink;

/// Virtual servers in memory: it refuses what the kernel refuses.
#[derive(Debug, Clone)]
pub struct FakeIpvs {
    servers: BTreeMap<VirtualServer, (Scheduling, BTreeMap<SocketAddr, RealServer>)>,
    timeouts: Timeouts,
    /// Schedulers that this kernel does not have.
    pub absent: Vec<&'static str>,
    /// Changes so far.
    pub writes: u64,
}

impl Default for FakeIpvs {
    /// A kernel without virtual servers.
    fn default() -> Self {
        Self {
            servers: BTreeMap::new(),
            timeouts: Timeouts {
                tcp: Duration::from_secs(900),
                tcp_fin: Duration::from_secs(120),
                udp: Duration::from_secs(300),
            },
            absent: Vec::new(),
            writes: 0,
        }
    }
}

impl FakeIpvs {
    /// A kernel without virtual servers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets clients be connected to a real server.
    ///
    /// # Panics
    /// Where there is no such real server.
    pub fn connect(&mut self, server: &VirtualServer, real: SocketAddr, active: u32) {
        let held = self.servers.get_mut(server).expect("a virtual server");
        held.1.get_mut(&real).expect("a real server").active = active;
    }

    fn held(
        &mut self,
        server: &VirtualServer,
        failed: impl FnOnce(netlink::Error) -> Error,
    ) -> Result<&mut (Scheduling, BTreeMap<SocketAddr, RealServer>), Error> {
        let held = self.servers.get_mut(server);
        held.ok_or_else(|| failed(refused(Errno::ESRCH)))
    }

    fn accept(
        &self,
        scheduling: &Scheduling,
        failed: impl FnOnce(netlink::Error) -> Error,
    ) -> Result<(), Error> {
        let name = &*scheduling.scheduler;
        if !SCHEDULERS.contains(&name) || self.absent.contains(&name) {
            return Err(failed(refused(Errno::ENOENT)));
        }
        Ok(())
    }
}

impl Ipvs for FakeIpvs {
    fn servers(&mut self) -> Result<BTreeMap<VirtualServer, Scheduling>, Error> {
        let servers = self.servers.iter();
        Ok(servers
            .map(|(server, (scheduling, _))| (*server, scheduling.clone()))
            .collect())
    }

    fn real_servers(
        &mut self,
        server: &VirtualServer,
    ) -> Result<BTreeMap<SocketAddr, RealServer>, Error> {
        let held = self.servers.get(server);
        Ok(held.map_or_else(BTreeMap::new, |(_, reals)| reals.clone()))
    }

    fn add(&mut self, server: &VirtualServer, scheduling: &Scheduling) -> Result<(), Error> {
        let failed = Error::server("adding", server);
        if self.servers.contains_key(server) {
            return Err(failed(refused(Errno::EEXIST)));
        }
        self.accept(scheduling, failed)?;
        self.servers
            .insert(*server, (scheduling.clone(), BTreeMap::new()));
        self.writes += 1;
        Ok(())
    }

    fn reschedule(&mut self, server: &VirtualServer, scheduling: &Scheduling) -> Result<(), Error> {
        self.accept(scheduling, Error::server("changing", server))?;
        self.held(server, Error::server("changing", server))?.0 = scheduling.clone();
        self.writes += 1;
        Ok(())
    }

    fn remove(&mut self, server: &VirtualServer) -> Result<(), Error> {
        self.servers.remove(server);
        self.writes += 1;
        Ok(())
    }

    fn add_real(
        &mut self,
        server: &VirtualServer,
        real: SocketAddr,
        weight: u32,
    ) -> Result<(), Error> {
        let failed = |errno| Error::real("adding", server, real)(refused(errno));
        if weight > MAX_WEIGHT {
            return Err(failed(Errno::ERANGE));
        }
        let (_, reals) = self.held(server, Error::real("adding", server, real))?;
        if reals.contains_key(&real) {
            return Err(failed(Errno::EEXIST));
        }
        let fresh = RealServer {
            weight,
            active: 0,
            inactive: 0,
        };
        reals.insert(real, fresh);
        self.writes += 1;
        Ok(())
    }

    fn weigh_real(
        &mut self,
        server: &VirtualServer,
        real: SocketAddr,
        weight: u32,
    ) -> Result<(), Error> {
        let (_, reals) = self.held(server, Error::real("weighing", server, real))?;
        let missing = || Error::real("weighing", server, real)(refused(Errno::ENOENT));
        reals.get_mut(&real).ok_or_else(missing)?.weight = weight;
        self.writes += 1;
        Ok(())
    }

    fn remove_real(&mut self, server: &VirtualServer, real: SocketAddr) -> Result<(), Error> {
        if let Some((_, reals)) = self.servers.get_mut(server) {
            reals.remove(&real);
        }
        self.writes += 1;
        Ok(())
    }

    fn timeouts(&mut self) -> Result<Timeouts, Error> {
        Ok(self.timeouts)
    }

    fn set_timeouts(&mut self, timeouts: Timeouts) -> Result<(), Error> {
        self.timeouts = timeouts;
        self.writes += 1;
        Ok(())
    }

    fn has_scheduler(&mut self, name: &str) -> Result<bool, Error> {
        Ok(SCHEDULERS.contains(&name) && !self.absent.contains(&name))
    }

    fn schedulers(&mut self) -> Result<Vec<&'static str>, Error> {
        let present = |name: &&str| !self.absent.contains(name);
        Ok(SCHEDULERS.into_iter().filter(present).collect())
    }
}

const fn refused(errno: Errno) -> netlink::Error {
    netlink::Error::Refused {
        sequence: 0,
        errno,
        reason: None,
    }
}
