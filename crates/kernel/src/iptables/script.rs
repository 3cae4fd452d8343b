use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use super::{Rule, Table};

/// Edits of tables: what `iptables-restore --noflush` reads.
///
/// Whatever the order of the calls, chains are made or emptied first and removed
/// last, so that rules may lead to chains that come later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    tables: BTreeMap<Table, Edits>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Edits {
    chains: Vec<Arc<str>>,
    rules: Vec<Edit>,
    removed: Vec<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    kind: Kind,
    chain: Arc<str>,
    rule: Rule,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Append,
    Insert,
    Delete,
}

impl Script {
    /// One that changes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a chain, or empties it, and gives it these rules.
    pub fn chain(&mut self, table: Table, chain: &Arc<str>, rules: impl IntoIterator<Item = Rule>) {
        let edits = self.tables.entry(table).or_default();
        edits.chains.push(chain.clone());
        edits.rules.extend(rules.into_iter().map(|rule| Edit {
            kind: Kind::Append,
            chain: chain.clone(),
            rule,
        }));
    }

    /// Puts a rule at the end of a chain.
    pub fn append(&mut self, table: Table, chain: &Arc<str>, rule: Rule) {
        self.edit(table, Kind::Append, chain, rule);
    }

    /// Puts a rule before all others of a chain.
    pub fn insert(&mut self, table: Table, chain: &Arc<str>, rule: Rule) {
        self.edit(table, Kind::Insert, chain, rule);
    }

    /// Deletes the first rule of a chain that is equal. There must be one.
    pub fn delete(&mut self, table: Table, chain: &Arc<str>, rule: Rule) {
        self.edit(table, Kind::Delete, chain, rule);
    }

    /// Empties a chain and removes it. No rule may lead to it any more.
    pub fn remove(&mut self, table: Table, chain: &Arc<str>) {
        let edits = self.tables.entry(table).or_default();
        edits.chains.push(chain.clone());
        edits.removed.push(chain.clone());
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// How many chains and rules it writes or deletes.
    #[must_use]
    pub fn lines(&self) -> usize {
        let lines = |edits: &Edits| edits.chains.len() + edits.rules.len() + edits.removed.len();
        self.tables.values().map(lines).sum()
    }

    fn edit(&mut self, table: Table, kind: Kind, chain: &Arc<str>, rule: Rule) {
        self.tables.entry(table).or_default().rules.push(Edit {
            kind,
            chain: chain.clone(),
            rule,
        });
    }
}

/// Writes scripts as one: a table at a time.
pub(super) fn write_joined(scripts: &[Script], out: &mut impl Write) -> io::Result<()> {
    for table in Table::ALL {
        let edits = || {
            scripts
                .iter()
                .filter_map(|script| script.tables.get(&table))
        };
        if edits().next().is_none() {
            continue;
        }
        writeln!(out, "*{table}")?;
        // The nf_tables variant keeps the chains that it is told of in a sorted
        // list, which it walks from the front for each: backwards, every walk
        // is one step.
        let mut chains: Vec<&str> = edits()
            .flat_map(|edits| &edits.chains)
            .map(|c| &**c)
            .collect();
        chains.sort_unstable_by(|one, other| other.cmp(one));
        for chain in chains {
            writeln!(out, ":{chain} - [0:0]")?;
        }
        for edit in edits().flat_map(|edits| &edits.rules) {
            let option = match edit.kind {
                Kind::Append => 'A',
                Kind::Insert => 'I',
                Kind::Delete => 'D',
            };
            writeln!(out, "-{option} {} {}", edit.chain, edit.rule)?;
        }
        for chain in edits().flat_map(|edits| &edits.removed) {
            writeln!(out, "-X {chain}")?;
        }
        writeln!(out, "COMMIT")?;
    }
    Ok(())
}

/// The scripts as one text.
pub(super) fn joined(scripts: &[Script]) -> String {
    let mut text = Vec::new();
    write_joined(scripts, &mut text).expect("a Vec takes every write");
    String::from_utf8(text).expect("only text was written")
}
