//! Sockets, interfaces and time for [`Layer2`]: one thread, which sleeps until a
//! frame, a datagram, a change of the node's links, another plan or a deadline.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use podway_kernel::clock;
use podway_kernel::packet::{self, Frames, Groups, PacketSocket};
use podway_kernel::route::{self, Group, Monitor, Rtnetlink};
use podway_kernel::socket::{Interest, Poller, Waker};
use podway_wire::Moment;
use podway_wire::layer2::Outgoing;
use podway_wire::mesh::{Incarnation, Key, OpenError};

use super::{Layer2, Outbox, Plan, View, interfaces};

/// Between two looks at the node's interfaces, whatever happens to them: pods
/// come and go by the hundred.
const LOOK_PACE: Duration = Duration::from_millis(100);
/// Between two complaints about datagrams.
const COMPLAINT_PACE: Duration = Duration::from_secs(10);
/// The longest datagram of the mesh fits.
const LONGEST_DATAGRAM: usize = 65_536;
/// Frames or datagrams taken in a row, before deadlines are looked at again.
const BATCH: usize = 256;

/// What a node's task needs to know from the start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's name.
    pub node: Arc<str>,
    /// What the nodes of the mesh share.
    pub key: Key,
    /// The UDP port of the mesh, the same on every node.
    pub port: u16,
    /// The link group of the pods' interfaces.
    pub pod_group: Option<u32>,
}

/// Why addresses cannot be announced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No frames.
    #[error(transparent)]
    Frames(#[from] packet::Error),
    /// The mesh's port.
    #[error(
        "cannot bind UDP port {port} for the nodes' mesh (does MetalLB's speaker still run here?)"
    )]
    Mesh {
        /// The port.
        port: u16,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The node's interfaces.
    #[error("cannot follow the node's interfaces")]
    Interfaces(#[from] route::Error),
    /// What the thread waits with.
    #[error("cannot wait for frames and datagrams")]
    Wait(#[source] io::Error),
}

enum Command {
    Plan(Plan),
    Witness(Option<Moment>),
}

/// What the task is told by.
#[derive(Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    waker: Waker,
}

impl Handle {
    /// Tells what is to be announced from now on.
    pub fn set_plan(&self, plan: Plan) {
        self.tell(Command::Plan(plan));
    }

    /// Tells until when this node has the witness, by the clock of
    /// [`clock::since_boot`].
    pub fn set_witness(&self, until: Option<Duration>) {
        self.tell(Command::Witness(until.map(Moment::after_origin)));
    }

    fn tell(&self, command: Command) {
        // A task that has ended has said why.
        let _ = self.commands.send(command);
        self.waker.wake();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The task sees that nobody is left.
        let (closed, _) = mpsc::channel();
        self.commands = closed;
        self.waker.wake();
    }
}

/// Called whenever what the node holds, or whom it sees, has changed; and with
/// whether the witness is needed.
pub type Observer = Box<dyn FnMut(View, bool) + Send>;

/// The thread's work. Opened in the network namespace whose interfaces are meant.
pub struct Task {
    layer2: Layer2,
    commands: mpsc::Receiver<Command>,
    waker: Waker,
    poller: Poller,
    arp: PacketSocket,
    ndp: Option<PacketSocket>,
    groups: Option<Groups>,
    joined: BTreeSet<(u32, Ipv6Addr)>,
    mesh: UdpSocket,
    mesh_is_v6: bool,
    /// What is received goes here: heartbeats come dozens of times a second.
    datagram: Vec<u8>,
    port: u16,
    route: Rtnetlink,
    monitor: Monitor,
    pod_group: Option<u32>,
    look_at: Option<Moment>,
    looked: Moment,
    complained: Option<Moment>,
    observer: Observer,
    observed: (View, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Waker,
    Arp,
    Ndp,
    Mesh,
    Links,
}

impl Token {
    const ALL: [Self; 5] = [Self::Waker, Self::Arp, Self::Ndp, Self::Mesh, Self::Links];
}

impl Task {
    /// Opens everything in the calling thread's network namespace.
    ///
    /// # Errors
    /// What is missing. Without IPv6 in the kernel, IPv4 alone is announced.
    pub fn open(settings: Settings, observer: Observer) -> Result<(Self, Handle), Error> {
        let poller = Poller::new().map_err(Error::Wait)?;
        let waker = poller.waker(Token::Waker as u64).map_err(Error::Wait)?;
        let (mesh, mesh_is_v6) = bind(settings.port)?;
        let groups = Groups::open().ok();
        let arp = PacketSocket::open(Frames::ArpRequests)?;
        let ndp = groups
            .is_some()
            .then(|| PacketSocket::open(Frames::NeighbourSolicitations))
            .transpose()?;
        let monitor = Monitor::open(&[Group::Link, Group::Address])?;
        let watched = poller
            .add(&arp, Token::Arp as u64, Interest::Reading)
            .and_then(|()| poller.add(&mesh, Token::Mesh as u64, Interest::Reading))
            .and_then(|()| poller.add(&monitor, Token::Links as u64, Interest::Reading));
        let watched = watched.and_then(|()| match &ndp {
            Some(ndp) => poller.add(ndp, Token::Ndp as u64, Interest::Reading),
            None => Ok(()),
        });
        watched.map_err(Error::Wait)?;
        let (sender, commands) = mpsc::channel();
        let handle = Handle {
            commands: sender,
            waker: waker.clone(),
        };
        let now = now();
        let task = Self {
            layer2: Layer2::new(settings.node, settings.key, Box::new(incarnation), now),
            commands,
            waker,
            poller,
            arp,
            ndp,
            groups,
            joined: BTreeSet::new(),
            mesh,
            mesh_is_v6,
            datagram: vec![0; LONGEST_DATAGRAM],
            port: settings.port,
            route: Rtnetlink::open()?,
            monitor,
            pod_group: settings.pod_group,
            look_at: Some(now),
            looked: Moment::default(),
            complained: None,
            observer,
            observed: (View::default(), false),
        };
        Ok((task, handle))
    }

    /// Works until the [`Handle`] is dropped.
    ///
    /// # Errors
    /// Only what leaves it blind; addresses are answered for no longer then.
    pub fn run(mut self) -> Result<(), Error> {
        while self.follow_commands() {
            self.look_at_interfaces()?;
            let outbox = self.layer2.tick(now());
            self.send(outbox);
            self.follow_groups();
            self.observe();
            let ready = self.wait()?;
            for token in ready {
                self.take(token)?;
            }
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<Vec<Token>, Error> {
        let now = now();
        let deadlines = [self.layer2.next_deadline(now), self.look_at];
        let next = deadlines.into_iter().flatten().min();
        let events = self.poller.wait(next.map(|next| next.since(now)));
        let events = events.map_err(Error::Wait)?.map(|event| event.token);
        let token = |number: u64| Token::ALL.into_iter().find(|t| *t as u64 == number);
        Ok(events.filter_map(token).collect())
    }

    fn take(&mut self, token: Token) -> Result<(), Error> {
        match token {
            Token::Waker => self.waker.settle(),
            Token::Arp => self.answer(Token::Arp),
            Token::Ndp => self.answer(Token::Ndp),
            Token::Mesh => self.receive(),
            Token::Links => {
                while self.monitor.next(Some(Duration::ZERO))?.is_some() {}
                self.look_at = Some(now().max(self.looked + LOOK_PACE));
            }
        }
        Ok(())
    }

    /// False once nobody is left to command.
    fn follow_commands(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Plan(plan)) => self.layer2.set_plan(plan, now()),
                Ok(Command::Witness(until)) => self.layer2.set_witness(until, now()),
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn look_at_interfaces(&mut self) -> Result<(), Error> {
        let now = now();
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
            self.looked = now;
            let interfaces = interfaces::list(&mut self.route, self.pod_group)?;
            self.layer2.set_interfaces(&interfaces, now);
            // An interface that came back is in no group any more.
            let indexes: BTreeSet<u32> = interfaces.values().map(|i| i.index).collect();
            self.joined.retain(|(index, _)| indexes.contains(index));
        }
        Ok(())
    }

    fn answer(&mut self, token: Token) {
        let mut frame = [0; packet::LONGEST];
        for _ in 0..BATCH {
            let socket = match token {
                Token::Ndp => self.ndp.as_ref(),
                _ => Some(&self.arp),
            };
            match socket.map(|socket| socket.receive(&mut frame)) {
                Some(Ok(Some((interface, length)))) => {
                    let length = length.min(frame.len());
                    let answer = self
                        .layer2
                        .receive_frame(interface, &frame[..length], now());
                    answer.iter().for_each(|answer| self.send_frame(answer));
                }
                // An interface went down: the others go on.
                Some(Err(_)) => {}
                Some(Ok(None)) | None => return,
            }
        }
    }

    fn receive(&mut self) {
        for _ in 0..BATCH {
            // Errors are answers of other hosts (ICMP): the mesh notices itself.
            match self.mesh.recv(&mut self.datagram) {
                Ok(length) => {
                    let datagram = &self.datagram[..length];
                    match self.layer2.receive_datagram(datagram, now()) {
                        Ok(outbox) => self.send(outbox),
                        Err(error) => self.complain(&error),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {}
            }
        }
    }

    fn complain(&mut self, error: &OpenError) {
        let now = now();
        let recently = |at: Moment| now.since(at) < COMPLAINT_PACE;
        if !self.complained.is_some_and(recently) {
            self.complained = Some(now);
            tracing::warn!(%error, "datagram of the mesh not taken");
        }
    }

    fn send(&self, outbox: Outbox) {
        outbox
            .frames
            .iter()
            .for_each(|frame| self.send_frame(frame));
        for (address, bytes) in outbox.datagrams {
            let to = SocketAddr::new(self.reachable(address), self.port);
            // A lost datagram is a missed heartbeat, which the mesh reckons with.
            if let Err(error) = self.mesh.send_to(&bytes, to) {
                tracing::debug!(%error, %to, "heartbeat not sent");
            }
        }
    }

    /// IPv4 through the socket of both families.
    fn reachable(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(address) if self.mesh_is_v6 => address.to_ipv6_mapped().into(),
            other => other,
        }
    }

    fn send_frame(&self, outgoing: &Outgoing) {
        if let Err(error) = self.arp.send(outgoing.interface, &outgoing.frame) {
            tracing::debug!(%error, interface = outgoing.interface, "frame not sent");
        }
    }

    /// Joins the groups by which neighbours ask for what is announced, and leaves
    /// those of what is not any more.
    fn follow_groups(&mut self) {
        let Some(groups) = &self.groups else {
            return;
        };
        let wanted: BTreeSet<(u32, Ipv6Addr)> = self.layer2.all_groups().collect();
        for (interface, group) in self.joined.difference(&wanted) {
            // Gone with its interface, perhaps.
            let _ = groups.leave(*interface, *group);
        }
        let join = |(interface, group): &&(u32, Ipv6Addr)| {
            let joined = groups.join(*interface, *group);
            if let Err(error) = &joined {
                tracing::warn!(%error, interface, %group, "multicast group not joined");
            }
            joined.is_ok()
        };
        let new: BTreeSet<_> = wanted
            .difference(&self.joined)
            .filter(join)
            .copied()
            .collect();
        self.joined.retain(|joined| wanted.contains(joined));
        self.joined.extend(new);
    }

    fn observe(&mut self) {
        let now = now();
        let observed = (self.layer2.view(now), self.layer2.needs_witness(now));
        if observed != self.observed {
            self.observed = observed.clone();
            (self.observer)(observed.0, observed.1);
        }
    }
}

/// A socket of both families where the kernel has both.
fn bind(port: u16) -> Result<(UdpSocket, bool), Error> {
    let both = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).map(|socket| (socket, true));
    let bound = match both {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).map(|socket| (socket, false))
        }
        other => other,
    };
    bound
        .and_then(|(socket, is_v6)| socket.set_nonblocking(true).map(|()| (socket, is_v6)))
        .map_err(|source| Error::Mesh { port, source })
}

fn now() -> Moment {
    Moment::after_origin(clock::since_boot())
}

/// When this life began by the clock on the wall, and random bits.
fn incarnation() -> Incarnation {
    let began = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let began = u64::try_from(began.as_millis()).unwrap_or(u64::MAX);
    Incarnation::new(began, rand::random())
}
