use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use podway_kernel::ipset::Member;
use podway_kernel::iptables::{Chains, Table};
use podway_kernel::ipvs::VirtualServer;
use podway_model::IpFamily;
use podway_plan::service::ServiceTable;

use super::layout;
use super::ledger::Ledger;
use super::marks::Marks;
use super::part::{Item, Server, View};
use super::site::Site;
use crate::service::ServiceSettings;

/// Everything that the kernel should hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The addresses of the interface.
    pub bound: BTreeSet<IpAddr>,
    /// The members of each set that has some, by its name.
    pub sets: BTreeMap<String, BTreeSet<Member>>,
    /// The rules, and in built-in chains the jumps to ours.
    pub rules: BTreeMap<IpFamily, BTreeMap<Table, Chains>>,
    /// The virtual servers: the scheduler, the seconds that a client is kept, and
    /// the real servers with their weights.
    pub servers: BTreeMap<VirtualServer, RenderedServer>,
}

/// A virtual server as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedServer {
    /// How it chooses.
    pub scheduling: podway_kernel::ipvs::Scheduling,
    /// Its real servers with their weights.
    pub reals: BTreeMap<std::net::SocketAddr, u32>,
}

/// What the kernel should hold for a table on a node with these addresses.
#[must_use]
pub fn render(
    table: &ServiceTable,
    settings: &ServiceSettings,
    addresses: &BTreeSet<IpAddr>,
) -> Rendered {
    let view = View::new(addresses, settings);
    let ledger = Ledger::of_table(table, &view, Marks::default());
    let mut rendered = Rendered::default();
    for item in ledger.items() {
        match item {
            Item::Bound(address) => {
                rendered.bound.insert(*address);
            }
            Item::Member(set, member) => {
                let set = rendered.sets.entry(set.name().into_owned()).or_default();
                set.insert(*member);
            }
        }
    }
    for (
        server,
        Server {
            scheduling, reals, ..
        },
    ) in ledger.servers()
    {
        let (scheduling, reals) = (scheduling.clone(), reals.clone());
        let wanted = RenderedServer { scheduling, reals };
        rendered.servers.insert(*server, wanted);
    }
    for family in IpFamily::ALL {
        let site = Site::new(family, settings);
        let masquerade = ledger.masquerade(family);
        rendered
            .rules
            .insert(family, rules(&site, masquerade, table));
    }
    rendered
}

fn rules(
    site: &Site,
    masquerade: layout::ClusterMasquerade,
    table: &ServiceTable,
) -> BTreeMap<Table, Chains> {
    let mut tables = BTreeMap::<Table, Chains>::new();
    for ((table, chain), rules) in layout::chains(site, masquerade, &table.service_prefixes) {
        tables.entry(table).or_default().insert(chain, rules);
    }
    for table in Table::ALL {
        for chain in table.built_in() {
            let jumps = layout::jumps(table, chain, site);
            let chains = tables.entry(table).or_default();
            chains.insert((*chain).into(), jumps);
        }
    }
    tables
}

impl fmt::Display for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# ip address show dev {}", super::DEVICE)?;
        for address in &self.bound {
            writeln!(f, "{}", ipnet::IpNet::from(*address))?;
        }
        writeln!(f, "# ipvsadm -Ln")?;
        for (server, RenderedServer { scheduling, reals }) in &self.servers {
            write!(f, "{server} {}", scheduling.scheduler)?;
            if let Some(time) = scheduling.persistence {
                write!(f, " persistent {}", time.as_secs())?;
            }
            writeln!(f)?;
            for (real, weight) in reals {
                writeln!(f, "  -> {real} Masq {weight}")?;
            }
        }
        writeln!(f, "# ipset list")?;
        for (name, members) in &self.sets {
            for member in members {
                writeln!(f, "{name} {member}")?;
            }
        }
        for (family, tables) in &self.rules {
            writeln!(f, "# {family}")?;
            for (table, chains) in tables {
                writeln!(f, "*{table}")?;
                for (chain, rules) in chains {
                    for rule in rules {
                        writeln!(f, "-A {chain} {rule}")?;
                    }
                }
                writeln!(f, "COMMIT")?;
            }
        }
        Ok(())
    }
}
