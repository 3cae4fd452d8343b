//! Who owns which field, and server-side apply, which rests on it.
//!
//! Follows structured-merge-diff: every write notes in `metadata.managedFields`
//! what its author changed; an apply merges a configuration into the object,
//! refuses to change what others own (unless forced), and takes away what the
//! same author's last configuration had and nobody else owns.

mod compare;
mod managers;
mod merge;
mod parts;
mod set;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub(crate) use managers::{Author, Managers, Operation};
pub(crate) use parts::Duplicate;

use crate::kinds::{Kind, Part};
use crate::schema::Shape;
use managers::Manager;
use set::{FieldSet, Step};

/// Why a configuration was not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApplyError {
    /// Others own what it would change.
    Conflicts(Vec<Conflict>),
    /// Two items of a list are the same.
    Duplicate(String),
}

/// One field that another manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// As Kubernetes names it: `"kubectl" using v1`.
    pub(crate) manager: String,
    /// `.spec.replicas`.
    pub(crate) field: String,
}

/// A configuration and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    /// A partial object; the fields are the author's.
    pub(crate) value: Value,
    pub(crate) author: Author,
    pub(crate) part: Part,
    /// Take fields from their owners.
    pub(crate) force: bool,
}

/// The rules of one kind, at one moment.
pub(crate) struct Ownership<'k> {
    kind: &'k Kind,
    shape: Shape,
    /// `metadata.managedFields[].time` of what changes.
    now: String,
}

/// Paths that nobody owns: they identify the object or are the server's.
const UNOWNED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "deletionTimestamp"],
    &["metadata", "deletionGracePeriodSeconds"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// The name under which kubectl applies, and where it keeps what it has applied
/// by patches of its own making.
const KUBECTL: &str = "kubectl";
const LAST_APPLIED: &str =
    "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";

impl<'k> Ownership<'k> {
    pub(crate) fn new(kind: &'k Kind, now: String) -> Ownership<'k> {
        let of = kind.fields.clone().unwrap_or_default();
        let shape = Shape::Object { of, whole: false };
        Ownership { kind, shape, now }
    }

    /// Notes an ordinary write: its author owns what it changed, and nobody else
    /// does any more. Without an author (the server itself) nobody does.
    ///
    /// # Errors
    /// A list with two items of one key. Kubernetes' own validation lets few of
    /// them through; such an object has no owners.
    pub(crate) fn record(
        &self,
        mut managers: Managers,
        author: Option<&Author>,
        old: &Value,
        new: &Value,
    ) -> Result<Managers, Duplicate> {
        let mut comparison = compare::compare(&self.shape, old, new)?;
        for set in [&mut comparison.added, &mut comparison.modified] {
            strip(set, None);
        }
        let written = comparison.written();
        managers.subtract(&written);
        managers.subtract(&comparison.removed);
        if let Some(author) = author
            && !written.is_empty()
        {
            let version = self.kind.api_version();
            let own = managers.of(author, Operation::Update, &version);
            own.fields.add(&written);
            own.time.clone_from(&self.now);
        }
        managers.drop_empty();
        Ok(managers)
    }

    /// Merges a configuration into the object that is there (or one with nothing
    /// but its type).
    ///
    /// # Errors
    /// See [`ApplyError`]. Nothing has changed then.
    pub(crate) fn apply(
        &self,
        mut managers: Managers,
        live: &Value,
        configuration: &Configuration,
    ) -> Result<(Value, Managers), ApplyError> {
        let shape = Some(&self.shape);
        let Configuration { value, author, .. } = configuration;
        let mut set = parts::set_of(shape, value)?;
        strip(&mut set, Some(self.foreign(configuration.part)));
        let merged = merge::merge(shape, live, value)?;
        let previous = managers.take(author);
        let mut kept = managers.all();
        kept.add(&set);
        let dropped = previous.as_ref().map(|manager| &manager.fields);
        let object = match dropped {
            Some(dropped) => merge::prune(shape, &merged, dropped, &kept)?,
            None => merged,
        };
        let mut comparison = compare::compare(&self.shape, live, &object)?;
        for set in [&mut comparison.added, &mut comparison.modified] {
            strip(set, None);
        }
        let written = comparison.written();
        if !configuration.force {
            let mut contested = written.clone();
            if author.name == KUBECTL {
                contested.subtract(&self.applied_by_client(live)?);
            }
            let conflicts = managers.conflicts(&contested);
            if !conflicts.is_empty() {
                return Err(ApplyError::Conflicts(conflicts));
            }
        }
        managers.subtract(&written);
        managers.subtract(&comparison.removed);
        let unchanged = |previous: &Manager| previous.fields == set && written.is_empty();
        let time = match previous {
            Some(previous) if unchanged(&previous) && comparison.removed.is_empty() => {
                previous.time
            }
            _ => self.now.clone(),
        };
        managers.add(Manager {
            name: author.name.clone(),
            operation: Operation::Apply,
            api_version: self.kind.api_version(),
            subresource: author.subresource.clone(),
            time,
            fields: set,
        });
        managers.drop_empty();
        Ok((object, managers))
    }

    /// kubectl's way from client-side to server-side apply: what its annotation
    /// says, and the object still has, is its own already.
    fn applied_by_client(&self, live: &Value) -> Result<FieldSet, Duplicate> {
        let annotation = live.pointer(LAST_APPLIED).and_then(Value::as_str);
        let applied = annotation.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let Some(applied) = applied else {
            return Ok(FieldSet::default());
        };
        let mut set = parts::set_of(Some(&self.shape), &applied)?;
        let comparison = compare::compare(&self.shape, &applied, live)?;
        for other in [comparison.added, comparison.modified, comparison.removed] {
            set.subtract(&other);
        }
        Ok(set)
    }

    /// What a write to this part cannot own.
    fn foreign(&self, part: Part) -> &'static str {
        match part {
            Part::Status => "spec",
            Part::Object if self.kind.has_status() => "status",
            Part::Object => "",
        }
    }
}

/// The manager that everything belongs to that was there before anybody applied.
pub(crate) fn before_first_apply(kind: &Kind, live: &Value, now: &str) -> Managers {
    let author = Author {
        name: "before-first-apply".to_owned(),
        subresource: String::new(),
    };
    let nothing = serde_json::json!({});
    Ownership::new(kind, now.to_owned())
        .record(Managers::default(), Some(&author), &nothing, live)
        .unwrap_or_default()
}

fn strip(set: &mut FieldSet, also: Option<&str>) {
    for path in UNOWNED {
        let path: Vec<Step> = path
            .iter()
            .map(|&name| Step::Field(name.to_owned()))
            .collect();
        set.remove(&path);
    }
    if let Some(name) = also {
        set.remove(&[Step::Field(name.to_owned())]);
    }
}

impl From<Duplicate> for ApplyError {
    fn from(duplicate: Duplicate) -> ApplyError {
        ApplyError::Duplicate(duplicate.0)
    }
}
