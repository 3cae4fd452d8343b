use std::collections::BTreeMap;
use std::sync::Arc;

use nix::errno::Errno;

use super::Nftables;
use super::chain::Chain;
use super::dump::{ChainDump, Count, RuleDump, SetDump, TableDump};
use super::error::Error;
use super::rule::{Destination, PrioritySource, Rule, Statement, Verdict};
use super::ruleset::Ruleset;
use super::set::MapData;
use super::set::{Data, Element, Set, total_length};
use super::transaction::{Operation, Transaction, Written};

/// nf_tables in memory: it refuses what the kernel refuses, and what a test
/// tells it to.
#[derive(Debug, Clone, Default)]
pub struct FakeNft {
    tables: BTreeMap<String, Table>,
    written: Written,
    faults: Vec<Fault>,
}

/// An error that the fake returns instead of doing its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The transaction that fails, counted from 0 from when the fault was
    /// injected.
    pub after: u64,
    /// The error.
    pub errno: Errno,
}

type ElementKey = (Box<[u8]>, Option<Box<[u8]>>);

#[derive(Debug, Clone, Default)]
struct Table {
    sets: BTreeMap<String, (Arc<Set>, BTreeMap<ElementKey, Element>)>,
    chains: BTreeMap<String, (Chain, Vec<Rule>)>,
}

impl FakeNft {
    /// A kernel without tables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets a transaction fail.
    pub fn inject(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// A table as a value, sets and chains by name.
    #[must_use]
    pub fn ruleset(&self, table: &str) -> Option<Ruleset> {
        let held = self.tables.get(table)?;
        Some(Ruleset {
            table: table.into(),
            sets: held
                .sets
                .values()
                .map(|(set, elements)| (set.clone(), elements.values().cloned().collect()))
                .collect(),
            chains: held.chains.values().cloned().collect(),
        })
    }

    fn fault(&mut self) -> Option<Errno> {
        let due = self.faults.iter().position(|fault| fault.after == 0);
        for fault in &mut self.faults {
            fault.after = fault.after.saturating_sub(1);
        }
        due.map(|index| self.faults.remove(index).errno)
    }
}

impl Nftables for FakeNft {
    fn apply(&mut self, transaction: &Transaction) -> Result<Written, Error> {
        if transaction.is_empty() {
            return Ok(Written::default());
        }
        let refused = |index: usize, errno| Error::Refused {
            table: transaction.table.to_string(),
            operation: transaction
                .to_string()
                .lines()
                .nth(index)
                .unwrap_or("")
                .to_owned(),
            index,
            errno,
            reason: None,
        };
        if let Some(errno) = self.fault() {
            return Err(refused(0, errno));
        }
        let name = transaction.table.to_string();
        let mut table = self.tables.get(&name).cloned();
        for (index, operation) in transaction.operations.iter().enumerate() {
            run(&mut table, operation).map_err(|errno| refused(index, errno))?;
        }
        match table {
            Some(table) => self.tables.insert(name, table),
            None => self.tables.remove(&name),
        };
        // What the real encoding would send.
        let messages = super::message::encode(transaction, super::message::FAMILY_INET, 0)?
            .operations
            .len();
        let written = Written {
            transactions: 1,
            messages: messages as u64,
            elements: transaction.elements() as u64,
        };
        self.written += written;
        Ok(written)
    }

    fn dump(&mut self, table: &str) -> Result<Option<TableDump>, Error> {
        Ok(self.tables.get(table).map(Table::dump))
    }

    fn counts(&mut self, table: &str, set: &str) -> Result<Vec<Count>, Error> {
        let held = self.tables.get(table);
        let elements = held.and_then(|table| table.sets.get(set));
        let keys = elements
            .into_iter()
            .flat_map(|(_, elements)| elements.keys());
        Ok(keys
            .map(|(key, _)| Count {
                key: key.clone(),
                ..Count::default()
            })
            .collect())
    }

    fn written(&self) -> Written {
        self.written
    }
}

fn run(slot: &mut Option<Table>, operation: &Operation) -> Result<(), Errno> {
    match operation {
        Operation::AddTable => {
            slot.get_or_insert_default();
            return Ok(());
        }
        Operation::DeleteTable => return slot.take().map(drop).ok_or(Errno::ENOENT),
        _ => {}
    }
    let table = slot.as_mut().ok_or(Errno::ENOENT)?;
    match operation {
        Operation::AddTable | Operation::DeleteTable => Ok(()),
        Operation::AddSet(set) => {
            let entry = (set.clone(), BTreeMap::new());
            insert_new(&mut table.sets, &set.name, entry)
        }
        Operation::DeleteSet(name) => {
            if table.refers_to_set(name) {
                return Err(Errno::EBUSY);
            }
            table.sets.remove(&**name).map(drop).ok_or(Errno::ENOENT)
        }
        Operation::AddChain(chain) => {
            insert_new(&mut table.chains, &chain.name, (chain.clone(), Vec::new()))
        }
        Operation::DeleteChain(name) => {
            if table.leads_to(name) {
                return Err(Errno::EBUSY);
            }
            table.chains.remove(&**name).map(drop).ok_or(Errno::ENOENT)
        }
        Operation::FlushChain(name) => {
            table.rules(name)?.clear();
            Ok(())
        }
        Operation::AddRule { chain, rule } => {
            table.check_rule(rule)?;
            table.rules(chain)?.push(rule.clone());
            Ok(())
        }
        Operation::AddElements { set, elements } => table.add_elements(&set.name, elements),
        Operation::DeleteElements { set, elements } => table.delete_elements(&set.name, elements),
    }
}

fn insert_new<T>(map: &mut BTreeMap<String, T>, name: &str, value: T) -> Result<(), Errno> {
    if map.contains_key(name) {
        return Err(Errno::EEXIST);
    }
    map.insert(name.to_owned(), value);
    Ok(())
}

fn element_key(element: &Element) -> ElementKey {
    (element.key.clone(), element.key_end.clone())
}

impl Table {
    fn rules(&mut self, chain: &str) -> Result<&mut Vec<Rule>, Errno> {
        let (_, rules) = self.chains.get_mut(chain).ok_or(Errno::ENOENT)?;
        Ok(rules)
    }

    fn add_elements(&mut self, set: &str, elements: &[Element]) -> Result<(), Errno> {
        for element in elements {
            if let Some(Data::Verdict(verdict)) = &element.data {
                self.check_verdict(verdict)?;
            }
        }
        let (set, held) = self.sets.get_mut(set).ok_or(Errno::ENOENT)?;
        for element in elements {
            if !fits(set, element) {
                return Err(Errno::EINVAL);
            }
            if set.size.is_some_and(|size| held.len() >= size as usize) {
                return Err(Errno::ENFILE);
            }
            if held.insert(element_key(element), element.clone()).is_some() {
                return Err(Errno::EEXIST);
            }
        }
        Ok(())
    }

    fn delete_elements(&mut self, set: &str, elements: &[Element]) -> Result<(), Errno> {
        let (_, held) = self.sets.get_mut(set).ok_or(Errno::ENOENT)?;
        for element in elements {
            held.remove(&element_key(element)).ok_or(Errno::ENOENT)?;
        }
        Ok(())
    }

    fn check_rule(&self, rule: &Rule) -> Result<(), Errno> {
        for statement in &rule.statements {
            if let Some(set) = set_of(statement)
                && !self.sets.contains_key(set)
            {
                return Err(Errno::ENOENT);
            }
            if let Statement::Verdict(verdict) = statement {
                self.check_verdict(verdict)?;
            }
        }
        Ok(())
    }

    fn check_verdict(&self, verdict: &Verdict) -> Result<(), Errno> {
        let Some(chain) = target(verdict) else {
            return Ok(());
        };
        match self.chains.get(chain) {
            None => Err(Errno::ENOENT),
            // A base chain is entered from its hook only.
            Some((chain, _)) if chain.base.is_some() => Err(Errno::EOPNOTSUPP),
            Some(_) => Ok(()),
        }
    }

    fn refers_to_set(&self, name: &str) -> bool {
        self.statements()
            .any(|statement| set_of(statement) == Some(name))
    }

    fn leads_to(&self, name: &str) -> bool {
        let from_rules = self.statements().any(|statement| {
            matches!(statement, Statement::Verdict(verdict) if target(verdict) == Some(name))
        });
        let mut elements = self
            .sets
            .values()
            .flat_map(|(_, elements)| elements.values());
        from_rules
            || elements.any(|element| {
                matches!(&element.data, Some(Data::Verdict(verdict)) if target(verdict) == Some(name))
            })
    }

    fn statements(&self) -> impl Iterator<Item = &Statement> {
        let rules = self.chains.values().flat_map(|(_, rules)| rules);
        rules.flat_map(|rule| &rule.statements)
    }

    fn dump(&self) -> TableDump {
        let set = |(set, elements): &(Arc<Set>, BTreeMap<ElementKey, Element>)| SetDump {
            shape: set.shape(),
            elements: if set.flags.dynamic {
                Vec::new()
            } else {
                elements.values().cloned().collect()
            },
        };
        let chain = |(chain, rules): &(Chain, Vec<Rule>)| ChainDump {
            base: chain.base,
            rules: rules.iter().map(rule_dump).collect(),
        };
        TableDump {
            sets: self.sets.iter().map(|(n, s)| (n.clone(), set(s))).collect(),
            chains: self
                .chains
                .iter()
                .map(|(n, c)| (n.clone(), chain(c)))
                .collect(),
        }
    }
}

fn rule_dump(rule: &Rule) -> RuleDump {
    RuleDump {
        expressions: rule.expressions(),
        comment: rule.comment.as_deref().unwrap_or_default().to_owned(),
    }
}

fn set_of(statement: &Statement) -> Option<&str> {
    match statement {
        Statement::Lookup { set, .. } | Statement::Dynset { set, .. } => Some(set),
        Statement::Vmap { map, .. }
        | Statement::Dnat {
            to: Destination::Map { map, .. },
            ..
        }
        | Statement::Priority(
            PrioritySource::Map { map, .. } | PrioritySource::Ranges { map, .. },
        ) => Some(map),
        _ => None,
    }
}

fn target(verdict: &Verdict) -> Option<&str> {
    match verdict {
        Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain),
        Verdict::Accept | Verdict::Drop | Verdict::Return => None,
    }
}

/// Whether key and data are as long as the set's.
fn fits(set: &Set, element: &Element) -> bool {
    let key = element.key.len() == total_length(&set.key) as usize
        && element.key_end.is_some() == set.flags.interval;
    let data = match (&set.data, &element.data) {
        (None, None) | (Some(MapData::Verdict), Some(Data::Verdict(_))) => true,
        (Some(MapData::Fields(fields)), Some(Data::Values(bytes))) => {
            bytes.len() == total_length(fields) as usize
        }
        _ => false,
    };
    key && data
}
