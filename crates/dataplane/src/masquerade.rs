//! Masquerade: what leaves the cluster from this node's pods carries the node's
//! address, since nobody outside knows the way back to a pod.
//!
//! One nf_tables table with one chain, always the same rules; pod prefixes are
//! elements of sets. docs/backends/vxlan.md shows it and says why each rule is
//! there.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;
use podway_kernel::nft::{
    self, Chain, ChainType, Element, Field, Hook, Nft, Nftables, Operation, Part, Rule, Ruleset,
    Set, Transaction, Value, reconcile,
};
use podway_plan::overlay::MasqueradeTable;

use crate::names::{MASQUERADE_MARK, MASQUERADE_TABLE};

/// `srcnat`, as nft names it.
const SOURCE_NAT: i32 = 100;

/// Why the masquerade could not be programmed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// nf_tables could not be read or written.
    #[error("cannot program the masquerade of pods: what was in force stays in force")]
    Nft(#[from] nft::Error),
}

/// What a sync did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// How many messages the kernel was told; 0 when it held everything.
    pub writes: u64,
    /// How many elements of sets were added or deleted.
    pub elements: u64,
}

/// Masquerades through nf_tables. Opened in the node's network namespace, on
/// the thread that uses it.
#[derive(Debug)]
pub struct Masquerade<K> {
    nft: K,
    port: Option<u32>,
    /// What was written last; `None` where that is not known for sure.
    written: Option<MasqueradeTable>,
}

impl Masquerade<Nft> {
    /// Opens it in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::Nft`].
    pub fn open() -> Result<Self, Error> {
        let nft = Nft::open()?;
        let port = nft.port();
        Ok(Self {
            port: Some(port),
            ..Self::new(nft)
        })
    }
}

impl<K: Nftables> Masquerade<K> {
    /// One that writes through `nft`. It knows nothing of what the kernel holds:
    /// its first sync compares in full.
    pub const fn new(nft: K) -> Self {
        Self {
            nft,
            port: None,
            written: None,
        }
    }

    /// Makes the kernel hold what the table says, all at once: what differs from
    /// the last sync, or, with `full`, from what the kernel holds.
    ///
    /// # Errors
    /// [`Error`]; then the kernel holds what it held, and the next call compares
    /// in full whatever it is told.
    pub fn sync(&mut self, table: &MasqueradeTable, full: bool) -> Result<SyncReport, Error> {
        let transaction = match self.written.take().filter(|_| !full) {
            Some(before) => difference(&before, table),
            None => {
                let held = self.nft.dump(MASQUERADE_TABLE)?;
                reconcile(&render(table), held.as_ref())
            }
        };
        let written = self.nft.apply(&transaction)?;
        self.written = Some(table.clone());
        Ok(SyncReport {
            writes: written.messages,
            elements: written.elements,
        })
    }

    /// Removes everything of the masquerade from the node, and nothing else.
    ///
    /// # Errors
    /// [`Error`]; then everything is still there.
    pub fn cleanup(&mut self) -> Result<(), Error> {
        self.written = None;
        let mut transaction = Transaction::new(MASQUERADE_TABLE);
        // Deleting what is not there is an error, making what is there is not.
        transaction.push(Operation::AddTable);
        transaction.push(Operation::DeleteTable);
        self.nft.apply(&transaction)?;
        Ok(())
    }

    /// The netlink port that the kernel's notifications name as the origin of
    /// these changes, where there is one.
    #[must_use]
    pub const fn netlink_port(&self) -> Option<u32> {
        self.port
    }

    /// What it writes through.
    pub const fn nft(&self) -> &K {
        &self.nft
    }
}

/// The table as the kernel should hold it.
#[must_use]
pub fn render(table: &MasqueradeTable) -> Ruleset {
    let mut ruleset = Ruleset::new(MASQUERADE_TABLE);
    for set in SETS {
        let elements = set.elements(set.prefixes(table));
        ruleset.sets.push((set.declaration(), elements));
    }
    let chain = Chain::base("postrouting", ChainType::Nat, Hook::Postrouting, SOURCE_NAT);
    ruleset.chains.push((chain, rules()));
    ruleset
}

fn rules() -> Vec<Rule> {
    let mut rules = vec![
        // The services' table masquerades what it marked, by its own rules.
        Rule::new().marked(MASQUERADE_MARK).returns(),
    ];
    let families = [
        (
            Field::IpSaddr,
            Field::IpDaddr,
            "224.0.0.0/4",
            ["pods4", "cluster4", "unmasqueraded4"],
        ),
        (
            Field::Ip6Saddr,
            Field::Ip6Daddr,
            "ff00::/8",
            ["pods6", "cluster6", "unmasqueraded6"],
        ),
    ];
    for (source, destination, multicast, [pods, cluster, unmasqueraded]) in families {
        let multicast: IpNet = multicast.parse().expect("a prefix in the source");
        rules.extend([
            // Who sends to a group wants to be known by its own address.
            Rule::new().within(destination, multicast).returns(),
            Rule::new()
                .lookup([source], pods)
                .lookup([destination], unmasqueraded)
                .returns(),
            Rule::new()
                .lookup([source], pods)
                .lookup_not([destination], cluster)
                .masquerade(),
            // The node itself, by an address of its own (a connection to a
            // service, where the address was chosen before the endpoint was): the
            // answer to that address would not come back through the tunnel.
            Rule::new()
                .lookup_not([source], cluster)
                .lookup([destination], cluster)
                .lookup_not([destination], pods)
                .is(Field::FibSaddrType, Value::LOCAL)
                .masquerade(),
        ]);
    }
    rules
}

/// One of the chain's sets.
#[derive(Debug, Clone, Copy)]
struct PrefixSet {
    name: &'static str,
    key: Field,
    ipv4: bool,
    prefixes: fn(&MasqueradeTable) -> &BTreeSet<IpNet>,
}

const SETS: [PrefixSet; 6] = [
    PrefixSet {
        name: "pods4",
        key: Field::IpSaddr,
        ipv4: true,
        prefixes: |table| &table.pods,
    },
    PrefixSet {
        name: "pods6",
        key: Field::Ip6Saddr,
        ipv4: false,
        prefixes: |table| &table.pods,
    },
    PrefixSet {
        name: "cluster4",
        key: Field::IpDaddr,
        ipv4: true,
        prefixes: |table| &table.cluster,
    },
    PrefixSet {
        name: "cluster6",
        key: Field::Ip6Daddr,
        ipv4: false,
        prefixes: |table| &table.cluster,
    },
    PrefixSet {
        name: "unmasqueraded4",
        key: Field::IpDaddr,
        ipv4: true,
        prefixes: |table| &table.unmasqueraded,
    },
    PrefixSet {
        name: "unmasqueraded6",
        key: Field::Ip6Daddr,
        ipv4: false,
        prefixes: |table| &table.unmasqueraded,
    },
];

impl PrefixSet {
    fn declaration(self) -> Arc<Set> {
        Arc::new(Set::keys(self.name, [self.key]).interval())
    }

    fn prefixes(self, table: &MasqueradeTable) -> impl Iterator<Item = &IpNet> {
        let prefixes = (self.prefixes)(table);
        prefixes
            .iter()
            .filter(move |prefix| prefix.addr().is_ipv4() == self.ipv4)
    }

    fn elements<'a>(self, prefixes: impl Iterator<Item = &'a IpNet>) -> Vec<Element> {
        prefixes
            .map(|prefix| Element::interval(&[Part::Prefix(*prefix)]))
            .collect()
    }
}

fn difference(before: &MasqueradeTable, after: &MasqueradeTable) -> Transaction {
    let mut transaction = Transaction::new(MASQUERADE_TABLE);
    for set in SETS {
        let old: BTreeSet<&IpNet> = set.prefixes(before).collect();
        let new: BTreeSet<&IpNet> = set.prefixes(after).collect();
        let declaration = set.declaration();
        let gone = set.elements(old.difference(&new).copied());
        let come = set.elements(new.difference(&old).copied());
        transaction.delete(&declaration, gone);
        transaction.add(&declaration, come);
    }
    transaction
}
