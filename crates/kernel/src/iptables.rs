//! Rules of iptables and ip6tables, through `iptables-restore` and
//! `iptables-save`: the kernel has no other interface that both of its variants
//! (nf_tables and legacy) share, and what those programs print is what an
//! operator sees.
//!
//! A [`Rule`] is text as `iptables-save` writes it, a [`Script`] is what has to
//! be written, and [`Iptables`] writes it: [`Xtables`] to the kernel,
//! [`FakeIptables`] to memory.

mod error;
mod fake;
mod rule;
mod saved;
mod script;
mod variant;
mod xtables;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;

pub use error::Error;
pub use fake::FakeIptables;
pub use rule::Rule;
pub use script::Script;
pub use variant::Variant;
pub use xtables::Xtables;

/// The longest name of a chain, in bytes (`XT_EXTENSION_MAXNAMELEN` less its
/// zero).
pub const MAX_CHAIN_NAME: usize = 28;

/// The longest comment of a rule, in bytes (`XT_MAX_COMMENT_LEN` less its zero).
pub const MAX_COMMENT: usize = 255;

/// Which of the two rule sets: iptables or ip6tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A table, in the order in which a restore writes them: with translation
/// before filters, a frontend that begins to be served is not refused between
/// the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `mangle`.
    Mangle,
    /// `nat`.
    Nat,
    /// `filter`.
    Filter,
}

/// The chains of a table with their rules, built-in chains included.
pub type Chains = BTreeMap<Arc<str>, Vec<Rule>>;

/// How much has been written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Programs that were run.
    pub runs: u64,
    /// Lines that they read: chains, rules, deletions.
    pub lines: u64,
}

/// Reads and writes rules.
pub trait Iptables {
    /// The families that the host has: IPv6 can be switched off.
    fn families(&self) -> &[Family];

    /// Reads every table that there is, and makes none.
    ///
    /// # Errors
    /// Where the program is missing or fails.
    fn save(&mut self, family: Family) -> Result<BTreeMap<Table, Chains>, Error>;

    /// Writes scripts, in order. What one script does to one table is done at
    /// once or not at all; scripts may be joined. Without scripts, or with
    /// empty ones, no program is run.
    ///
    /// # Errors
    /// [`Error::Refused`] names the line at fault. Scripts before it, and the
    /// tables before its own, may have been written.
    fn restore(&mut self, family: Family, scripts: &[Script]) -> Result<Written, Error>;
}

impl Family {
    /// Both families.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];
}

impl Table {
    /// Every table, in the order of writing.
    pub const ALL: [Self; 3] = [Self::Mangle, Self::Nat, Self::Filter];

    /// The name: `nat`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mangle => "mangle",
            Self::Nat => "nat",
            Self::Filter => "filter",
        }
    }

    /// The chains that every such table has.
    #[must_use]
    pub const fn built_in(self) -> &'static [&'static str] {
        match self {
            Self::Mangle => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
            Self::Nat => &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
            Self::Filter => &["INPUT", "FORWARD", "OUTPUT"],
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl AddAssign for Written {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.lines += other.lines;
    }
}
