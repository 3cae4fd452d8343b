//! What a write changes, part by part.

use std::collections::BTreeMap;

use serde_json::Value;

use super::parts::{Duplicate, Part, Place, parts};
use super::set::{FieldSet, Step};
use crate::schema::Shape;

/// The difference between two values.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Only the new value has these.
    pub(super) added: FieldSet,
    /// Both have these, with different values.
    pub(super) modified: FieldSet,
    /// Only the old value has these.
    pub(super) removed: FieldSet,
}

impl Comparison {
    /// What the writer of the new value now owns.
    pub(super) fn written(&self) -> FieldSet {
        let mut written = self.added.clone();
        written.add(&self.modified);
        written
    }
}

/// Compares two objects of a type.
pub(super) fn compare(shape: &Shape, old: &Value, new: &Value) -> Result<Comparison, Duplicate> {
    let mut walk = Walk {
        found: Comparison::default(),
        path: Vec::new(),
    };
    walk.both(Some(shape), old, new)?;
    Ok(walk.found)
}

struct Walk {
    found: Comparison,
    path: Vec<Step>,
}

/// Which of the two values has a part.
#[derive(Clone, Copy)]
enum Side {
    Old,
    New,
}

impl Walk {
    fn both(&mut self, shape: Option<&Shape>, old: &Value, new: &Value) -> Result<(), Duplicate> {
        let (Some(old_parts), Some(new_parts)) = (parts(shape, old)?, parts(shape, new)?) else {
            if old != new {
                self.found.modified.insert(&self.path);
            }
            return Ok(());
        };
        let mut old_parts: BTreeMap<Step, Part<'_>> = old_parts
            .into_iter()
            .map(|part| (part.step.clone(), part))
            .collect();
        for new in new_parts {
            let old = old_parts.remove(&new.step);
            self.path.push(new.step.clone());
            match old {
                Some(old) => self.both(new.shape, old.value, new.value)?,
                None => self.one(Side::New, &new, false)?,
            }
            self.path.pop();
        }
        for old in old_parts.values() {
            self.path.push(old.step.clone());
            self.one(Side::Old, old, false)?;
            self.path.pop();
        }
        Ok(())
    }

    /// A part that only one value has. `inside`: so is what it is in.
    fn one(&mut self, side: Side, part: &Part<'_>, inside: bool) -> Result<(), Duplicate> {
        let below = parts(part.shape, part.value)?;
        // What is always there did not come or go by itself, only its content.
        if below.is_none() || inside || part.place != Place::Field {
            let set = match side {
                Side::Old => &mut self.found.removed,
                Side::New => &mut self.found.added,
            };
            set.insert(&self.path);
        }
        let inside = inside || part.place == Place::Item;
        for part in below.into_iter().flatten() {
            self.path.push(part.step.clone());
            self.one(side, &part, inside)?;
            self.path.pop();
        }
        Ok(())
    }
}
