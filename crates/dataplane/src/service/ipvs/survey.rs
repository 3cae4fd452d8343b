//! What is there already: read once at a start or after an error, and compared
//! with what should be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use podway_kernel::ipset::{Member, TypedSets};
use podway_kernel::iptables::{Iptables as _, Rule, Script, Table};
use podway_kernel::ipvs::{Ipvs, RealServer, Timeouts, VirtualServer};
use podway_model::IpFamily;

use super::ledger::{Draft, Ledger, address_of};
use super::marks::Marks;
use super::names::{Kind, Set, kernel_family};
use super::node::Addresses;
use super::part::{Item, Server, View};
use super::settings::IpvsSettings;
use super::site::Site;
use super::{IpvsError, layout, open_kernel};
use crate::service::ServiceSettings;

/// The kernel lets go of the rules that it deleted a moment later, and sets are
/// busy until then: within this many times the pause, or never.
const PATIENCE: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// Sets with their members.
pub(super) type HeldSets = BTreeMap<Set, BTreeSet<Member>>;

/// How virtual servers become others.
type Servers = BTreeMap<VirtualServer, (Option<Server>, Option<Server>)>;

/// What sets and addresses there are.
#[derive(Debug)]
pub(super) struct Held {
    sets: HeldSets,
    addresses: Addresses,
}

impl View {
    /// What settings and the node's addresses say.
    pub(super) fn new(addresses: &BTreeSet<IpAddr>, settings: &ServiceSettings) -> Self {
        let serves = |address: &&IpAddr| {
            let prefixes = settings.node_port_prefixes.iter();
            let family = IpFamily::of(address);
            let mut prefixes = prefixes
                .filter(|prefix| IpFamily::of(&prefix.addr()) == family)
                .peekable();
            prefixes.peek().is_none() || prefixes.any(|prefix| prefix.contains(*address))
        };
        Self {
            addresses: addresses.clone(),
            node_ports: addresses.iter().filter(serves).copied().collect(),
            pods: settings.pod_prefixes.clone(),
            scheduler: settings.ipvs.scheduler.clone(),
        }
    }
}

/// The sets of this mode that there are.
pub(super) fn held_sets(kernel: &mut impl TypedSets) -> Result<HeldSets, IpvsError> {
    let listed = kernel.list()?;
    let mut held = HeldSets::new();
    for set in IpFamily::ALL.into_iter().flat_map(Set::of) {
        if listed.contains_key(&*set.name()) {
            held.insert(set, kernel.members(&set.made())?);
        }
    }
    Ok(held)
}

/// The same with those made that are missing, and how many were.
pub(super) fn sets(
    kernel: &mut impl TypedSets,
    families: &[IpFamily],
) -> Result<(HeldSets, u64), IpvsError> {
    let listed = kernel.list()?;
    let mut written = 0;
    let mut held = HeldSets::new();
    for set in families.iter().copied().flat_map(Set::of) {
        let wanted = set.made();
        let present = listed.get(&wanted.name);
        if present.is_some_and(|present| present.set_type != wanted.set_type) {
            destroy(kernel, &wanted.name)?;
        } else if present.is_some() {
            held.insert(set, kernel.members(&wanted)?);
            continue;
        }
        kernel.create(&wanted)?;
        written += 1;
        held.insert(set, BTreeSet::new());
    }
    Ok((held, written))
}

/// Removes a set that rules named until now.
pub(super) fn destroy(kernel: &mut impl TypedSets, name: &str) -> Result<(), IpvsError> {
    for _ in 0..PATIENCE {
        if kernel.destroy(name)? {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
    Err(IpvsError::SetTaken { name: name.into() })
}

/// The marks that sets give.
pub(super) fn marks(sets: &HeldSets) -> Marks {
    let of_kind = sets
        .iter()
        .filter(|(set, _)| matches!(set.kind, Kind::ShortCircuitPod | Kind::ShortCircuitNode));
    let members = of_kind.flat_map(|(_, members)| members);
    Marks::held(members.filter_map(|member| match member {
        Member::AddressPortMark(port, mark) => Some((*port, *mark)),
        _ => None,
    }))
}

/// Virtual servers as they are and as they should be: ours that are not wanted
/// among them.
pub(super) fn servers(
    kernel: &mut impl Ipvs,
    ledger: &Ledger,
    is_ours: impl Fn(&VirtualServer) -> bool,
) -> Result<Servers, IpvsError> {
    let mut servers = Servers::new();
    for (server, wanted) in ledger.servers() {
        servers.insert(*server, (None, Some(wanted.clone())));
    }
    for (server, scheduling) in kernel.servers()? {
        if !servers.contains_key(&server) && !is_ours(&server) {
            continue;
        }
        let reals = kernel.real_servers(&server)?;
        let entry = servers.entry(server).or_default();
        entry.0 = Some(Server {
            scheduling,
            reals: weights(reals),
            // The kernel does not say it of a mark.
            is_datagram: entry.1.as_ref().map_or_else(
                || matches!(server, VirtualServer::Address { protocol: 17, .. }),
                |wanted| wanted.is_datagram,
            ),
        });
    }
    servers.retain(|_, (before, after)| before != after);
    Ok(servers)
}

fn weights(reals: BTreeMap<SocketAddr, RealServer>) -> BTreeMap<SocketAddr, u32> {
    let reals = reals.into_iter();
    reals.map(|(real, held)| (real, held.weight)).collect()
}

impl Held {
    pub(super) const fn new(sets: HeldSets, addresses: Addresses) -> Self {
        Self { sets, addresses }
    }

    /// Whether a virtual server is one that we, or kube-proxy in our place, have
    /// made: it is at an address of our interface, or our sets say so.
    pub(super) fn is_ours(
        &self,
        server: &VirtualServer,
        view: &View,
        settings: &IpvsSettings,
    ) -> bool {
        let (protocol, address) = match server {
            VirtualServer::Mark { mark, .. } => return self.has_mark(*mark),
            VirtualServer::Address { protocol, address } => (*protocol, *address),
        };
        let ip = address.ip();
        if settings.exclude.iter().any(|prefix| prefix.contains(&ip)) {
            return false;
        }
        let bound = self.addresses.bound.as_ref();
        bound.is_some_and(|bound| bound.contains(&ip))
            || self.has_port(protocol, address)
            || (view.addresses.contains(&ip) && self.has_node_port(protocol, address))
    }

    fn members(&self, kind: Kind) -> impl Iterator<Item = &Member> {
        let sets = self.sets.iter().filter(move |(set, _)| set.kind == kind);
        sets.flat_map(|(_, members)| members)
    }

    fn has_mark(&self, mark: u32) -> bool {
        let kinds = [Kind::ShortCircuitPod, Kind::ShortCircuitNode];
        let mut members = kinds.into_iter().flat_map(|kind| self.members(kind));
        members.any(|member| matches!(member, Member::AddressPortMark(_, held) if *held == mark))
    }

    fn has_port(&self, protocol: u8, address: SocketAddr) -> bool {
        let member = Member::AddressPort(podway_kernel::ipset::Port { protocol, address });
        let kinds = [
            Kind::ClusterIp,
            Kind::ExternalIp,
            Kind::ExternalIpLocal,
            Kind::LoadBalancer,
            Kind::NodePortSctp,
        ];
        let family = IpFamily::of(&address.ip());
        kinds.into_iter().any(|kind| {
            let set = self.sets.get(&Set::new(kind, family));
            set.is_some_and(|members| members.contains(&member))
        })
    }

    fn has_node_port(&self, protocol: u8, address: SocketAddr) -> bool {
        let kind = match protocol {
            6 => Kind::NodePortTcp,
            17 => Kind::NodePortUdp,
            _ => return false,
        };
        let set = self.sets.get(&Set::new(kind, IpFamily::of(&address.ip())));
        set.is_some_and(|members| members.contains(&Member::Port(address.port())))
    }

    /// What has to be written for the ledger to be true.
    pub(super) fn draft(
        &mut self,
        ledger: &Ledger,
        families: &[IpFamily],
        servers: Servers,
    ) -> Draft {
        let mut held = BTreeSet::new();
        for (set, members) in std::mem::take(&mut self.sets) {
            held.extend(members.into_iter().map(|member| Item::Member(set, member)));
        }
        let bound = self.addresses.bound.take().unwrap_or_default();
        held.extend(bound.into_iter().map(Item::Bound));
        let is_served = |item: &&Item| match item {
            Item::Member(set, _) => families.contains(&set.family),
            Item::Bound(address) => families.contains(&IpFamily::of(address)),
        };
        let wanted: BTreeSet<Item> = ledger.items().filter(is_served).copied().collect();
        let mut draft = Draft {
            added: wanted.difference(&held).copied().collect(),
            removed: held.difference(&wanted).copied().collect(),
            servers: servers
                .into_iter()
                .filter(|(server, _)| is_of(server, families))
                .collect(),
        };
        draft.keep_remarked();
        draft
    }
}

fn is_of(server: &VirtualServer, families: &[IpFamily]) -> bool {
    match address_of(server) {
        Some(address) => families.contains(&IpFamily::of(&address)),
        None => families
            .iter()
            .any(|family| kernel_family(*family) == server.family()),
    }
}

/// Refuses a scheduler that the kernel does not have.
pub(super) fn require_scheduler(kernel: &mut impl Ipvs, name: &str) -> Result<(), IpvsError> {
    if kernel.has_scheduler(name)? {
        return Ok(());
    }
    Err(IpvsError::Scheduler {
        name: name.into(),
        present: kernel.schedulers()?,
    })
}

/// The timeouts to set; `None` where they are as wanted.
pub(super) fn timeouts(
    kernel: &mut impl Ipvs,
    settings: &IpvsSettings,
) -> Result<Option<Timeouts>, IpvsError> {
    let held = kernel.timeouts()?;
    let wanted = Timeouts {
        tcp: settings.tcp_timeout.unwrap_or(held.tcp),
        tcp_fin: settings.tcp_fin_timeout.unwrap_or(held.tcp_fin),
        udp: settings.udp_timeout.unwrap_or(held.udp),
    };
    Ok((wanted != held).then_some(wanted))
}

/// Makes one of everything, and removes it again. Nothing leads to it: no packet
/// sees it.
pub(super) fn probe() -> Result<(), IpvsError> {
    const CHAIN: &str = "KUBE-PODWAY-PROBE";
    const DEVICE: &str = "podway-probe";
    let mut kernel = open_kernel()?;
    require_scheduler(&mut kernel.ipvs, "rr")?;
    kernel.node.probe(DEVICE)?;
    for family in kernel.iptables.families().to_vec() {
        let family = IpFamily::ALL
            .into_iter()
            .find(|ip_family| kernel_family(*ip_family) == family)
            .expect("both families are known");
        let site = Site::new(family, &ServiceSettings::default());
        let mut made = Vec::new();
        let result = probe_rules(&mut kernel, &site, CHAIN, &mut made);
        let mut script = Script::new();
        for table in Table::ALL {
            script.remove(table, &CHAIN.into());
        }
        let removed = kernel.iptables.restore(kernel_family(family), &[script]);
        for name in made {
            destroy(&mut kernel.sets, &name)?;
        }
        result?;
        removed?;
    }
    Ok(())
}

type Opened = super::Kernel<
    podway_kernel::ipvs::IpvsTable,
    podway_kernel::ipset::IpSetTable,
    podway_kernel::iptables::Xtables,
    super::KernelNode,
    (),
>;

/// Every rule there is, in one chain of each table, over sets that were missing.
fn probe_rules(
    kernel: &mut Opened,
    site: &Site,
    chain: &str,
    made: &mut Vec<String>,
) -> Result<(), IpvsError> {
    let listed = TypedSets::list(&mut kernel.sets)?;
    for set in Set::of(site.family).map(Set::made) {
        if !listed.contains_key(&set.name) {
            TypedSets::create(&mut kernel.sets, &set)?;
            made.push(set.name);
        }
    }
    let mut rules = BTreeMap::<Table, Vec<Rule>>::new();
    let wanted = layout::chains(
        site,
        layout::ClusterMasquerade::Everybody,
        &BTreeSet::default(),
    );
    for ((table, _), of_chain) in wanted {
        let leads_to_ours = |rule: &Rule| rule.target().is_some_and(|t| t.starts_with("KUBE-"));
        let of_chain = of_chain.into_iter().filter(|rule| !leads_to_ours(rule));
        rules.entry(table).or_default().extend(of_chain);
    }
    let mut script = Script::new();
    for (table, rules) in rules {
        script.chain(table, &chain.into(), rules);
    }
    kernel
        .iptables
        .restore(kernel_family(site.family), &[script])?;
    Ok(())
}
