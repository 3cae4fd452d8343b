use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::{
    ALL_NODES, Advertisement, ArpOperation, ArpPacket, ETHERTYPE_ARP, ETHERTYPE_IPV6,
    EthernetFrame, MacAddress, Solicitation, group_mac, solicited_node_group,
};
use crate::Moment;

/// Between the announcements after an address came to this node. With
/// [`BURST`], `MetalLB`'s schedule: at once, then every 1.1 s for 5 s. (RFC 5227
/// section 3 asks for at least two, 2 s apart; switches lose some.)
const BURST_INTERVAL: Duration = Duration::from_millis(1100);
/// How many announcements follow each other.
const BURST: u8 = 5;
/// Between announcements later on: heals what missed the first ones.
pub const REPEAT: Duration = Duration::from_secs(60);

/// A network interface, as far as announcing needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number of it.
    pub index: u32,
    /// Its link address: what clients are told.
    pub mac: MacAddress,
    /// It speaks IPv6; otherwise it announces IPv4 only.
    pub ipv6: bool,
    /// It has a carrier.
    pub up: bool,
}

/// A frame to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// On which interface.
    pub interface: u32,
    /// The whole frame.
    pub frame: Vec<u8>,
}

/// How many questions an interface answers: a storm of them must not cost a
/// node its processor. Those beyond are dropped; whoever asks asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerLimit {
    /// Answers a second in the long run.
    pub per_second: u32,
    /// Answers at once.
    pub burst: u32,
}

impl Default for AnswerLimit {
    fn default() -> Self {
        Self {
            per_second: 5_000,
            burst: 1_000,
        }
    }
}

/// Answers for announced addresses and announces them, on every interface.
///
/// An address is answered for until the moment that it was announced with, and
/// not after: whoever holds a lease passes its end, so that a node that was
/// frozen wakes up silent. Questions are answered where the frame came to this
/// interface or to all, as a host would; nothing is learned from them.
#[derive(Debug, Default)]
pub struct Announcer {
    limit: AnswerLimit,
    interfaces: BTreeMap<u32, Port>,
    announced: BTreeMap<IpAddr, Announced>,
}

#[derive(Debug)]
struct Port {
    interface: Interface,
    /// Answers left, in nanoseconds of credit.
    credit: Duration,
    credited: Moment,
}

#[derive(Debug)]
struct Announced {
    until: Moment,
    /// Where it is announced; everywhere if `None`.
    interfaces: Option<BTreeSet<u32>>,
    schedules: BTreeMap<u32, Schedule>,
}

#[derive(Debug, Clone, Copy)]
struct Schedule {
    next: Moment,
    left: u8,
}

impl Announcer {
    /// One that announces nothing yet.
    #[must_use]
    pub fn new(limit: AnswerLimit) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Takes the interfaces there are. One that is new, has a new link address
    /// or got its carrier back announces everything again: what is behind it
    /// may have learned another place in the meantime.
    pub fn set_interfaces(&mut self, interfaces: &[Interface], now: Moment) {
        let before = std::mem::take(&mut self.interfaces);
        let full = self.limit.full();
        let port = |interface: &Interface| Port {
            interface: *interface,
            credit: before.get(&interface.index).map_or(full, |p| p.credit),
            credited: before.get(&interface.index).map_or(now, |p| p.credited),
        };
        self.interfaces = interfaces.iter().map(|i| (i.index, port(i))).collect();
        let told = |index: &u32| {
            let known = |ports: &BTreeMap<u32, Port>| {
                let port = ports.get(index).filter(|port| port.interface.up);
                port.map(|port| (port.interface.mac, port.interface.ipv6))
            };
            known(&before).is_some() && known(&before) == known(&self.interfaces)
        };
        for announced in self.announced.values_mut() {
            announced.schedules.retain(|index, _| told(index));
        }
        self.begin(now);
    }

    /// Announces again what an interface announces: its link has come back.
    pub fn link_up(&mut self, interface: u32, now: Moment) {
        if let Some(port) = self.interfaces.get_mut(&interface) {
            port.interface.up = true;
        }
        for announced in self.announced.values_mut() {
            announced.schedules.remove(&interface);
        }
        self.begin(now);
    }

    /// Announces an address on these interfaces (`None`: on all) until a
    /// moment, or extends it to that. A new address, or a new interface of a
    /// known one, is told at once (see [`Announcer::due`]).
    pub fn announce(
        &mut self,
        address: IpAddr,
        interfaces: Option<&BTreeSet<u32>>,
        until: Moment,
        now: Moment,
    ) {
        // One that has ended may have been elsewhere since: it is told anew.
        let known = self.announced.remove(&address);
        let known = known.filter(|announced| announced.until > now);
        let schedules = known.map_or_else(BTreeMap::new, |announced| announced.schedules);
        let mut announced = Announced {
            until,
            interfaces: interfaces.cloned(),
            schedules,
        };
        let chosen = announced.interfaces.as_ref();
        announced
            .schedules
            .retain(|index, _| chosen.is_none_or(|chosen| chosen.contains(index)));
        announced.begin(self.interfaces.values(), now);
        self.announced.insert(address, announced);
    }

    /// Stops answering for an address, at once and without a word: the new
    /// owner's announcement is what clients follow.
    pub fn withdraw(&mut self, address: IpAddr) {
        self.announced.remove(&address);
    }

    /// The addresses answered for.
    pub fn addresses(&self, now: Moment) -> impl Iterator<Item = IpAddr> {
        self.announced
            .iter()
            .filter(move |(_, announced)| announced.until > now)
            .map(|(address, _)| *address)
    }

    /// The groups that an interface must have joined to hear questions.
    #[must_use]
    pub fn groups(&self, interface: u32) -> BTreeSet<Ipv6Addr> {
        self.announced
            .iter()
            .filter(|(_, announced)| announced.is_on(interface))
            .filter_map(|(address, _)| match address {
                IpAddr::V6(address) => Some(solicited_node_group(*address)),
                IpAddr::V4(_) => None,
            })
            .collect()
    }

    /// Takes a frame that came in and returns the answer to it, if it asks for
    /// an address that is announced on this interface.
    pub fn receive(&mut self, interface: u32, frame: &[u8], now: Moment) -> Option<Outgoing> {
        let limit = self.limit;
        let own = self.interfaces.get(&interface)?.interface;
        let frame = EthernetFrame::decode(frame).ok()?;
        if !own.up || frame.source.is_group() {
            return None;
        }
        let answer = match frame.ethertype {
            ETHERTYPE_ARP => self.answer_arp(&own, &frame, now),
            ETHERTYPE_IPV6 => self.answer_ndp(&own, &frame, now),
            _ => None,
        }?;
        let port = self.interfaces.get_mut(&interface)?;
        port.spend(limit, now).then_some(Outgoing {
            interface,
            frame: answer,
        })
    }

    fn answer_arp(
        &self,
        own: &Interface,
        frame: &EthernetFrame<'_>,
        now: Moment,
    ) -> Option<Vec<u8>> {
        if frame.destination != own.mac && frame.destination != MacAddress::BROADCAST {
            return None;
        }
        let request = ArpPacket::decode(frame.payload).ok()?;
        let asked = request.operation == ArpOperation::Request
            && self.answers(IpAddr::V4(request.target), own.index, now);
        // A gratuitous request is somebody else's announcement, not a question.
        if !asked || request.sender == request.target {
            return None;
        }
        let reply = ArpPacket {
            operation: ArpOperation::Reply,
            sender_mac: own.mac,
            sender: request.target,
            target_mac: request.sender_mac,
            target: request.sender,
        };
        Some(ethernet(own, frame.source, ETHERTYPE_ARP, &reply.encode()))
    }

    fn answer_ndp(
        &self,
        own: &Interface,
        frame: &EthernetFrame<'_>,
        now: Moment,
    ) -> Option<Vec<u8>> {
        if !own.ipv6 {
            return None;
        }
        let solicitation = Solicitation::decode(frame.payload).ok()?;
        let group = group_mac(solicited_node_group(solicitation.target));
        let to_us = frame.destination == own.mac || frame.destination == group;
        if !to_us || !self.answers(IpAddr::V6(solicitation.target), own.index, now) {
            return None;
        }
        // RFC 4861 section 7.2.4: whoever has no address yet is told with all.
        let (destination, mac) = if solicitation.source.is_unspecified() {
            (ALL_NODES, group_mac(ALL_NODES))
        } else {
            let mac = solicitation.source_mac.unwrap_or(frame.source);
            (solicitation.source, mac)
        };
        // As Linux answers for an address of its own: from that address. Some
        // programs (ndisc6) take no other answer.
        let advertisement = Advertisement {
            source: solicitation.target,
            destination,
            target: solicitation.target,
            target_mac: own.mac,
            solicited: !solicitation.source.is_unspecified(),
            overrides: true,
        };
        Some(ethernet(own, mac, ETHERTYPE_IPV6, &advertisement.encode()))
    }

    fn answers(&self, address: IpAddr, interface: u32, now: Moment) -> bool {
        self.announced
            .get(&address)
            .is_some_and(|announced| announced.until > now && announced.is_on(interface))
    }

    /// The announcements that are due.
    pub fn due(&mut self, now: Moment) -> Vec<Outgoing> {
        let mut frames = Vec::new();
        self.announced.retain(|_, announced| announced.until > now);
        for (address, announced) in &mut self.announced {
            for (index, schedule) in &mut announced.schedules {
                if schedule.next > now {
                    continue;
                }
                schedule.advance(now);
                if let Some(port) = self.interfaces.get(index) {
                    frames.extend(announcements(&port.interface, *address));
                }
            }
        }
        frames
    }

    /// When [`Announcer::due`] has something next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.announced
            .values()
            .flat_map(|announced| announced.schedules.values())
            .map(|schedule| schedule.next)
            .min()
    }

    /// Begins a burst on those interfaces that have none for an address announced
    /// there.
    fn begin(&mut self, now: Moment) {
        for announced in self.announced.values_mut() {
            announced.begin(self.interfaces.values(), now);
        }
    }
}

impl Announced {
    fn begin<'a>(&mut self, ports: impl Iterator<Item = &'a Port>, now: Moment) {
        for port in ports.filter(|port| port.interface.up) {
            let index = port.interface.index;
            if self.is_on(index) {
                self.schedules.entry(index).or_insert(Schedule::new(now));
            }
        }
    }

    fn is_on(&self, interface: u32) -> bool {
        self.interfaces
            .as_ref()
            .is_none_or(|chosen| chosen.contains(&interface))
    }
}

impl Schedule {
    const fn new(now: Moment) -> Self {
        Self {
            next: now,
            left: BURST,
        }
    }

    /// Sets the next time. A late caller sends one, not all that it missed.
    fn advance(&mut self, now: Moment) {
        self.left = self.left.saturating_sub(1);
        self.next = now
            + if self.left > 0 {
                BURST_INTERVAL
            } else {
                REPEAT
            };
    }
}

impl AnswerLimit {
    fn price(self) -> Duration {
        Duration::from_secs(1) / self.per_second.max(1)
    }

    fn full(self) -> Duration {
        self.price() * self.burst
    }
}

impl Port {
    fn spend(&mut self, limit: AnswerLimit, now: Moment) -> bool {
        let earned = now.since(self.credited);
        self.credit = self.credit.saturating_add(earned).min(limit.full());
        self.credited = now;
        match self.credit.checked_sub(limit.price()) {
            Some(left) => {
                self.credit = left;
                true
            }
            None => false,
        }
    }
}

/// What tells a segment where an address is. For IPv4 a request and a reply:
/// some hosts take only the one, some only the other (RFC 5227 section 3).
fn announcements(own: &Interface, address: IpAddr) -> Vec<Outgoing> {
    let frames = match address {
        IpAddr::V4(address) => [ArpOperation::Request, ArpOperation::Reply]
            .map(|operation| gratuitous(own, address, operation))
            .to_vec(),
        IpAddr::V6(address) if own.ipv6 => vec![unsolicited(own, address)],
        IpAddr::V6(_) => Vec::new(),
    };
    let outgoing = |frame| Outgoing {
        interface: own.index,
        frame,
    };
    frames.into_iter().map(outgoing).collect()
}

fn gratuitous(own: &Interface, address: Ipv4Addr, operation: ArpOperation) -> Vec<u8> {
    let target_mac = match operation {
        ArpOperation::Request => MacAddress::ZERO,
        ArpOperation::Reply => MacAddress::BROADCAST,
    };
    let packet = ArpPacket {
        operation,
        sender_mac: own.mac,
        sender: address,
        target_mac,
        target: address,
    };
    ethernet(own, MacAddress::BROADCAST, ETHERTYPE_ARP, &packet.encode())
}

fn unsolicited(own: &Interface, address: Ipv6Addr) -> Vec<u8> {
    let advertisement = Advertisement {
        source: address,
        destination: ALL_NODES,
        target: address,
        target_mac: own.mac,
        solicited: false,
        overrides: true,
    };
    ethernet(
        own,
        group_mac(ALL_NODES),
        ETHERTYPE_IPV6,
        &advertisement.encode(),
    )
}

fn ethernet(own: &Interface, destination: MacAddress, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    EthernetFrame {
        destination,
        source: own.mac,
        ethertype,
        payload,
    }
    .encode()
}
