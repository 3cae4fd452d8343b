//! Sets of fields: which parts of an object somebody owns.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fmt;

use serde_json::{Map, Value};

/// One step on the way from an object to one of its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A field of an object, an entry of a map.
    Field(String),
    /// The list item with these key fields, as a JSON object without spaces.
    Key(String),
    /// The list item that is this JSON value.
    Value(String),
    /// The list item at this place.
    Index(usize),
}

/// Parts of an object. A part may be a member without what is below it, and the
/// other way round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    members: BTreeSet<Step>,
    /// Never empty sets.
    below: BTreeMap<Step, FieldSet>,
}

impl Step {
    /// `f:spec`, `k:{"port":80}`, `v:"a"`, `i:0`; `None` for anything else.
    fn parse(text: &str) -> Option<Step> {
        let (tag, rest) = text.split_once(':')?;
        let canonical = || {
            serde_json::from_str::<Value>(rest)
                .ok()
                .map(|v| v.to_string())
        };
        match tag {
            "f" => Some(Step::Field(rest.to_owned())),
            "k" => canonical().map(Step::Key),
            "v" => canonical().map(Step::Value),
            "i" => rest.parse().ok().map(Step::Index),
            _ => None,
        }
    }

    fn encode(&self) -> String {
        match self {
            Step::Field(name) => format!("f:{name}"),
            Step::Key(key) => format!("k:{key}"),
            Step::Value(value) => format!("v:{value}"),
            Step::Index(index) => format!("i:{index}"),
        }
    }
}

/// As Kubernetes writes paths in conflicts: `.spec`, `[port=80,protocol="TCP"]`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Field(name) => write!(f, ".{name}"),
            Step::Key(key) => {
                let fields: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                write!(f, "[{}]", fields.join(","))
            }
            Step::Value(value) => write!(f, "[={value}]"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl FieldSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.below.is_empty()
    }

    pub(crate) fn insert(&mut self, path: &[Step]) {
        match path {
            [] => {}
            [last] => {
                self.members.insert(last.clone());
            }
            [first, rest @ ..] => self.below.entry(first.clone()).or_default().insert(rest),
        }
    }

    pub(crate) fn insert_below(&mut self, step: Step, set: FieldSet) {
        if set.is_empty() {
            return;
        }
        match self.below.entry(step) {
            Entry::Vacant(entry) => {
                entry.insert(set);
            }
            Entry::Occupied(mut entry) => entry.get_mut().add(&set),
        }
    }

    /// Whether the part itself belongs to the set.
    pub(crate) fn has(&self, step: &Step) -> bool {
        self.members.contains(step)
    }

    /// The set inside a part.
    pub(crate) fn inside(&self, step: &Step) -> Option<&FieldSet> {
        self.below.get(step)
    }

    /// Whether the part or anything in it belongs to the set.
    pub(crate) fn touches(&self, step: &Step) -> bool {
        self.has(step) || self.below.contains_key(step)
    }

    /// Adds all of `other`.
    pub(crate) fn add(&mut self, other: &FieldSet) {
        self.members.extend(other.members.iter().cloned());
        for (step, set) in &other.below {
            self.below.entry(step.clone()).or_default().add(set);
        }
    }

    /// Takes all of `other` out.
    pub(crate) fn subtract(&mut self, other: &FieldSet) {
        self.members.retain(|step| !other.members.contains(step));
        self.below.retain(|step, set| {
            if let Some(other) = other.below.get(step) {
                set.subtract(other);
            }
            !set.is_empty()
        });
    }

    /// Takes a part out, with everything in it.
    pub(crate) fn remove(&mut self, path: &[Step]) {
        match path {
            [] => {}
            [last] => {
                self.members.remove(last);
                self.below.remove(last);
            }
            [first, rest @ ..] => {
                if let Some(set) = self.below.get_mut(first) {
                    set.remove(rest);
                    if set.is_empty() {
                        self.below.remove(first);
                    }
                }
            }
        }
    }

    /// What both have.
    pub(crate) fn intersection(&self, other: &FieldSet) -> FieldSet {
        let below = self.below.iter().filter_map(|(step, set)| {
            let common = set.intersection(other.below.get(step)?);
            (!common.is_empty()).then(|| (step.clone(), common))
        });
        FieldSet {
            members: self.members.intersection(&other.members).cloned().collect(),
            below: below.collect(),
        }
    }

    /// The paths of all members, as people read them.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.members.iter().map(Step::to_string).collect();
        for (step, set) in &self.below {
            paths.extend(set.paths().iter().map(|path| format!("{step}{path}")));
        }
        paths
    }

    /// Reads `fieldsV1`; `None` if it is none.
    pub(crate) fn decode(value: &Value) -> Option<FieldSet> {
        let mut set = FieldSet::default();
        for (text, inner) in value.as_object()? {
            if text == "." {
                continue;
            }
            let step = Step::parse(text)?;
            let inner = inner.as_object()?;
            if inner.is_empty() || inner.contains_key(".") {
                set.members.insert(step.clone());
            }
            set.insert_below(step, FieldSet::decode(&Value::Object(inner.clone()))?);
        }
        Some(set)
    }

    /// As `fieldsV1`.
    pub(crate) fn encode(&self) -> Value {
        let mut object = Map::new();
        for step in &self.members {
            object.insert(step.encode(), Value::Object(Map::new()));
        }
        for (step, set) in &self.below {
            let mut inner = set.encode();
            if self.members.contains(step)
                && let Some(inner) = inner.as_object_mut()
            {
                inner.insert(".".to_owned(), Value::Object(Map::new()));
            }
            object.insert(step.encode(), inner);
        }
        Value::Object(object)
    }
}
