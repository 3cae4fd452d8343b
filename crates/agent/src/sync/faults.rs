use std::collections::BTreeMap;

use podway_model::ObjectRef;
use podway_watch::objects::Fault;

use crate::status::ObjectFault;

/// What is wrong with which objects.
#[derive(Debug, Default)]
pub(super) struct Faults {
    by_object: BTreeMap<ObjectRef, Vec<Fault>>,
}

impl Faults {
    /// Notes an object's faults, none to take back what was; returns the new ones.
    pub(super) fn note(&mut self, object: ObjectRef, faults: Vec<Fault>) -> Vec<Fault> {
        if faults.is_empty() {
            self.by_object.remove(&object);
            return Vec::new();
        }
        let before = self.by_object.insert(object, faults.clone());
        let before = before.unwrap_or_default();
        let is_new = |fault: &Fault| !before.contains(fault);
        faults.into_iter().filter(is_new).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.by_object.values().map(Vec::len).sum()
    }

    pub(super) fn list(&self, most: usize) -> Vec<ObjectFault> {
        let all = self.by_object.values().flatten().take(most);
        all.map(|fault| ObjectFault {
            object: fault.object.to_string(),
            field: fault.field.clone(),
            message: fault.reason.clone(),
        })
        .collect()
    }
}
