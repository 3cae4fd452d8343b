//! The features of a node: each a planner and a backend.

mod overlay;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::status::Writes;

pub(crate) use overlay::Overlay;

/// Counts what features write to the kernel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    transactions: AtomicU64,
    objects: AtomicU64,
}

impl Counters {
    /// Requests that each write one object (rtnetlink).
    pub(crate) fn requests(&self, count: u64) {
        self.add(count, count);
    }

    /// Transactions and the objects in them (nftables).
    pub(crate) fn add(&self, transactions: u64, objects: u64) {
        self.0
            .transactions
            .fetch_add(transactions, Ordering::Relaxed);
        self.0.objects.fetch_add(objects, Ordering::Relaxed);
    }

    pub(crate) fn total(&self) -> Writes {
        Writes {
            transactions: self.0.transactions.load(Ordering::Relaxed),
            objects: self.0.objects.load(Ordering::Relaxed),
        }
    }
}
