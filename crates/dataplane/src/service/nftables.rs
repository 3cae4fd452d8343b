//! Services in nf_tables, natively. `docs/backends/nftables.md` has the
//! picture, and why it looks like that.

mod elements;
mod flavour;
mod ledger;
mod render;
mod skeleton;

use podway_kernel::conntrack::{Conntrack, ConntrackTable};
use podway_kernel::nft::{Nft, Nftables, Operation, Ruleset, Transaction, reconcile};
use podway_plan::service::{ServiceChange, ServiceTable};

use self::ledger::Ledger;
use self::skeleton::Sets;
use super::stale::StaleFlows;
use super::{BackendSpec, Error, ServiceBackend, ServiceSettings, SyncReport};
use crate::names::SERVICE_TABLE;

/// The mode `nftables`.
pub const SPEC: BackendSpec = BackendSpec {
    name: "nftables",
    summary: "nf_tables maps: two lookups to an endpoint, whatever the number of services",
    probe,
    open,
    render_text: |table, settings| render(table, settings).to_string(),
};

/// The table that the probe makes and removes in one transaction.
const PROBE_TABLE: &str = "podway-probe";

/// Services in nf_tables.
#[derive(Debug)]
pub struct NftablesServices<N, C> {
    nftables: N,
    conntrack: C,
    port: Option<u32>,
    settings: ServiceSettings,
    sets: Sets,
    /// What the kernel holds; `None` where only reading it can tell.
    ledger: Option<Ledger>,
}

/// Everything that the kernel should hold for a table.
#[must_use]
pub fn render(table: &ServiceTable, settings: &ServiceSettings) -> Ruleset {
    render::whole(table, settings, &Sets::new(settings)).0
}

fn open(settings: ServiceSettings) -> Result<Box<dyn ServiceBackend>, Error> {
    let nftables = Nft::open()?;
    let port = nftables.port();
    let conntrack = ConntrackTable::open()?;
    Ok(Box::new(NftablesServices {
        port: Some(port),
        ..NftablesServices::new(nftables, conntrack, settings)
    }))
}

/// Makes everything that can be needed, and removes it again: no packet sees
/// it, and the refusal names what the kernel lacks.
fn probe() -> Result<(), Error> {
    let mut ruleset = render(&ServiceTable::default(), &ServiceSettings::default());
    ruleset.table = PROBE_TABLE.into();
    ruleset.chains.extend(flavour::every_kind());
    let mut transaction = reconcile(&ruleset, None);
    transaction.push(Operation::DeleteTable);
    let missing = |source: podway_kernel::nft::Error| Error::Missing {
        backend: SPEC.name,
        source: source.into(),
    };
    let mut kernel = Nft::open().map_err(missing)?;
    kernel.apply(&transaction).map_err(missing)?;
    Ok(())
}

impl<N: Nftables, C: Conntrack> NftablesServices<N, C> {
    /// A backend that has not read the kernel yet.
    #[must_use]
    pub fn new(nftables: N, conntrack: C, settings: ServiceSettings) -> Self {
        Self {
            nftables,
            conntrack,
            port: None,
            sets: Sets::new(&settings),
            settings,
            ledger: None,
        }
    }

    /// What it writes to.
    #[must_use]
    pub const fn nftables(&self) -> &N {
        &self.nftables
    }

    /// The same, for tests that spoil it.
    pub const fn nftables_mut(&mut self) -> &mut N {
        &mut self.nftables
    }

    /// Where it looks for stale flows.
    #[must_use]
    pub const fn conntrack(&self) -> &C {
        &self.conntrack
    }

    fn sync_whole(&mut self, table: &ServiceTable) -> Result<SyncReport, Error> {
        let (wanted, ledger) = render::whole(table, &self.settings, &self.sets);
        let held = self.nftables.dump(SERVICE_TABLE)?;
        let mending = reconcile(&wanted, held.as_ref());
        let written = self.nftables.apply(&mending)?;
        let stale_flows = StaleFlows::of_table(table).end(&mut self.conntrack)?;
        self.ledger = Some(ledger);
        Ok(SyncReport {
            written,
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
        // Who used a pool before and who does now: both have flows.
        let before: StaleFlows =
            StaleFlows::of_change(table, change, |pool| ledger.users(pool).copied().collect());
        let transaction = render::change(table, change, &self.sets, &mut ledger);
        let written = self.nftables.apply(&transaction)?;
        let stale_flows = before.end(&mut self.conntrack)?;
        self.ledger = Some(ledger);
        Ok(SyncReport {
            written,
            full: false,
            stale_flows,
        })
    }
}

impl<N: Nftables + Send, C: Conntrack + Send> ServiceBackend for NftablesServices<N, C> {
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
        self.sets = Sets::new(&settings);
        self.settings = settings;
        self.ledger = None;
    }

    fn netlink_port(&self) -> Option<u32> {
        self.port
    }

    fn cleanup(&mut self) -> Result<(), Error> {
        self.ledger = None;
        let mut transaction = Transaction::new(SERVICE_TABLE);
        // Adding first makes deleting right also where there is none.
        transaction.push(Operation::AddTable);
        transaction.push(Operation::DeleteTable);
        self.nftables.apply(&transaction)?;
        Ok(())
    }
}
