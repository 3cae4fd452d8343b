//! `metadata.managedFields`.

use serde_json::{Value, json};

use super::Conflict;
use super::set::FieldSet;

/// Who writes: the client's name for itself, and below which path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Author {
    pub(crate) name: String,
    /// `status`, `scale`; empty for the object itself.
    pub(crate) subresource: String,
}

/// How a manager came to its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// By applying a configuration that has them.
    Apply,
    /// By writing them.
    Update,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manager {
    pub(super) name: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    pub(super) subresource: String,
    /// RFC 3339; empty if not known.
    pub(super) time: String,
    pub(super) fields: FieldSet,
}

/// All managers of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Managers(Vec<Manager>);

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

impl Manager {
    fn decode(entry: &Value) -> Option<Manager> {
        let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        let operation = match text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        Some(Manager {
            name: text("manager").to_owned(),
            operation,
            api_version: text("apiVersion").to_owned(),
            subresource: text("subresource").to_owned(),
            time: text("time").to_owned(),
            fields: FieldSet::decode(entry.get("fieldsV1")?)?,
        })
    }

    fn encode(&self) -> Value {
        let mut entry = json!({
            "manager": self.name, "operation": self.operation.name(),
            "apiVersion": self.api_version, "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.encode(),
        });
        for (field, text) in [("time", &self.time), ("subresource", &self.subresource)] {
            if !text.is_empty() {
                entry[field] = json!(text);
            }
        }
        entry
    }

    /// `"kubectl" with subresource "scale" using v1`. Appliers are told apart by
    /// their names alone.
    fn describe(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

impl Managers {
    /// Reads `managedFields`; `None` if an entry is not one. A single empty entry
    /// is how clients say that there are none.
    pub(crate) fn decode(list: &Value) -> Option<Managers> {
        let entries = list.as_array()?;
        if let [Value::Object(only)] = entries.as_slice()
            && only.is_empty()
        {
            return Some(Managers::default());
        }
        entries
            .iter()
            .map(Manager::decode)
            .collect::<Option<_>>()
            .map(Managers)
    }

    /// As `managedFields`.
    pub(crate) fn encode(&self) -> Value {
        self.0.iter().map(Manager::encode).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entry of an author, made if it is missing.
    pub(super) fn of(
        &mut self,
        author: &Author,
        operation: Operation,
        api_version: &str,
    ) -> &mut Manager {
        let found = self.0.iter().position(|manager| {
            manager.operation == operation
                && manager.name == author.name
                && manager.subresource == author.subresource
                && manager.api_version == api_version
        });
        let index = found.unwrap_or_else(|| {
            self.0.push(Manager {
                name: author.name.clone(),
                operation,
                api_version: api_version.to_owned(),
                subresource: author.subresource.clone(),
                time: String::new(),
                fields: FieldSet::default(),
            });
            self.0.len() - 1
        });
        &mut self.0[index]
    }

    /// Takes out the entry of an applier.
    pub(super) fn take(&mut self, author: &Author) -> Option<Manager> {
        let index = self.0.iter().position(|manager| {
            manager.operation == Operation::Apply
                && manager.name == author.name
                && manager.subresource == author.subresource
        })?;
        Some(self.0.remove(index))
    }

    pub(super) fn add(&mut self, manager: Manager) {
        self.0.push(manager);
    }

    /// What anybody owns.
    pub(super) fn all(&self) -> FieldSet {
        let mut all = FieldSet::default();
        for manager in &self.0 {
            all.add(&manager.fields);
        }
        all
    }

    pub(super) fn subtract(&mut self, fields: &FieldSet) {
        for manager in &mut self.0 {
            manager.fields.subtract(fields);
        }
    }

    pub(super) fn drop_empty(&mut self) {
        self.0.retain(|manager| !manager.fields.is_empty());
    }

    /// Which of these fields are owned, by whom.
    pub(super) fn conflicts(&self, fields: &FieldSet) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        for manager in &self.0 {
            let fields = manager.fields.intersection(fields).paths();
            conflicts.extend(fields.into_iter().map(|field| Conflict {
                manager: manager.describe(),
                field,
            }));
        }
        conflicts.sort_by(|a, b| (&a.manager, &a.field).cmp(&(&b.manager, &b.field)));
        conflicts
    }
}
