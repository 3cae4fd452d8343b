//! The schema of a custom resource, as far as objects are held to it.

use std::collections::BTreeMap;

use regex::Regex;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A structural schema: what an object's fields are, and what they may hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Schema {
    /// `object`, `array`, `string`, `integer`, `number`, `boolean`; empty for
    /// anything.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) properties: BTreeMap<String, Schema>,
    pub(super) additional_properties: Option<Additional>,
    pub(super) items: Option<Box<Schema>>,
    pub(super) nullable: bool,
    pub(super) default: Option<Value>,
    #[serde(rename = "x-kubernetes-preserve-unknown-fields")]
    pub(super) preserve_unknown_fields: bool,
    #[serde(rename = "x-kubernetes-embedded-resource")]
    pub(super) embedded_resource: bool,
    #[serde(rename = "x-kubernetes-int-or-string")]
    pub(super) int_or_string: bool,
    #[serde(rename = "x-kubernetes-list-type")]
    pub(super) list_type: String,
    #[serde(rename = "x-kubernetes-list-map-keys")]
    pub(super) list_map_keys: Vec<String>,
    #[serde(rename = "x-kubernetes-map-type")]
    pub(super) map_type: String,
    #[serde(flatten)]
    pub(super) limits: Limits,
}

/// What restricts values without shaping them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Limits {
    pub(super) required: Vec<String>,
    #[serde(rename = "enum")]
    pub(super) choices: Vec<Value>,
    pub(super) format: String,
    pub(super) pattern: Option<Pattern>,
    pub(super) minimum: Option<f64>,
    pub(super) maximum: Option<f64>,
    pub(super) exclusive_minimum: bool,
    pub(super) exclusive_maximum: bool,
    pub(super) multiple_of: Option<f64>,
    pub(super) min_length: Option<usize>,
    pub(super) max_length: Option<usize>,
    pub(super) min_items: Option<usize>,
    pub(super) max_items: Option<usize>,
    pub(super) min_properties: Option<usize>,
    pub(super) max_properties: Option<usize>,
    pub(super) all_of: Vec<Schema>,
    pub(super) any_of: Vec<Schema>,
    pub(super) one_of: Vec<Schema>,
    pub(super) not: Option<Box<Schema>>,
}

/// What fields without a property of their own are.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Additional {
    /// Whether they may be there.
    Allowed(bool),
    /// All like this.
    Schema(Box<Schema>),
}

/// A regular expression in RE2's language, searched for anywhere in the text.
#[derive(Debug, Clone)]
pub(super) struct Pattern(pub(super) Regex);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
        let text = String::deserialize(deserializer)?;
        Regex::new(&text).map(Pattern).map_err(|error| {
            serde::de::Error::custom(format!("{text:?} is not a regular expression: {error}"))
        })
    }
}

/// Fields that every object has and no schema describes.
const TYPE_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Schema {
    /// Reads the JSON of a schema.
    pub(super) fn read(source: &Value) -> Result<Schema, String> {
        Schema::deserialize(source).map_err(|error| error.to_string())
    }

    /// The schema that everything fits.
    pub(super) fn anything() -> Schema {
        Schema {
            kind: "object".to_owned(),
            preserve_unknown_fields: true,
            ..Schema::default()
        }
    }

    /// The schema of a field; `None` if the field is unknown.
    pub(super) fn field(&self, name: &str) -> Option<&Schema> {
        match (self.properties.get(name), &self.additional_properties) {
            (Some(schema), _) => Some(schema),
            (None, Some(Additional::Schema(schema))) => Some(schema),
            _ => None,
        }
    }

    fn keeps_unknown(&self) -> bool {
        self.preserve_unknown_fields
            || matches!(self.additional_properties, Some(Additional::Allowed(true)))
    }

    /// Drops the fields that the schema does not have from an object of the
    /// cluster, and returns their paths.
    pub(super) fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut dropped = Vec::new();
        self.prune_value(object, "", true, &mut dropped);
        dropped
    }

    fn prune_value(&self, value: &mut Value, path: &str, whole: bool, dropped: &mut Vec<String>) {
        match value {
            Value::Object(fields) => self.prune_fields(fields, path, whole, dropped),
            Value::Array(list) => {
                let Some(items) = &self.items else { return };
                for (index, item) in list.iter_mut().enumerate() {
                    items.prune_value(item, &format!("{path}[{index}]"), false, dropped);
                }
            }
            _ => {}
        }
    }

    fn prune_fields(
        &self,
        fields: &mut Map<String, Value>,
        path: &str,
        whole: bool,
        dropped: &mut Vec<String>,
    ) {
        let typed = whole || self.embedded_resource;
        fields.retain(|name, value| {
            if typed && TYPE_FIELDS.contains(&name.as_str()) {
                return true;
            }
            let path = match path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            match self.field(name) {
                Some(schema) => schema.prune_value(value, &path, false, dropped),
                None if self.keeps_unknown() => {}
                None => {
                    dropped.push(path);
                    return false;
                }
            }
            true
        });
    }

    /// Fills in defaults. Null where null may not be counts as absent if there
    /// is a default.
    pub(super) fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, schema) in &self.properties {
                    let Some(default) = &schema.default else {
                        continue;
                    };
                    let absent = match fields.get(name) {
                        None => true,
                        Some(Value::Null) => !schema.nullable,
                        Some(_) => false,
                    };
                    if absent {
                        fields.insert(name.clone(), default.clone());
                    }
                }
                for (name, value) in fields {
                    if let Some(schema) = self.field(name) {
                        schema.fill(value);
                    }
                }
            }
            Value::Array(list) => {
                if let Some(items) = &self.items {
                    list.iter_mut().for_each(|item| items.fill(item));
                }
            }
            _ => {}
        }
    }
}
