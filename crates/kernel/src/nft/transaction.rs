use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;

use super::chain::Chain;
use super::rule::Rule;
use super::set::{Element, Set};

/// What is written in one go, all of it or nothing, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The table that all operations are about.
    pub table: Arc<str>,
    /// The operations.
    pub operations: Vec<Operation>,
}

/// One change of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Makes the table, or leaves it as it is.
    AddTable,
    /// Removes the table with everything in it. It must exist.
    DeleteTable,
    /// Makes a set.
    AddSet(Arc<Set>),
    /// Removes a set that nothing refers to any more.
    DeleteSet(Arc<str>),
    /// Makes a chain.
    AddChain(Chain),
    /// Removes a chain with its rules. Nothing may lead to it any more.
    DeleteChain(Arc<str>),
    /// Removes all rules of a chain.
    FlushChain(Arc<str>),
    /// Appends a rule to a chain.
    AddRule {
        /// The chain.
        chain: Arc<str>,
        /// The rule.
        rule: Rule,
    },
    /// Adds elements. One that is there with other data is an error.
    AddElements {
        /// The set.
        set: Arc<Set>,
        /// The elements.
        elements: Vec<Element>,
    },
    /// Removes elements by their keys. Each must be there.
    DeleteElements {
        /// The set.
        set: Arc<Set>,
        /// The elements.
        elements: Vec<Element>,
    },
}

/// How much has been written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Transactions, empty ones not counted.
    pub transactions: u64,
    /// Netlink messages, without the brackets of a batch.
    pub messages: u64,
    /// Elements added and deleted.
    pub elements: u64,
}

impl Transaction {
    /// One that changes nothing.
    pub fn new(table: impl Into<Arc<str>>) -> Self {
        Self {
            table: table.into(),
            operations: Vec::new(),
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Appends an operation.
    pub fn push(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    /// Adds elements, where there are any.
    pub fn add(&mut self, set: &Arc<Set>, elements: Vec<Element>) {
        if !elements.is_empty() {
            self.push(Operation::AddElements {
                set: set.clone(),
                elements,
            });
        }
    }

    /// Deletes elements, where there are any.
    pub fn delete(&mut self, set: &Arc<Set>, elements: Vec<Element>) {
        if !elements.is_empty() {
            self.push(Operation::DeleteElements {
                set: set.clone(),
                elements,
            });
        }
    }

    /// How many elements it adds and deletes.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.operations
            .iter()
            .map(|operation| match operation {
                Operation::AddElements { elements, .. }
                | Operation::DeleteElements { elements, .. } => elements.len(),
                _ => 0,
            })
            .sum()
    }
}

impl AddAssign for Written {
    fn add_assign(&mut self, other: Self) {
        self.transactions += other.transactions;
        self.messages += other.messages;
        self.elements += other.elements;
    }
}

/// As a file for `nft -f`, one operation a line.
impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for operation in &self.operations {
            write_operation(f, &self.table, operation)?;
            f.write_str("\n")?;
        }
        Ok(())
    }
}

fn write_operation(f: &mut fmt::Formatter<'_>, table: &str, operation: &Operation) -> fmt::Result {
    match operation {
        Operation::AddTable => write!(f, "add table inet {table}"),
        Operation::DeleteTable => write!(f, "delete table inet {table}"),
        Operation::AddSet(set) => {
            let kind = if set.data.is_some() { "map" } else { "set" };
            let definition = set.to_string();
            let lines: Vec<&str> = definition.lines().map(str::trim).collect();
            let name = &set.name;
            write!(
                f,
                "add {kind} inet {table} {name} {{ {}; }}",
                lines.join("; ")
            )
        }
        Operation::DeleteSet(name) => write!(f, "delete set inet {table} {name}"),
        Operation::AddChain(chain) => {
            write!(f, "add chain inet {table} {}", chain.name)?;
            match &chain.base {
                Some(base) => write!(f, " {{ {base} }}"),
                None => Ok(()),
            }
        }
        Operation::DeleteChain(name) => write!(f, "delete chain inet {table} {name}"),
        Operation::FlushChain(name) => write!(f, "flush chain inet {table} {name}"),
        Operation::AddRule { chain, rule } => write!(f, "add rule inet {table} {chain} {rule}"),
        Operation::AddElements { set, elements } => write_elements(f, "add", table, set, elements),
        Operation::DeleteElements { set, elements } => {
            write_elements(f, "delete", table, set, elements)
        }
    }
}

fn write_elements(
    f: &mut fmt::Formatter<'_>,
    verb: &str,
    table: &str,
    set: &Set,
    elements: &[Element],
) -> fmt::Result {
    write!(f, "{verb} element inet {table} {} {{ ", set.name)?;
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{}", element.display(set))?;
    }
    f.write_str(" }")
}
