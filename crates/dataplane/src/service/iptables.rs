//! Services in kube-proxy's chains of iptables. `docs/backends/iptables.md` has
//! the picture, and every difference from kube-proxy.

mod chains;
mod compare;
mod layout;
mod ledger;
mod listing;
mod names;
mod render;
mod sets;
mod site;
mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use podway_kernel::conntrack::{Conntrack, ConntrackTable};
use podway_kernel::ipset::{IpSet, IpSetTable, IpSets};
use podway_kernel::iptables::{Chains, Family, Iptables, Rule, Script, Table, Written, Xtables};
use podway_kernel::{nft, sysctl};
use podway_model::IpFamily;
use podway_plan::service::{ServiceChange, ServiceTable};

use self::compare::Comparison;
use self::ledger::Ledger;
use self::names::CLUSTER_IPS;
use self::render::{ClientSets, Draft};
use self::sets::Sets;
use self::site::{Site, kernel_family};
use super::stale::StaleFlows;
use super::{BackendSpec, Error, ServiceBackend, ServiceSettings, SyncReport};

/// The mode `iptables`.
pub const SPEC: BackendSpec = BackendSpec {
    name: "iptables",
    summary: "kube-proxy's chains, for hosts and tools that know them",
    probe,
    open,
    render_text: |table, settings| {
        let text = |family| {
            let rules = render(table, settings, family);
            format!("# {family}\n{}", render::text(&rules))
        };
        IpFamily::ALL.map(text).concat()
    },
};

/// Services in iptables.
#[derive(Debug)]
pub struct IptablesServices<I, S, C> {
    iptables: I,
    sets: Sets<S>,
    conntrack: C,
    settings: ServiceSettings,
    drop_invalid: bool,
    sites: Vec<Site>,
    /// What the kernel holds; `None` where only reading it can tell.
    ledger: Option<Ledger>,
}

/// Everything that the kernel should hold of a family for a table: our chains,
/// and the jumps to them in those that are built in.
#[must_use]
pub fn render(
    table: &ServiceTable,
    settings: &ServiceSettings,
    family: IpFamily,
) -> BTreeMap<Table, Chains> {
    let site = Site::new(family, settings, true);
    render::whole(table, &Ledger::of_table(table), &site)
}

/// The set of a family's cluster IPs: a rule refuses the ports of these that no
/// service has.
#[must_use]
pub const fn cluster_ip_set(family: IpFamily) -> &'static str {
    names::cluster_ip_set(family)
}

/// The mode over the kernel's own tables.
pub(super) type KernelIptables = IptablesServices<Xtables, IpSetTable, ConntrackTable>;

fn open(settings: ServiceSettings) -> Result<Box<dyn ServiceBackend>, Error> {
    Ok(Box::new(open_kernel(settings)?))
}

/// The same, as itself.
///
/// # Errors
/// What the kernel lacks.
pub(super) fn open_kernel(settings: ServiceSettings) -> Result<KernelIptables, Error> {
    let backend = IptablesServices::new(
        Xtables::open()?,
        IpSetTable::open()?,
        ConntrackTable::open()?,
        settings,
    );
    Ok(IptablesServices {
        drop_invalid: !is_liberal(),
        ..backend
    })
}

/// Whether the operator told conntrack to take packets outside the window for
/// valid: then it cannot tell which are not.
fn is_liberal() -> bool {
    sysctl::read("net/netfilter/nf_conntrack_tcp_be_liberal").is_ok_and(|value| value != "0")
}

/// Makes a chain with the matches and targets that can be needed, and removes
/// it again. Nothing leads to it: no packet sees it.
fn probe() -> Result<(), Error> {
    const NAME: &str = "KUBE-PODWAY-PROBE";
    let missing = |source: Error| Error::Missing {
        backend: SPEC.name,
        source: source.into(),
    };
    let attempt = || -> Result<(), Error> {
        let mut iptables = Xtables::open()?;
        let mut sets = IpSetTable::open()?;
        for family in iptables.families().to_vec() {
            sets.create(&IpSet {
                name: NAME.into(),
                family,
                limit: 64,
                timeout: Some(Duration::from_secs(1)),
            })?;
            let ip_family = ip_family(family);
            let rules = probe_rules(
                NAME,
                &Site::new(ip_family, &ServiceSettings::default(), true),
            );
            let mut make = Script::new();
            let mut remove = Script::new();
            for (table, rules) in rules {
                make.chain(table, &NAME.into(), rules);
                remove.remove(table, &NAME.into());
            }
            let made = iptables.restore(family, &[make]);
            let removed = iptables.restore(family, &[remove]);
            sets::destroy_patiently(&mut sets, NAME)?;
            made.and(removed)?;
        }
        Ok(())
    };
    attempt().map_err(missing)
}

/// A rule of every kind that there is, by table.
fn probe_rules(set: &str, site: &Site) -> [(Table, Vec<Rule>); 2] {
    let of = |wanted| -> Vec<Rule> {
        let chains = layout::chains(site, &BTreeSet::new()).into_iter();
        // KUBE-CLUSTER-IPS names a set that need not be there yet.
        let chains = chains.filter(|(table, name, _)| *table == wanted && *name != CLUSTER_IPS);
        chains.flat_map(|(_, _, rules)| rules).collect()
    };
    let mut nat = of(Table::Nat);
    let random = Rule::new()
        .chance(1, 2)
        .matching("addrtype --dst-type LOCAL");
    nat.push(random.jump("RETURN"));
    nat.push(Rule::new().jump(&format!("SET --add-set {set} src --exist --timeout 1")));
    let mut filter = of(Table::Filter);
    let known = Rule::new().matching(&format!("set --match-set {set} dst"));
    filter.push(known.jump(site.reject()));
    [(Table::Nat, nat), (Table::Filter, filter)]
}

impl<I: Iptables, S: IpSets, C: Conntrack> IptablesServices<I, S, C> {
    /// A backend that has not read the kernel yet.
    #[must_use]
    pub fn new(iptables: I, sets: S, conntrack: C, settings: ServiceSettings) -> Self {
        let mut backend = Self {
            iptables,
            sets: Sets::new(sets),
            conntrack,
            settings: ServiceSettings::default(),
            drop_invalid: true,
            sites: Vec::new(),
            ledger: None,
        };
        backend.take_settings(settings);
        backend
    }

    /// What it writes rules to, for tests that spoil it.
    pub const fn iptables_mut(&mut self) -> &mut I {
        &mut self.iptables
    }

    /// What it writes sets to, for tests that spoil it.
    pub const fn sets_mut(&mut self) -> &mut S {
        self.sets.kernel_mut()
    }

    /// Whether chains of this mode are here, ours or kube-proxy's.
    pub(super) fn is_there(&mut self) -> Result<bool, Error> {
        for family in self.iptables.families().to_vec() {
            let held = self.iptables.save(family)?;
            let mut chains = held.values().flat_map(BTreeMap::keys);
            if chains.any(|chain| names::is_ours(chain)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn take_settings(&mut self, settings: ServiceSettings) {
        let families = self.iptables.families().iter();
        self.sites = families
            .map(|family| Site::new(ip_family(*family), &settings, self.drop_invalid))
            .collect();
        self.settings = settings;
        self.ledger = None;
    }

    fn sync_whole(&mut self, table: &ServiceTable) -> Result<SyncReport, Error> {
        let ledger = Ledger::of_table(table);
        let mut clients = ClientSets::new();
        let mut scripts = BTreeMap::new();
        for site in &self.sites {
            let held = self.iptables.save(kernel_family(site.family))?;
            let mut comparison = Comparison::with(held);
            for unit in render::units(table, &ledger, site) {
                let sets = unit.clients.iter();
                clients.extend(sets.map(|(name, time)| (name.clone(), (site.family, *time))));
                comparison.want(unit);
            }
            scripts.insert(site.family, comparison.finish(table, site));
        }
        let families: Vec<IpFamily> = self.sites.iter().map(|site| site.family).collect();
        let limit = self.settings.affinity_clients;
        self.sets
            .compare(&families, &table.cluster_ips, clients, limit)?;
        let rules = self.restore(&scripts)?;
        let elements = self.sets.let_go()?;
        let stale_flows = StaleFlows::of_table(table).end(&mut self.conntrack)?;
        self.ledger = Some(ledger);
        Ok(SyncReport {
            written: written(rules, elements),
            full: true,
            stale_flows,
        })
    }

    fn sync_change(
        &mut self,
        table: &ServiceTable,
        change: &ServiceChange,
        mut ledger: Ledger,
    ) -> Result<SyncReport, Error> {
        let stale = StaleFlows::of_change(table, change, |pool| ledger.users(pool));
        let Draft {
            scripts,
            wanted,
            obsolete,
            deletions,
        } = render::change(table, change, &self.sites, &mut ledger);
        if deletions > listing::MOST_DELETIONS {
            return self.sync_whole(table);
        }
        let families: Vec<IpFamily> = self.sites.iter().map(|site| site.family).collect();
        let limit = self.settings.affinity_clients;
        self.sets
            .change(&families, &change.cluster_ips, wanted, obsolete, limit)?;
        let rules = self.restore(&scripts)?;
        let elements = self.sets.let_go()?;
        let stale_flows = stale.end(&mut self.conntrack)?;
        self.ledger = Some(ledger);
        Ok(SyncReport {
            written: written(rules, elements),
            full: false,
            stale_flows,
        })
    }

    fn restore(&mut self, scripts: &BTreeMap<IpFamily, Vec<Script>>) -> Result<Written, Error> {
        let mut written = Written::default();
        for (family, scripts) in scripts {
            written += self.iptables.restore(kernel_family(*family), scripts)?;
        }
        Ok(written)
    }
}

/// A run of a program is a transaction; its lines and the members of sets are
/// elements.
const fn written(rules: Written, elements: u64) -> nft::Written {
    nft::Written {
        transactions: rules.runs,
        messages: rules.runs + elements,
        elements: rules.lines + elements,
    }
}

const fn ip_family(family: Family) -> IpFamily {
    match family {
        Family::V4 => IpFamily::V4,
        Family::V6 => IpFamily::V6,
    }
}

impl<I, S, C> ServiceBackend for IptablesServices<I, S, C>
where
    I: Iptables + Send,
    S: IpSets + Send,
    C: Conntrack + Send,
{
    fn sync(
        &mut self,
        table: &ServiceTable,
        change: Option<&ServiceChange>,
    ) -> Result<SyncReport, Error> {
        // Taken: it comes back only when all of it is in the kernel.
        match (self.ledger.take(), change) {
            (Some(ledger), Some(change)) => self.sync_change(table, change, ledger),
            _ => self.sync_whole(table),
        }
    }

    fn configure(&mut self, settings: ServiceSettings) {
        self.take_settings(settings);
    }

    fn cleanup(&mut self) -> Result<(), Error> {
        self.ledger = None;
        for family in self.iptables.families().to_vec() {
            let held = self.iptables.save(family)?;
            let scripts = Comparison::with(held).finish_empty();
            self.iptables.restore(family, &scripts)?;
        }
        self.sets.remove_all()
    }

    fn netlink_port(&self) -> Option<u32> {
        None
    }
}
