//! What one frontend has in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use podway_kernel::ipset::{Member, Port};
use podway_kernel::ipvs::{Scheduling, VirtualServer};
use podway_model::{IpFamily, Protocol};
use podway_plan::service::{Frontend, FrontendAddress, FrontendKind, Pool, PoolId, Route, Verdict};

use super::marks::Marks;
use super::names::{Kind, Set, kernel_family};
use super::scheduler::scheduling;

/// Something that is there or not, and that several frontends may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Item {
    /// A member of a set.
    Member(Set, Member),
    /// An address of the interface.
    Bound(IpAddr),
}

/// A virtual server as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) scheduling: Scheduling,
    /// Real servers with their weights.
    pub(super) reals: BTreeMap<SocketAddr, u32>,
    /// Whether its connections have no end that could be waited for (UDP).
    pub(super) is_datagram: bool,
}

/// What a frontend has in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) items: BTreeSet<Item>,
    pub(super) servers: BTreeMap<VirtualServer, Server>,
}

/// What parts need to know of their node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Its addresses, those of our interface excepted.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Those of them that serve node ports.
    pub(super) node_ports: BTreeSet<IpAddr>,
    /// Where its pods are, as far as prefixes tell.
    pub(super) pods: Vec<IpNet>,
    /// The scheduler of pools whose endpoints weigh the same.
    pub(super) scheduler: Box<str>,
}

/// A frontend on its way to a part.
pub(super) struct Renderer<'a> {
    pub(super) view: &'a View,
    pub(super) frontend: &'a Frontend,
    pub(super) route: &'a Route,
    /// The addresses and ports that it is, as the node has them.
    pub(super) ports: Vec<Port>,
}

impl Item {
    /// An address of the interface is also in the set of those.
    pub(super) fn address(address: IpAddr) -> [Self; 2] {
        let set = Set::new(Kind::Addresses, IpFamily::of(&address));
        [
            Self::Bound(address),
            Self::Member(set, Member::Address(address)),
        ]
    }
}

impl View {
    /// The addresses and ports of a frontend. A frontend of one address goes
    /// before a node port: `taken` tells which addresses have one.
    pub(super) fn ports(
        &self,
        frontend: &Frontend,
        taken: impl Fn(&Frontend) -> bool,
    ) -> Vec<Port> {
        let at = |address| Port {
            protocol: number(frontend.protocol),
            address: SocketAddr::new(address, frontend.port),
        };
        let family = match frontend.address {
            FrontendAddress::Ip(address) => return vec![at(address)],
            FrontendAddress::Node(family) => family,
        };
        let addresses = self.node_ports.iter().copied();
        addresses
            .filter(|address| IpFamily::of(address) == family)
            .filter(|address| {
                !taken(&Frontend {
                    address: FrontendAddress::Ip(*address),
                    ..*frontend
                })
            })
            .map(at)
            .collect()
    }
}

impl Renderer<'_> {
    /// The part. `pool` gives the pools of the table; a mark is taken where some
    /// kind of source has other endpoints than the rest.
    pub(super) fn part<'p>(
        &self,
        pool: impl Fn(&PoolId) -> Option<&'p Pool>,
        marks: &mut Marks,
    ) -> Part {
        let mut part = Part::default();
        self.addresses(&mut part);
        self.membership(&mut part);
        self.refusals(&mut part);
        let verdicts = [
            &self.route.from_outside,
            &self.route.from_pod,
            &self.route.from_node,
        ];
        let Some(first) = verdicts.into_iter().find_map(target) else {
            marks.release(self.frontend);
            return part;
        };
        if let Some(pool) = pool(first) {
            for port in &self.ports {
                let server = VirtualServer::Address {
                    protocol: port.protocol,
                    address: port.address,
                };
                self.serve(&mut part, server, pool);
            }
        }
        self.short_circuits(first, &mut part, pool, marks);
        part
    }

    const fn set(&self, kind: Kind) -> Set {
        Set::new(kind, self.family())
    }

    const fn family(&self) -> IpFamily {
        match self.frontend.address {
            FrontendAddress::Ip(IpAddr::V4(_)) => IpFamily::V4,
            FrontendAddress::Ip(IpAddr::V6(_)) => IpFamily::V6,
            FrontendAddress::Node(family) => family,
        }
    }

    fn each_port(&self, part: &mut Part, kind: Kind) {
        let set = self.set(kind);
        let members = self.ports.iter().map(|port| Member::AddressPort(*port));
        part.items
            .extend(members.map(|member| Item::Member(set, member)));
    }

    /// An address that the node does not have by itself becomes local.
    fn addresses(&self, part: &mut Part) {
        let FrontendAddress::Ip(address) = self.frontend.address else {
            return;
        };
        if !self.view.addresses.contains(&address) {
            part.items.extend(Item::address(address));
        }
    }

    /// The sets that say what the frontend is.
    fn membership(&self, part: &mut Part) {
        if let Some(prefixes) = &self.route.allow_from {
            self.each_port(part, Kind::LoadBalancerFirewall);
            self.source_ranges(part, prefixes);
        }
        if self.verdicts().into_iter().all(|v| target(v).is_none()) {
            return;
        }
        let keeps = self.keeps_source();
        match self.route.kind {
            FrontendKind::ClusterIp => self.each_port(part, Kind::ClusterIp),
            FrontendKind::ExternalIp if keeps => self.each_port(part, Kind::ExternalIpLocal),
            FrontendKind::ExternalIp => self.each_port(part, Kind::ExternalIp),
            FrontendKind::LoadBalancerIp => {
                self.each_port(part, Kind::LoadBalancer);
                if keeps {
                    self.each_port(part, Kind::LoadBalancerLocal);
                }
            }
            FrontendKind::NodePort => self.node_port(part, keeps),
        }
    }

    fn node_port(&self, part: &mut Part, keeps: bool) {
        let (all, local) = match self.frontend.protocol {
            Protocol::Tcp => (Kind::NodePortTcp, Kind::NodePortLocalTcp),
            Protocol::Udp => (Kind::NodePortUdp, Kind::NodePortLocalUdp),
            Protocol::Sctp => (Kind::NodePortSctp, Kind::NodePortLocalSctp),
        };
        for kind in [Some(all), keeps.then_some(local)].into_iter().flatten() {
            if self.frontend.protocol == Protocol::Sctp {
                self.each_port(part, kind);
            } else {
                let member = Member::Port(self.frontend.port);
                part.items.insert(Item::Member(self.set(kind), member));
            }
        }
    }

    fn source_ranges(&self, part: &mut Part, prefixes: &[IpNet]) {
        for port in &self.ports {
            for prefix in prefixes {
                let itself = IpNet::from(port.address.ip());
                if *prefix == itself {
                    let member = Member::AddressPortAddress(*port, itself.addr());
                    let set = self.set(Kind::LoadBalancerSourceIp);
                    part.items.insert(Item::Member(set, member));
                    continue;
                }
                let set = self.set(Kind::LoadBalancerSourcePrefix);
                for prefix in storable(*prefix) {
                    let member = Member::AddressPortPrefix(*port, prefix);
                    part.items.insert(Item::Member(set, member));
                }
            }
        }
    }

    /// Verdicts that do not forward. A service port without any endpoint
    /// rejects whatever the source.
    fn refusals(&self, part: &mut Part) {
        let verdicts = self.verdicts();
        if verdicts.contains(&&Verdict::Reject) {
            self.each_port(part, Kind::Reject);
        }
        let kinds = [Kind::DropPod, Kind::DropNode, Kind::DropOutside];
        for (verdict, kind) in verdicts.into_iter().zip(kinds) {
            if *verdict == Verdict::Drop {
                self.each_port(part, kind);
            }
        }
    }

    /// Sources that have another pool than the virtual server of the address
    /// are led to one by mark. Connections of the node always have the mark for
    /// masquerading as well, when IPVS sees them: their source may be the very
    /// address that they go to.
    fn short_circuits<'p>(
        &self,
        first: &PoolId,
        part: &mut Part,
        pool: impl Fn(&PoolId) -> Option<&'p Pool>,
        marks: &mut Marks,
    ) {
        let mut is_needed = false;
        for (verdict, kind, masquerade) in [
            (&self.route.from_pod, Kind::ShortCircuitPod, false),
            (&self.route.from_node, Kind::ShortCircuitNode, true),
        ] {
            // A node port may have no address left.
            let other = target(verdict).filter(|other| *other != first && !self.ports.is_empty());
            let Some(other) = other else { continue };
            let Some(pool) = pool(other) else { continue };
            is_needed = true;
            let masquerade = masquerade || masquerades(verdict);
            let mark = marks.of(self.frontend, &self.ports).value(masquerade);
            let set = self.set(kind);
            let members = self
                .ports
                .iter()
                .map(|port| Item::Member(set, Member::AddressPortMark(*port, mark)));
            part.items.extend(members);
            let family = kernel_family(self.family());
            self.serve(part, VirtualServer::Mark { family, mark }, pool);
        }
        if !is_needed {
            marks.release(self.frontend);
        }
    }

    fn serve(&self, part: &mut Part, server: VirtualServer, pool: &Pool) {
        let weights = pool.open().map(|(_, endpoint)| endpoint.weight);
        let weights: BTreeSet<u8> = weights.collect();
        // As kube-proxy has it where nothing else is asked for.
        let is_even = weights.len() == 1;
        let weight = |weight: u8| match weight {
            0 => 0,
            _ if is_even => 1,
            weight => u32::from(weight),
        };
        let reals = pool.endpoints.iter();
        let reals = reals.map(|(address, endpoint)| (*address, weight(endpoint.weight)));
        let server_wanted = Server {
            scheduling: scheduling(&self.view.scheduler, is_even, pool.affinity),
            reals: reals.collect(),
            is_datagram: self.frontend.protocol == Protocol::Udp,
        };
        part.servers.insert(server, server_wanted);
        self.hairpins(part, pool);
    }

    /// A connection of an endpoint to itself: its answer would not pass the
    /// node.
    fn hairpins(&self, part: &mut Part, pool: &Pool) {
        let set = self.set(Kind::LoopBack);
        for (address, endpoint) in &pool.endpoints {
            let is_here = |prefix: &IpNet| prefix.contains(&address.ip());
            if !endpoint.local && !self.view.pods.iter().any(is_here) {
                continue;
            }
            let port = Port {
                protocol: number(self.frontend.protocol),
                address: *address,
            };
            let member = Member::AddressPortAddress(port, address.ip());
            part.items.insert(Item::Member(set, member));
        }
    }

    const fn verdicts(&self) -> [&Verdict; 3] {
        [
            &self.route.from_pod,
            &self.route.from_node,
            &self.route.from_outside,
        ]
    }

    /// Whether clients outside keep their address.
    fn keeps_source(&self) -> bool {
        !masquerades(&self.route.from_outside)
    }
}

const fn target(verdict: &Verdict) -> Option<&PoolId> {
    match verdict {
        Verdict::Forward { pool, .. } => Some(pool),
        Verdict::Reject | Verdict::Drop => None,
    }
}

const fn masquerades(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Forward {
            masquerade: true,
            ..
        }
    )
}

/// No set can hold a prefix of every address, but the two halves.
fn storable(prefix: IpNet) -> Vec<IpNet> {
    match prefix.prefix_len() {
        0 => prefix.subnets(1).expect("longer than 0").collect(),
        _ => vec![prefix],
    }
}

/// IANA number.
pub(super) const fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}
