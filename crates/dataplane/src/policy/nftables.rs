//! Policies in nf_tables: one table, the same rules always, policies as
//! elements of maps. What it looks like on a node: `docs/backends/policy-nftables.md`.

mod groups;
mod layout;
mod ports;
mod ranges;
mod rendering;
mod state;

use podway_kernel::nft::{Nft, Nftables, Operation, Ruleset, Transaction, reconcile};
use podway_plan::policy::{PolicyChange, PolicyTable};

use super::{BackendSpec, Error, PolicyBackend, SyncReport};
use state::State;

pub use layout::TABLE;

/// The backend.
pub const SPEC: BackendSpec = BackendSpec {
    name: "nftables",
    summary: "verdict maps by pod address, peer group and prefix",
    open: || {
        let nft = Nft::open()?;
        let port = nft.port();
        Ok(Box::new(NftPolicies {
            port: Some(port),
            ..NftPolicies::new(nft)
        }))
    },
};

/// Enforces policies through nf_tables.
#[derive(Debug)]
pub struct NftPolicies<K> {
    nft: K,
    port: Option<u32>,
    /// What was written last; `None` where that is not known for sure.
    state: Option<State>,
}

/// The table as the kernel should hold it, on a node that held nothing before.
#[must_use]
pub fn render(table: &PolicyTable) -> Ruleset {
    State::of(table, None).ruleset(table)
}

impl<K: Nftables> NftPolicies<K> {
    /// A backend that writes through `nft`. It knows nothing of what the kernel
    /// holds: its first sync compares in full.
    pub const fn new(nft: K) -> Self {
        Self {
            nft,
            port: None,
            state: None,
        }
    }

    /// What it writes through.
    pub const fn nft(&self) -> &K {
        &self.nft
    }

    /// The same, to be changed behind the backend's back.
    pub const fn nft_mut(&mut self) -> &mut K {
        &mut self.nft
    }

    /// What has to be written, and what is known once it is.
    fn plan(
        &mut self,
        table: &PolicyTable,
        change: Option<&PolicyChange>,
    ) -> Result<(Transaction, State), Error> {
        if let (Some(mut state), Some(change)) = (self.state.take(), change) {
            let transaction = state.follow(table, change);
            return Ok((transaction, state));
        }
        let held = self.nft.dump(TABLE)?;
        let state = State::of(table, held.as_ref());
        let transaction = reconcile(&state.ruleset(table), held.as_ref());
        Ok((transaction, state))
    }
}

impl<K: Nftables + Send> PolicyBackend for NftPolicies<K> {
    fn sync(
        &mut self,
        table: &PolicyTable,
        change: Option<&PolicyChange>,
    ) -> Result<SyncReport, Error> {
        let (transaction, state) = self.plan(table, change)?;
        let written = self.nft.apply(&transaction)?;
        self.state = Some(state);
        Ok(SyncReport {
            writes: written.messages,
            elements: written.elements,
        })
    }

    fn cleanup(&mut self) -> Result<(), Error> {
        self.state = None;
        let mut transaction = Transaction::new(TABLE);
        // Deleting what is not there is an error, making what is there is not.
        transaction.push(Operation::AddTable);
        transaction.push(Operation::DeleteTable);
        self.nft.apply(&transaction)?;
        Ok(())
    }

    fn netlink_port(&self) -> Option<u32> {
        self.port
    }
}
