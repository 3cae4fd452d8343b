//! What happened lately, for watchers.
//!
//! A watcher is a cursor into a window of past events that all watchers
//! share: the writer appends and never waits, memory does not grow with the
//! number of watchers, and one that falls behind the window is told so (410
//! Gone) and lists anew.

mod hub;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::store::{Change, Object};

pub(crate) use hub::Hub;
pub use hub::{Cursor, News};

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was created.
    Added,
    /// It was replaced.
    Modified,
    /// It was removed.
    Deleted,
}

impl EventKind {
    /// The `type` of a watch event.
    pub fn name(self) -> &'static str {
        match self {
            EventKind::Added => "ADDED",
            EventKind::Modified => "MODIFIED",
            EventKind::Deleted => "DELETED",
        }
    }
}

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// Which resource (`pods`, `networkpolicies.networking.k8s.io`).
    pub resource: Arc<str>,
    /// The new state; of a deleted object the last one. Its revision is the
    /// event's.
    pub object: Arc<Object>,
    /// The state before; `None` for a created object.
    pub before: Option<Arc<Object>>,
}

impl From<&Change> for Event {
    fn from(change: &Change) -> Event {
        let kind = match (change.removed, &change.before) {
            (true, _) => EventKind::Deleted,
            (false, Some(_)) => EventKind::Modified,
            (false, None) => EventKind::Added,
        };
        Event {
            kind,
            resource: Arc::clone(&change.resource),
            object: Arc::clone(&change.object),
            before: change.before.clone(),
        }
    }
}

impl Event {
    /// What a watcher sees who is interested in the objects that `matches`
    /// accepts: one that begins to match appears, one that ceases to match
    /// disappears.
    pub fn seen_by(&self, matches: impl Fn(&Object) -> bool) -> Option<EventKind> {
        let matched = self.before.as_deref().is_some_and(&matches);
        let matching = self.kind != EventKind::Deleted && matches(&self.object);
        match (matched, matching) {
            (false, true) => Some(EventKind::Added),
            (true, true) => Some(EventKind::Modified),
            (true, false) => Some(EventKind::Deleted),
            (false, false) => None,
        }
    }
}
