use std::collections::BTreeMap;

use podway_model::ObjectRef;
use podway_watch::objects::Fault;

use crate::status::ObjectFault;

/// What is wrong with which objects.
#[derive(Debug, Default)]
pub(super) struct Faults {
    by_object: BTreeMap<ObjectRef, Vec<Fault>>,
    /// What is left out because of another object.
    of_features: Vec<Fault>,
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

    /// Takes what features leave out now; returns the new ones.
    pub(super) fn compare(&mut self, faults: Vec<Fault>) -> Vec<Fault> {
        let before = std::mem::replace(&mut self.of_features, faults);
        let of_now = self.of_features.iter();
        let new = of_now.filter(|fault| !before.contains(fault));
        new.cloned().collect()
    }

    pub(super) fn count(&self) -> usize {
        let of_objects: usize = self.by_object.values().map(Vec::len).sum();
        of_objects + self.of_features.len()
    }

    pub(super) fn list(&self, most: usize) -> Vec<ObjectFault> {
        let all = self.by_object.values().flatten();
        let all = all.chain(&self.of_features).take(most);
        all.map(|fault| ObjectFault {
            object: fault.object.to_string(),
            field: fault.field.clone(),
            message: fault.reason.clone(),
        })
        .collect()
    }
}
