//! What keeps pods as workloads say: Deployments, `ReplicaSets`, `DaemonSets` and
//! Jobs, and what keeps watch over nodes, as pure functions from what there is to
//! the writes that are missing.
//!
//! Each function does one step; what it writes calls it again, until nothing is
//! missing. The hands are in `server/workloads.rs`.

mod conditions;
pub(crate) mod daemon_set;
pub(crate) mod deployment;
pub(crate) mod eviction;
mod history;
pub(crate) mod job;
pub(crate) mod node;
pub mod nodes;
mod pods;
pub(crate) mod replica_set;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::Value;

use crate::kinds::{self, Kind};

/// One write that brings the stored objects to what they should be.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A new object, with its name or the beginning of it.
    Create(Arc<Kind>, Value),
    /// The next value of an object, with the resource version it was read at.
    Update(Arc<Kind>, Value),
    /// An object with its next status; the rest of it is ignored.
    Status(Arc<Kind>, Value),
    /// The name of an object that has to go.
    Delete(Arc<Kind>, String),
}

/// What a step wants.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Plan {
    /// In this order; the first that is refused ends the step.
    pub(crate) writes: Vec<Write>,
    /// When to look again although nothing has changed.
    pub(crate) again: Option<SignedDuration>,
}

impl Plan {
    /// Looks again after `wait` at the latest.
    pub(crate) fn look_again(&mut self, wait: SignedDuration) {
        self.again = Some(self.again.map_or(wait, |again| again.min(wait)));
    }

    fn create(&mut self, kind: &Arc<Kind>, object: &impl Serialize) {
        let write = Write::Create(Arc::clone(kind), encode(object));
        self.writes.push(write);
    }

    fn update(&mut self, kind: &Arc<Kind>, object: &impl Serialize) {
        let write = Write::Update(Arc::clone(kind), encode(object));
        self.writes.push(write);
    }

    /// Writes the object's next status, unless the object itself is written: the
    /// event of that write leads here again.
    fn status(&mut self, kind: &Arc<Kind>, object: &impl Serialize) {
        let updates =
            |write: &Write| matches!(write, Write::Update(other, _) if Arc::ptr_eq(other, kind));
        if !self.writes.iter().any(updates) {
            let write = Write::Status(Arc::clone(kind), encode(object));
            self.writes.push(write);
        }
    }

    fn delete(&mut self, kind: &Arc<Kind>, metadata: &ObjectMeta) {
        let name = metadata.name.clone().unwrap_or_default();
        self.writes.push(Write::Delete(Arc::clone(kind), name));
    }
}

fn encode(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("Kubernetes types have string keys only")
}

fn pod_kind() -> &'static Arc<Kind> {
    kinds::known("v1", "Pod")
}

/// The reference that makes `owner` the controller of an object.
fn controller_reference(api_version: &str, kind: &str, owner: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: owner.name.clone().unwrap_or_default(),
        uid: owner.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The uid of the controller that has the object.
fn controller_of(metadata: &ObjectMeta) -> Option<&str> {
    let owners = metadata.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    controllers.next().map(|owner| owner.uid.as_str())
}

/// The objects that belong to `owner`, and the writes that make it so: what it
/// selects and nobody has is adopted, what it has and does not select any more
/// is let go.
fn claim<T: Clone>(
    owner: &OwnerReference,
    adopts: bool,
    candidates: &[T],
    metadata: impl Fn(&mut T) -> &mut ObjectMeta,
    selects: impl Fn(&ObjectMeta) -> bool,
) -> (Vec<T>, Vec<T>) {
    let (mut owned, mut changed) = (Vec::new(), Vec::new());
    for candidate in candidates {
        let mut candidate = candidate.clone();
        let meta = metadata(&mut candidate);
        let (selected, terminating) = (selects(meta), meta.deletion_timestamp.is_some());
        match controller_of(meta) {
            Some(uid) if uid != owner.uid => {}
            Some(_) if selected => owned.push(candidate),
            Some(_) if terminating => {}
            Some(_) => {
                let owners = meta.owner_references.get_or_insert_default();
                owners.retain(|other| other.uid != owner.uid);
                changed.push(candidate);
            }
            None if selected && adopts && !terminating => {
                let owners = meta.owner_references.get_or_insert_default();
                owners.push(owner.clone());
                owned.push(candidate.clone());
                changed.push(candidate);
            }
            None => {}
        }
    }
    (owned, changed)
}

/// How long ago; nothing if the time is not known.
fn since(time: Option<Timestamp>, now: Timestamp) -> SignedDuration {
    time.map_or(SignedDuration::ZERO, |time| now.duration_since(time))
}

/// `3` or `25%` of `whole`.
fn amount(value: Option<&IntOrString>, whole: i32, up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let hundredths = percent * i64::from(whole) + if up { 99 } else { 0 };
            i32::try_from(hundredths / 100).unwrap_or(i32::MAX)
        }
    }
}

/// A hash in the letters of generated names.
fn safe_hash(text: &str) -> String {
    const OFFSET: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let hash = text.bytes().fold(OFFSET, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(PRIME)
    });
    let digits = hash.to_string();
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte) % LETTERS.len()]);
    digits.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests;
