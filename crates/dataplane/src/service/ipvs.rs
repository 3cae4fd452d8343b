//! Services in IPVS, with the interface, the IP sets and the chains of kube-proxy
//! around it. `docs/backends/ipvs.md` has the picture, and what the kernel cannot
//! do.

mod compare;
mod error;
mod layout;
mod ledger;
mod marks;
mod names;
mod node;
mod part;
mod scheduler;
mod settings;
mod site;
mod survey;
mod text;
mod write;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use podway_kernel::conntrack::{Conntrack, ConntrackTable};
use podway_kernel::ipset::{IpSetTable, TypedSets};
use podway_kernel::iptables::{Family, Iptables, Xtables};
use podway_kernel::ipvs::{Ipvs, IpvsTable};
use podway_kernel::nft;
use podway_model::IpFamily;
use podway_plan::service::{ServiceChange, ServiceTable};

pub use error::IpvsError;
pub use names::DEVICE;
pub use node::{Addresses, FakeNode, KernelNode, Node};
pub use settings::IpvsSettings;
pub use text::{Rendered, render};

use self::layout::ClusterMasquerade;
use self::ledger::Ledger;
use self::names::kernel_family;
use self::part::View;
use self::site::Site;
use self::write::{Draining, Writer};
use super::stale::StaleFlows;
use super::{BackendSpec, Error, ServiceBackend, ServiceSettings, SyncReport};

/// The mode `ipvs`.
pub const SPEC: BackendSpec = BackendSpec {
    name: "ipvs",
    summary: "virtual servers of the kernel, with its schedulers, and kube-proxy's IP sets",
    probe,
    open,
    render_text: |table, settings| render(table, settings, &BTreeSet::new()).to_string(),
};

/// How often to look for endpoints whose connections have ended: they get no new
/// ones, so that nobody waits for it.
const PACE: Duration = Duration::from_secs(10);

/// What the mode is made of.
#[derive(Debug, Clone)]
pub struct Kernel<V, S, I, N, C> {
    /// Virtual servers.
    pub ipvs: V,
    /// IP sets.
    pub sets: S,
    /// Rules.
    pub iptables: I,
    /// The interface, addresses, parameters.
    pub node: N,
    /// Flows.
    pub conntrack: C,
}

/// Services in IPVS.
#[derive(Debug)]
pub struct IpvsServices<V, S, I, N, C> {
    kernel: Kernel<V, S, I, N, C>,
    settings: ServiceSettings,
    draining: Draining,
    /// Another mode serves; its rules may have the names of ours.
    is_left: bool,
    /// What the kernel holds; `None` where only reading it can tell.
    known: Option<Known>,
}

/// What the kernel holds.
#[derive(Debug)]
struct Known {
    ledger: Ledger,
    view: View,
    masquerade: Vec<(IpFamily, ClusterMasquerade)>,
}

fn open(settings: ServiceSettings) -> Result<Box<dyn ServiceBackend>, Error> {
    let kernel = open_kernel().map_err(Error::Ipvs)?;
    let conntrack = ConntrackTable::open()?;
    let kernel = Kernel {
        ipvs: kernel.ipvs,
        sets: kernel.sets,
        iptables: kernel.iptables,
        node: kernel.node,
        conntrack,
    };
    Ok(Box::new(IpvsServices::new(kernel, settings)))
}

fn open_kernel() -> Result<Kernel<IpvsTable, IpSetTable, Xtables, KernelNode, ()>, IpvsError> {
    Ok(Kernel {
        ipvs: IpvsTable::open()?,
        sets: IpSetTable::open()?,
        iptables: Xtables::open()?,
        node: KernelNode::open()?,
        conntrack: (),
    })
}

/// Whether something of this mode is here, ours or kube-proxy's.
///
/// # Errors
/// Failures of netlink.
pub(super) fn is_there() -> Result<bool, Error> {
    // Where the kernel cannot do it, nothing is.
    let Ok(mut kernel) = open_kernel() else {
        return Ok(false);
    };
    let found = kernel.node.addresses().and_then(|addresses| {
        let sets = survey::held_sets(&mut kernel.sets)?;
        Ok(addresses.bound.is_some() || !sets.is_empty())
    });
    found.map_err(Error::Ipvs)
}

/// Asks for each part, by making one of its kind and removing it again.
fn probe() -> Result<(), Error> {
    survey::probe().map_err(|source| Error::Missing {
        backend: SPEC.name,
        source: source.into(),
    })
}

impl<V, S, I, N, C> IpvsServices<V, S, I, N, C>
where
    V: Ipvs,
    S: TypedSets,
    I: Iptables,
    N: Node,
    C: Conntrack,
{
    /// A backend that has not read the kernel yet.
    #[must_use]
    pub fn new(kernel: Kernel<V, S, I, N, C>, settings: ServiceSettings) -> Self {
        Self {
            kernel,
            settings,
            draining: Draining::default(),
            is_left: false,
            known: None,
        }
    }

    /// What it writes to, for tests that spoil it.
    pub const fn kernel_mut(&mut self) -> &mut Kernel<V, S, I, N, C> {
        &mut self.kernel
    }

    fn families(&self) -> Vec<IpFamily> {
        let families = self.kernel.iptables.families().iter();
        families
            .map(|family| match family {
                Family::V4 => IpFamily::V4,
                Family::V6 => IpFamily::V6,
            })
            .collect()
    }

    fn sync_whole(&mut self, table: &ServiceTable) -> Result<(u64, Known), IpvsError> {
        self.is_left = false;
        let families = self.families();
        let settings = self.settings.clone();
        survey::require_scheduler(&mut self.kernel.ipvs, &settings.ipvs.scheduler)?;
        let parameters = self.kernel.node.set_parameters(settings.ipvs.strict_arp);
        parameters?;
        if let Some(timeouts) = survey::timeouts(&mut self.kernel.ipvs, &settings.ipvs)? {
            self.kernel.ipvs.set_timeouts(timeouts)?;
        }
        self.kernel.node.make_device()?;
        let addresses = self.kernel.node.addresses()?;
        let (sets, mut written) = survey::sets(&mut self.kernel.sets, &families)?;
        let view = View::new(&addresses.others, &settings);
        let ledger = Ledger::of_table(table, &view, survey::marks(&sets));
        written += self.mend_rules(table, &families, &ledger)?;
        let mut held = survey::Held::new(sets, addresses);
        let ours = |server: &_| held.is_ours(server, &view, &settings.ipvs);
        let servers = survey::servers(&mut self.kernel.ipvs, &ledger, ours)?;
        let draft = held.draft(&ledger, &families, servers);
        written += self.write(draft, &ledger)?;
        let known = Known {
            masquerade: masquerades(&families, &ledger),
            ledger,
            view,
        };
        Ok((written, known))
    }

    /// `None` where rules depend on what has changed.
    fn sync_change(
        &mut self,
        table: &ServiceTable,
        change: &ServiceChange,
        mut known: Known,
    ) -> Result<Option<(u64, Known)>, IpvsError> {
        if !change.service_prefixes.is_empty() || self.is_node_changed()? {
            return Ok(None);
        }
        let draft = known.ledger.apply(table, change, &known.view);
        if masquerades(&self.families(), &known.ledger) != known.masquerade {
            return Ok(None);
        }
        let written = self.write(draft, &known.ledger)?;
        Ok(Some((written, known)))
    }

    fn is_node_changed(&mut self) -> Result<bool, IpvsError> {
        self.kernel.node.is_changed()
    }

    fn write(&mut self, draft: ledger::Draft, ledger: &Ledger) -> Result<u64, IpvsError> {
        let mut writer = Writer {
            ipvs: &mut self.kernel.ipvs,
            sets: &mut self.kernel.sets,
            node: &mut self.kernel.node,
            written: 0,
        };
        writer.write(draft, &mut self.draining, |item| ledger.needs(item))?;
        Ok(writer.written)
    }

    fn mend_rules(
        &mut self,
        table: &ServiceTable,
        families: &[IpFamily],
        ledger: &Ledger,
    ) -> Result<u64, IpvsError> {
        let mut lines = 0;
        for family in families {
            let site = Site::new(*family, &self.settings);
            let masquerade = ledger.masquerade(*family);
            let wanted = layout::chains(&site, masquerade, &table.service_prefixes);
            let held = self.kernel.iptables.save(kernel_family(*family))?;
            let scripts = compare::mend(&held, &wanted, Some(&site));
            let restored = self
                .kernel
                .iptables
                .restore(kernel_family(*family), &scripts)?;
            lines += restored.lines;
        }
        Ok(lines)
    }

    /// Nothing new comes to a virtual server. True where none has anything left.
    fn drain(&mut self) -> Result<bool, IpvsError> {
        if !self.is_left {
            self.remove_rules()?;
            self.is_left = true;
        }
        let addresses = self.kernel.node.addresses()?;
        let view = View::new(&addresses.others, &self.settings);
        let bound = addresses.bound.clone().unwrap_or_default();
        let held = survey::held_sets(&mut self.kernel.sets)?;
        let held = survey::Held::new(held, addresses);
        let settings = self.settings.ipvs.clone();
        let ours = |server: &_| held.is_ours(server, &view, &settings);
        let mut servers = survey::servers(&mut self.kernel.ipvs, &Ledger::default(), ours)?;
        for (before, _) in servers.values_mut() {
            // Nobody is told to move: flows of datagrams end by themselves, too.
            before.iter_mut().for_each(|s| s.is_datagram = false);
        }
        let removed = bound.into_iter().flat_map(part::Item::address).collect();
        let draft = ledger::Draft {
            removed,
            servers,
            ..ledger::Draft::default()
        };
        self.write(draft, &Ledger::default())?;
        Ok(self.draining.is_empty())
    }

    fn remove_everything(&mut self) -> Result<(), IpvsError> {
        let addresses = self.kernel.node.addresses()?;
        let held_sets = survey::held_sets(&mut self.kernel.sets)?;
        let view = View::new(&addresses.others, &self.settings);
        let held = survey::Held::new(held_sets.clone(), addresses);
        let settings = self.settings.ipvs.clone();
        for server in self.kernel.ipvs.servers()?.keys() {
            if held.is_ours(server, &view, &settings) {
                self.kernel.ipvs.remove(server)?;
            }
        }
        if !self.is_left {
            self.remove_rules()?;
        }
        self.kernel.node.remove_device()?;
        for set in held_sets.into_keys() {
            survey::destroy(&mut self.kernel.sets, &set.name())?;
        }
        Ok(())
    }

    fn remove_rules(&mut self) -> Result<(), IpvsError> {
        for family in self.families() {
            let rules = self.kernel.iptables.save(kernel_family(family))?;
            let scripts = compare::mend(&rules, &layout::Chains::new(), None);
            self.kernel
                .iptables
                .restore(kernel_family(family), &scripts)?;
        }
        Ok(())
    }
}

/// Whose connections to cluster IPs are masqueraded, by family.
fn masquerades(families: &[IpFamily], ledger: &Ledger) -> Vec<(IpFamily, ClusterMasquerade)> {
    let families = families.iter();
    families.map(|f| (*f, ledger.masquerade(*f))).collect()
}

impl<V, S, I, N, C> ServiceBackend for IpvsServices<V, S, I, N, C>
where
    V: Ipvs + Send,
    S: TypedSets + Send,
    I: Iptables + Send,
    N: Node + Send,
    C: Conntrack + Send,
{
    fn sync(
        &mut self,
        table: &ServiceTable,
        change: Option<&ServiceChange>,
    ) -> Result<SyncReport, Error> {
        // Taken: it comes back only when all of it is in the kernel.
        let mut done = None;
        let mut stale = None;
        if let (Some(known), Some(change)) = (self.known.take(), change) {
            let flows = StaleFlows::of_change(table, change, |pool| {
                known.ledger.users(pool).copied().collect()
            });
            done = self.sync_change(table, change, known)?;
            stale = Some(flows);
        }
        let full = done.is_none();
        let (written, known) = match done {
            Some(done) => done,
            None => {
                stale = None;
                self.sync_whole(table)?
            }
        };
        let stale = stale.unwrap_or_else(|| StaleFlows::of_table(table));
        let stale_flows = stale.end(&mut self.kernel.conntrack)?;
        self.known = Some(known);
        Ok(SyncReport {
            written: nft::Written {
                transactions: u64::from(written > 0),
                messages: written,
                elements: written,
            },
            full,
            stale_flows,
        })
    }

    /// Endpoints whose connections have ended go, and new addresses of the node
    /// serve node ports.
    fn follow_up(&mut self, table: &ServiceTable, now: Instant) -> Result<Option<Instant>, Error> {
        match self.known.take() {
            Some(known) if !self.is_node_changed()? => {
                self.write(ledger::Draft::default(), &known.ledger)?;
                self.known = Some(known);
            }
            _ => {
                self.sync(table, None)?;
            }
        }
        Ok(Some(now + PACE))
    }

    fn configure(&mut self, settings: ServiceSettings) {
        self.settings = settings;
        self.known = None;
    }

    fn cleanup(&mut self) -> Result<(), Error> {
        self.known = None;
        self.draining = Draining::default();
        Ok(self.remove_everything()?)
    }

    fn leave(&mut self) -> Result<bool, Error> {
        self.known = None;
        let is_idle = self.drain()?;
        if is_idle {
            self.cleanup()?;
        }
        Ok(is_idle)
    }

    fn netlink_port(&self) -> Option<u32> {
        None
    }
}
