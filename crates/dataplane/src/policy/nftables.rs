//! Policies in nf_tables: one table, the same rules always, policies as
//! elements of maps. What it looks like on a node: `docs/backends/policy-nftables.md`.

mod groups;
mod layout;
mod lists;
mod narrowing;
mod numbers;
mod ports;
mod ranges;
mod reexamination;
mod rendering;
mod state;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use podway_kernel::conntrack::{BackgroundMarker, FlowMarker};
use podway_kernel::nflog::{LogReader, LoggedPacket};
use podway_kernel::nft::{Element, Nft, Nftables, Operation, Ruleset, Transaction, reconcile};
use podway_plan::policy::{PolicyChange, PolicyTable};

use super::{
    BackendSpec, Denial, DeniedPackets, Error, Established, PolicyBackend, PolicyOptions,
    SyncReport,
};
use layout::{Map, Way};
use reexamination::Reexamination;
use state::State;

pub use layout::TABLE;

/// The backend.
pub const SPEC: BackendSpec = BackendSpec {
    name: "nftables",
    summary: "maps by pod address, peer group and prefix",
    open: |options| {
        let nft = Nft::open()?;
        Ok(Box::new(NftPolicies {
            port: Some(nft.port()),
            log: options.log.map(LogReader::open).transpose()?,
            ..NftPolicies::new(nft, BackgroundMarker::open()?, options)
        }))
    },
};

/// Enforces policies through nf_tables.
#[derive(Debug)]
pub struct NftPolicies<K, M> {
    nft: K,
    port: Option<u32>,
    options: PolicyOptions,
    /// What was written last; `None` where that is not known for sure.
    state: Option<State>,
    reexamination: Reexamination<M>,
    log: Option<LogReader>,
}

/// The table as the kernel should hold it, on a node that held nothing before.
#[must_use]
pub fn render(table: &PolicyTable, options: PolicyOptions) -> Ruleset {
    State::of(table, None).ruleset(table, &options)
}

impl<K: Nftables, M: FlowMarker> NftPolicies<K, M> {
    /// A backend that writes through `nft` and marks connections through
    /// `marker`. It knows nothing of what the kernel holds: its first sync
    /// compares in full.
    pub const fn new(nft: K, marker: M, options: PolicyOptions) -> Self {
        Self {
            nft,
            port: None,
            options,
            state: None,
            reexamination: Reexamination::new(marker),
            log: None,
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
        let (mut transaction, mut state, narrowed) = match (self.state.take(), change) {
            (Some(mut state), Some(change)) => {
                let (transaction, narrowed) = state.follow(table, change);
                (transaction, state, narrowed)
            }
            _ => self.compare(table)?,
        };
        if self.options.established == Established::Cut {
            state.suspect(&narrowed, &mut transaction);
            self.reexamination.add(&narrowed);
        }
        Ok((transaction, state))
    }

    fn compare(
        &mut self,
        table: &PolicyTable,
    ) -> Result<(Transaction, State, BTreeSet<IpAddr>), Error> {
        let held = self.nft.dump(TABLE)?;
        let mut state = State::of(table, held.as_ref());
        match self.options.established {
            // Nobody else finishes what an agent before us began.
            Established::Cut => self.reexamination.add(state.suspects()),
            Established::Leave => state.forget_suspects(),
        }
        let transaction = reconcile(&state.ruleset(table, &self.options), held.as_ref());
        let narrowed = narrowing::of_transaction(&transaction, state.is_ordered());
        Ok((transaction, state, narrowed))
    }

    fn write(&mut self, transaction: &Transaction, state: State) -> Result<SyncReport, Error> {
        let written = self.nft.apply(transaction)?;
        self.state = Some(state);
        Ok(SyncReport {
            writes: written.messages,
            elements: written.elements,
        })
    }
}

/// An answer is denied to who opened the connection.
fn denial(packet: &LoggedPacket) -> Option<Denial> {
    let (reason, way) = layout::reason_of(&packet.prefix)?;
    let (source, destination, port) = match way {
        Way::There => (
            packet.source,
            packet.destination,
            packet.ports.map(|(_, port)| port),
        ),
        Way::Back => (
            packet.destination,
            packet.source,
            packet.ports.map(|(port, _)| port),
        ),
    };
    Some(Denial {
        reason,
        source,
        destination,
        protocol: packet.protocol,
        port,
    })
}

impl<K: Nftables + Send, M: FlowMarker> PolicyBackend for NftPolicies<K, M> {
    fn sync(
        &mut self,
        table: &PolicyTable,
        change: Option<&PolicyChange>,
    ) -> Result<SyncReport, Error> {
        let (transaction, state) = self.plan(table, change)?;
        self.write(&transaction, state)
    }

    fn follow_up(&mut self, now: Instant) -> Result<Option<Instant>, Error> {
        let cleared = self.reexamination.step(now);
        if let Some(mut state) = self.state.take() {
            let transaction = state.clear(&cleared);
            self.write(&transaction, state)?;
        }
        Ok(self.reexamination.due(now))
    }

    fn denied(&mut self) -> Result<Vec<DeniedPackets>, Error> {
        let mut denied = Vec::new();
        // Before the first sync there is nothing to read.
        if self.state.is_none() {
            return Ok(denied);
        }
        for map in Map::all() {
            let Map::Denied(gate, _) = map else {
                continue;
            };
            for count in self.nft.counts(TABLE, &map.name())? {
                let address = map.address_of(&Element {
                    key: count.key,
                    ..Element::default()
                });
                denied.extend(address.map(|address| DeniedPackets {
                    address,
                    direction: gate.direction,
                    is_audit: gate.is_audit,
                    packets: count.packets,
                }));
            }
        }
        Ok(denied)
    }

    fn denials(&mut self) -> Result<Vec<Denial>, Error> {
        let Some(log) = &mut self.log else {
            return Ok(Vec::new());
        };
        Ok(log.packets()?.iter().filter_map(denial).collect())
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
