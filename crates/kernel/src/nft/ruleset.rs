use std::fmt::{self, Display as _};
use std::sync::Arc;

use super::chain::Chain;
use super::rule::Rule;
use super::set::{Element, Set};

/// A whole table: what should be in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// The table's name.
    pub table: Arc<str>,
    /// Its sets and maps with their elements, in any order.
    pub sets: Vec<(Arc<Set>, Vec<Element>)>,
    /// Its chains with their rules.
    pub chains: Vec<(Chain, Vec<Rule>)>,
}

impl Ruleset {
    /// A table without anything in it.
    pub fn new(table: impl Into<Arc<str>>) -> Self {
        Self {
            table: table.into(),
            sets: Vec::new(),
            chains: Vec::new(),
        }
    }

    /// The set of this name and its elements.
    #[must_use]
    pub fn set(&self, name: &str) -> Option<(&Arc<Set>, &[Element])> {
        self.sets
            .iter()
            .find(|(set, _)| &*set.name == name)
            .map(|(set, elements)| (set, elements.as_slice()))
    }

    /// The rules of the chain of this name.
    #[must_use]
    pub fn chain(&self, name: &str) -> Option<&[Rule]> {
        self.chains
            .iter()
            .find(|(chain, _)| &*chain.name == name)
            .map(|(_, rules)| rules.as_slice())
    }
}

/// As `nft -s list table` prints it. Elements come by key, one a line; nft
/// itself puts short ones together.
impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {} {{", self.table)?;
        let mut first = true;
        let mut separate = |f: &mut fmt::Formatter<'_>| {
            let blank = !std::mem::take(&mut first);
            if blank { f.write_str("\n") } else { Ok(()) }
        };
        for (set, elements) in &self.sets {
            separate(f)?;
            let kind = if set.data.is_some() { "map" } else { "set" };
            write!(f, "\t{kind} {} {{\n{set}", set.name)?;
            write_elements(f, set, elements)?;
            f.write_str("\t}\n")?;
        }
        for (chain, rules) in &self.chains {
            separate(f)?;
            writeln!(f, "\tchain {} {{", chain.name)?;
            if let Some(base) = &chain.base {
                writeln!(f, "\t\t{base}")?;
            }
            for rule in rules {
                writeln!(f, "\t\t{rule}")?;
            }
            f.write_str("\t}\n")?;
        }
        f.write_str("}\n")
    }
}

fn write_elements(f: &mut fmt::Formatter<'_>, set: &Set, elements: &[Element]) -> fmt::Result {
    let mut sorted: Vec<&Element> = elements.iter().collect();
    sorted.sort_unstable();
    for (index, element) in sorted.iter().enumerate() {
        f.write_str(if index == 0 {
            "\t\telements = { "
        } else {
            ",\n\t\t\t     "
        })?;
        element.display(set).fmt(f)?;
    }
    if sorted.is_empty() {
        Ok(())
    } else {
        f.write_str(" }\n")
    }
}
