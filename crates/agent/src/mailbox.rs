//! What waits for the sync thread: the latest state of each object, and
//! requests in the order they came.
//!
//! The thread is never behind by more than one batch, whatever arrives while it
//! writes: of several changes of one object it sees the last, so the mailbox
//! never holds more than the cluster has objects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use podway_cni::agent_protocol::{Attachment, Detachment};
use podway_model::{Change, Object, ObjectKind, ObjectRef};
use podway_watch::client::Notice;
use podway_watch::objects::Fault;

use crate::config::Configuration;
use crate::health::Health;

/// Something that is answered once it is done.
#[derive(Debug)]
pub(crate) enum Request {
    /// A pod was attached.
    Attach(Attachment, Answer),
    /// A pod was detached.
    Detach(Detachment, Answer),
}

/// Where the answer goes: `Ok` once the kernel agrees, or the reason why not.
/// A requester that no longer waits is no error.
pub(crate) type Answer = SyncSender<Result<(), String>>;

/// Everything that came since the last batch.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Complete lists, which come before `changes`.
    pub(crate) lists: BTreeMap<ObjectKind, Vec<Object>>,
    /// The latest change of each object.
    pub(crate) changes: BTreeMap<ObjectRef, Change>,
    /// Revisions up to which kinds are known, after all of that.
    pub(crate) seen: BTreeMap<ObjectKind, u64>,
    /// The latest faults of each object; an empty list takes back what was.
    pub(crate) faults: BTreeMap<ObjectRef, Vec<Fault>>,
    /// Watches that were lost (with the cause) or regained.
    pub(crate) watches: BTreeMap<ObjectKind, Option<String>>,
    /// Every kind has been listed once.
    pub(crate) is_synced: bool,
    /// Somebody else changed our kernel objects.
    pub(crate) is_disturbed: bool,
    /// Somebody else changed what these features made or depend on.
    pub(crate) disturbed: BTreeSet<&'static str>,
    /// Another configuration, or what is wrong with the file.
    pub(crate) configuration: Option<Result<Configuration, String>>,
    /// Requests, oldest first.
    pub(crate) requests: VecDeque<Request>,
    /// The agent is to end.
    pub(crate) is_ending: bool,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.lists.is_empty()
            && self.changes.is_empty()
            && self.seen.is_empty()
            && self.faults.is_empty()
            && self.watches.is_empty()
            && self.requests.is_empty()
            && self.disturbed.is_empty()
            && self.configuration.is_none()
            && !(self.is_synced || self.is_disturbed || self.is_ending)
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Change(Change::Replace(kind, objects)) => {
                self.changes
                    .retain(|reference, _| kind_of(reference) != kind);
                self.lists.insert(kind, objects);
            }
            Notice::Change(change) => {
                let reference = match &change {
                    Change::Upsert(object) => object.reference(),
                    Change::Delete(reference) => reference.clone(),
                    Change::Seen(kind, revision) => {
                        let seen = self.seen.entry(*kind).or_default();
                        *seen = (*seen).max(*revision);
                        return;
                    }
                    Change::Replace(..) => return,
                };
                self.changes.insert(reference, change);
            }
            Notice::Faults(object, faults) => {
                self.faults.insert(object, faults);
            }
            Notice::Lost(kind, cause) => {
                self.watches.insert(kind, Some(cause));
            }
            Notice::Regained(kind) => {
                self.watches.insert(kind, None);
            }
            Notice::Synced => self.is_synced = true,
        }
    }

    /// The changes in an order that ends in the latest state.
    pub(crate) fn take_changes(&mut self) -> impl Iterator<Item = Change> + use<> {
        let lists = std::mem::take(&mut self.lists).into_iter();
        let changes = std::mem::take(&mut self.changes).into_values();
        let seen = std::mem::take(&mut self.seen).into_iter();
        lists
            .map(|(kind, objects)| Change::Replace(kind, objects))
            .chain(changes)
            .chain(seen.map(|(kind, revision)| Change::Seen(kind, revision)))
    }
}

/// The mailbox of the sync thread. Putting something in never waits for it.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    batch: Mutex<Batch>,
    arrived: Condvar,
    /// Is told since when changes wait.
    pub(crate) health: Arc<Health>,
}

impl Mailbox {
    pub(crate) fn notice(&self, notice: Notice) {
        if concerns_services(&notice) {
            self.health.queue(Instant::now());
        }
        self.put(|batch| batch.notice(notice));
    }

    pub(crate) fn request(&self, request: Request) {
        self.put(|batch| batch.requests.push_back(request));
    }

    pub(crate) fn disturb(&self) {
        self.put(|batch| batch.is_disturbed = true);
    }

    /// Somebody else changed what a feature made or depends on.
    pub(crate) fn disturb_feature(&self, feature: &'static str) {
        self.put(|batch| {
            batch.disturbed.insert(feature);
        });
    }

    /// The configuration file has changed.
    pub(crate) fn configure(&self, configuration: Result<Configuration, String>) {
        self.put(|batch| batch.configuration = Some(configuration));
    }

    pub(crate) fn end(&self) {
        self.put(|batch| batch.is_ending = true);
    }

    fn put(&self, change: impl FnOnce(&mut Batch)) {
        change(&mut self.batch.lock());
        self.arrived.notify_one();
    }

    /// Takes everything that is there; waits for something, until the deadline
    /// (`None`: for ever). Empty only after the deadline.
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Batch {
        let mut batch = self.batch.lock();
        while batch.is_empty() {
            match deadline {
                None => self.arrived.wait(&mut batch),
                Some(deadline) => {
                    if self.arrived.wait_until(&mut batch, deadline).timed_out() {
                        break;
                    }
                }
            }
        }
        self.health.take_in_hand();
        std::mem::take(&mut *batch)
    }
}

/// Whether it is something that rules for Services follow from.
fn concerns_services(notice: &Notice) -> bool {
    let Notice::Change(change) = notice else {
        return false;
    };
    let kind = match change {
        Change::Upsert(object) => object.kind(),
        Change::Delete(reference) => kind_of(reference),
        Change::Replace(kind, _) => *kind,
        Change::Seen(..) => return false,
    };
    matches!(kind, ObjectKind::Service | ObjectKind::EndpointSlice)
}

const fn kind_of(reference: &ObjectRef) -> ObjectKind {
    match reference {
        ObjectRef::Namespace(_) => ObjectKind::Namespace,
        ObjectRef::Node(_) => ObjectKind::Node,
        ObjectRef::Pod(_) => ObjectKind::Pod,
        ObjectRef::Service(_) => ObjectKind::Service,
        ObjectRef::EndpointSlice(_) => ObjectKind::EndpointSlice,
        ObjectRef::NetworkPolicy(_) => ObjectKind::NetworkPolicy,
        ObjectRef::ClusterNetworkPolicy(_) => ObjectKind::ClusterNetworkPolicy,
    }
}

#[cfg(test)]
mod tests {
    use podway_model::Namespace;

    use super::*;

    fn namespace(name: &str, revision: u64) -> Object {
        Object::Namespace(Arc::new(Namespace {
            name: name.into(),
            revision,
            labels: [].into(),
        }))
    }

    #[test]
    fn only_the_latest_of_each_object_is_kept() {
        let mailbox = Mailbox::default();
        for revision in 1..=3 {
            mailbox.notice(Notice::Change(Change::Upsert(namespace("a", revision))));
        }
        mailbox.notice(Notice::Change(Change::Upsert(namespace("b", 4))));
        mailbox.notice(Notice::Change(Change::Delete(ObjectRef::Namespace(
            "b".into(),
        ))));
        let changes: Vec<Change> = mailbox.take(None).take_changes().collect();
        assert_eq!(
            changes,
            [
                Change::Upsert(namespace("a", 3)),
                Change::Delete(ObjectRef::Namespace("b".into())),
            ]
        );
    }

    #[test]
    fn a_list_replaces_what_came_before_it_and_precedes_what_comes_after() {
        let mailbox = Mailbox::default();
        mailbox.notice(Notice::Change(Change::Upsert(namespace("old", 1))));
        let list = Change::Replace(ObjectKind::Namespace, vec![namespace("a", 2)]);
        mailbox.notice(Notice::Change(list.clone()));
        mailbox.notice(Notice::Change(Change::Upsert(namespace("new", 3))));
        let changes: Vec<Change> = mailbox.take(None).take_changes().collect();
        assert_eq!(changes, [list, Change::Upsert(namespace("new", 3))]);
    }

    #[test]
    fn nothing_comes_after_the_deadline_only() {
        let mailbox = Mailbox::default();
        assert!(mailbox.take(Some(Instant::now())).is_empty());
        mailbox.disturb();
        assert!(mailbox.take(Some(Instant::now())).is_disturbed);
        assert!(mailbox.take(Some(Instant::now())).is_empty());
    }
}
