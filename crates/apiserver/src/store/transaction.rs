//! What one write may do to the working copy, and how it is undone.

use std::sync::Arc;

use serde_json::Value;

use super::object::metadata_text;
use super::{Object, Objects};

/// One staged change: enough to undo it, to log it and to tell watchers.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) resource: Arc<str>,
    /// What was there; `None` if the change creates.
    pub(crate) before: Option<Arc<Object>>,
    /// What is there now or, for a removal, the object's last state with the
    /// revision of its removal.
    pub(crate) object: Arc<Object>,
    pub(crate) removed: bool,
}

impl Change {
    /// What this change leaves in the maps.
    pub(crate) fn after(&self) -> Option<&Arc<Object>> {
        (!self.removed).then_some(&self.object)
    }
}

/// The working copy in the hands of one write.
pub struct Transaction<'w> {
    objects: &'w mut Objects,
    changes: &'w mut Vec<Change>,
    discarded: bool,
}

impl<'w> Transaction<'w> {
    pub(crate) fn new(objects: &'w mut Objects, changes: &'w mut Vec<Change>) -> Transaction<'w> {
        Transaction {
            objects,
            changes,
            discarded: false,
        }
    }

    /// The newest state, the changes of this write included.
    pub fn objects(&self) -> &Objects {
        self.objects
    }

    /// Stores `value` under its own namespace and name with a new revision. In a
    /// dry run the object keeps the revision that it came with, as nobody will
    /// ever see it at another.
    pub fn put(&mut self, resource: &str, value: Value) -> Arc<Object> {
        let revision = self.objects.revision() + 1;
        let object = Arc::new(match self.discarded {
            true => Object::unstamped(value, revision),
            false => Object::stamped(value, revision),
        });
        self.stage(resource, Arc::clone(&object), false);
        object
    }

    /// Removes an object and returns its last state, stamped with the revision
    /// of the removal as watchers see it; `None` if there is none.
    pub fn remove(&mut self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let last = self.objects.find(resource, namespace, name)?;
        let revision = self.objects.revision() + 1;
        let object = Arc::new(Object::stamped(last.to_value(), revision));
        self.stage(resource, Arc::clone(&object), true);
        Some(object)
    }

    /// Nothing of this write is kept, though its answer is given: a dry run.
    pub fn discard(&mut self) {
        self.discarded = true;
    }

    pub(crate) fn is_discarded(&self) -> bool {
        self.discarded
    }

    fn stage(&mut self, resource: &str, object: Arc<Object>, removed: bool) {
        let resource: Arc<str> = Arc::from(resource);
        let place = (
            metadata_text(object.value(), "namespace"),
            metadata_text(object.value(), "name"),
        );
        let after = (!removed).then_some(&object);
        let before = self.objects.replace(&resource, place, after);
        self.objects.set_revision(object.revision());
        self.changes.push(Change {
            resource,
            before,
            object,
            removed,
        });
    }
}

/// Takes back the changes after the first `keep`.
pub(crate) fn undo(objects: &mut Objects, changes: &mut Vec<Change>, keep: usize) {
    if changes.len() > keep {
        objects.count_undo();
    }
    while changes.len() > keep {
        let Some(change) = changes.pop() else { return };
        let place = (change.object.namespace(), change.object.name());
        objects.replace(&change.resource, place, change.before.as_ref());
        objects.set_revision(change.object.revision() - 1);
    }
}
