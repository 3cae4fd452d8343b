//! What outlives the modes: a table that keeps the kernel tracking and translating
//! connections while one mode takes another's place, and that remembers which
//! modes have something in the kernel.
//!
//! The kernel unregisters its hooks for translation with the last chain of type
//! nat, and those for tracking with the last rule that asks for it. Without them
//! an established connection is no longer translated, and stalls
//! (docs/switching.md).

use std::collections::BTreeSet;

use podway_kernel::nft::{
    Chain, ChainType, Field, Hook, Nft, Nftables, Operation, Rule, Ruleset, Transaction, Value,
    reconcile,
};

use super::{BACKENDS, BackendSpec, Error};
use crate::names::ANCHOR_TABLE;

/// A chain of this name says that a mode has, or had, something in the kernel.
/// It is written before the mode is, and goes after everything of it is gone, so
/// that whoever comes after a crash knows what to look for.
const NOTE: &str = "mode-";

/// After everybody else's of its kind: it translates nothing.
const LAST: i32 = 1_000;

/// The table.
#[derive(Debug)]
pub struct Anchor<N> {
    nftables: N,
}

impl Anchor<Nft> {
    /// In the calling thread's network namespace.
    ///
    /// # Errors
    /// Failures of the socket.
    pub fn open() -> Result<Self, Error> {
        Ok(Self::new(Nft::open()?))
    }

    /// Its netlink port.
    #[must_use]
    pub const fn port(&self) -> u32 {
        self.nftables.port()
    }
}

impl<N: Nftables> Anchor<N> {
    /// One that writes to `nftables`.
    pub const fn new(nftables: N) -> Self {
        Self { nftables }
    }

    /// The modes that are noted.
    ///
    /// # Errors
    /// Failures of the socket.
    pub fn notes(&mut self) -> Result<BTreeSet<&'static str>, Error> {
        let held = self.nftables.dump(ANCHOR_TABLE)?;
        let chains = held.iter().flat_map(|held| held.chains.keys());
        let names: BTreeSet<&str> = chains.filter_map(|c| c.strip_prefix(NOTE)).collect();
        let modes = BACKENDS.iter().map(|spec| spec.name);
        Ok(modes.filter(|name| names.contains(name)).collect())
    }

    /// Notes a mode; the table is whole after this.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn note(&mut self, spec: &BackendSpec) -> Result<(), Error> {
        let mut modes = self.notes()?;
        modes.insert(spec.name);
        self.write(&modes)
    }

    /// Nothing of a mode is left.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn strike(&mut self, mode: &str) -> Result<(), Error> {
        let mut modes = self.notes()?;
        modes.remove(mode);
        self.write(&modes)
    }

    /// Removes the table: connections that were translated end, unless somebody
    /// else's rules keep the hooks.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn remove(&mut self) -> Result<(), Error> {
        let mut transaction = Transaction::new(ANCHOR_TABLE);
        // Adding first makes deleting right also where there is none.
        transaction.push(Operation::AddTable);
        transaction.push(Operation::DeleteTable);
        self.nftables.apply(&transaction)?;
        Ok(())
    }

    fn write(&mut self, modes: &BTreeSet<&'static str>) -> Result<(), Error> {
        let held = self.nftables.dump(ANCHOR_TABLE)?;
        let transaction = reconcile(&ruleset(modes), held.as_ref());
        self.nftables.apply(&transaction)?;
        Ok(())
    }
}

fn ruleset(modes: &BTreeSet<&'static str>) -> Ruleset {
    let mut ruleset = Ruleset::new(ANCHOR_TABLE);
    // Empty: it is there to be registered.
    let translating = Chain::base("translating", ChainType::Nat, Hook::Postrouting, LAST);
    // Nothing leads here: a rule keeps the tracking of connections by being there.
    let tracking = Rule::new()
        .is(Field::CtState, Value::STATE_ESTABLISHED_RELATED)
        .accept();
    ruleset.chains.push((translating, Vec::new()));
    ruleset
        .chains
        .push((Chain::regular("tracking"), vec![tracking]));
    let notes = modes.iter().map(|mode| format!("{NOTE}{mode}"));
    let notes = notes.map(|name| (Chain::regular(name), Vec::new()));
    ruleset.chains.extend(notes);
    ruleset
}
