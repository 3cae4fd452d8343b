//! Values against schemas, with the texts that Kubernetes' users know.

use serde_json::{Map, Value};

use super::format;
use super::schema::{Additional, Limits, Schema};
use crate::validate::{FieldErrors, Path};

/// Checks a whole object; metadata has been checked as that of any other kind.
pub(super) fn validate(schema: &Schema, object: &Value, errors: &mut FieldErrors) {
    let Some(fields) = object.as_object() else {
        return;
    };
    let body: Map<String, Value> = fields
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let check = Check {
        schema,
        path: None,
        whole: Some(fields),
    };
    check.value(&Value::Object(body), errors);
}

/// One value and its schema.
struct Check<'a> {
    schema: &'a Schema,
    /// `None` for the whole object.
    path: Option<Path>,
    /// The whole object with its metadata, in which required fields may be.
    whole: Option<&'a Map<String, Value>>,
}

impl Check<'_> {
    fn below(&self, name: &str) -> Path {
        match &self.path {
            None => Path::new(name),
            Some(path) => path.child(name),
        }
    }

    fn path(&self) -> Path {
        self.path.clone().unwrap_or_else(|| Path::new("<nil>"))
    }

    fn value(&self, value: &Value, errors: &mut FieldErrors) {
        let schema = self.schema;
        if value.is_null() && (schema.nullable || schema.kind.is_empty()) {
            return;
        }
        if !has_type(schema, value) {
            let wanted = match schema.int_or_string {
                true => "integer,string",
                false => &schema.kind,
            };
            let detail = format!(
                "{} in body must be of type {wanted}: {:?}",
                self.path(),
                type_of(value)
            );
            errors.mismatch(&self.path(), type_of(value), &detail);
            return;
        }
        self.limits(value, errors);
        match value {
            Value::Object(fields) => self.fields(fields, errors),
            Value::Array(list) => self.items(list, errors),
            _ => {}
        }
    }

    fn fields(&self, fields: &Map<String, Value>, errors: &mut FieldErrors) {
        for name in &self.schema.limits.required {
            let present = fields.contains_key(name)
                || self.whole.is_some_and(|whole| whole.contains_key(name));
            if !present {
                errors.required(&self.below(name), "");
            }
        }
        for (name, value) in fields {
            let Some(schema) = self.schema.field(name) else {
                continue;
            };
            // Entries of maps are named as such.
            let path = match (&self.schema.additional_properties, &self.path) {
                (Some(Additional::Schema(_)), Some(path)) => path.child(name),
                _ => self.below(name),
            };
            Check {
                schema,
                path: Some(path),
                whole: None,
            }
            .value(value, errors);
        }
    }

    fn items(&self, list: &[Value], errors: &mut FieldErrors) {
        let path = self.path();
        if let Some(schema) = self.schema.items.as_deref() {
            for (index, item) in list.iter().enumerate() {
                Check {
                    schema,
                    path: Some(path.index(index)),
                    whole: None,
                }
                .value(item, errors);
            }
        }
        let key = |item: &Value| -> Vec<Value> {
            let keys = self.schema.list_map_keys.iter();
            keys.map(|name| item.get(name).cloned().unwrap_or_default())
                .collect()
        };
        for (index, item) in list.iter().enumerate() {
            let before = &list[..index];
            let twice = match self.schema.list_type.as_str() {
                "set" => before.contains(item),
                "map" => before.iter().any(|other| key(other) == key(item)),
                _ => false,
            };
            if twice {
                errors.duplicate(&path.index(index), item.clone());
            }
        }
    }

    fn limits(&self, value: &Value, errors: &mut FieldErrors) {
        let (limits, path) = (&self.schema.limits, self.path());
        if !limits.choices.is_empty() && !limits.choices.contains(value) {
            let choices: Vec<String> = limits.choices.iter().map(Value::to_string).collect();
            errors.not_one_of(&path, value.clone(), &choices);
        }
        if !limits.format.is_empty() && !format::matches(&limits.format, value) {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), |text| format!("{text:?}"));
            let detail = format!("{path} in body must be of type {}: {text}", limits.format);
            errors.invalid(&path, value.clone(), &detail);
        }
        match value {
            Value::String(text) => check_text(limits, text, &path, errors),
            Value::Number(_) => check_number(limits, value, &path, errors),
            Value::Array(list) => {
                let (least, most) = (limits.min_items, limits.max_items);
                check_count(list.len(), least, most, "items", &path, errors);
            }
            Value::Object(fields) => {
                let (least, most) = (limits.min_properties, limits.max_properties);
                check_count(fields.len(), least, most, "properties", &path, errors);
            }
            Value::Null | Value::Bool(_) => {}
        }
        self.junctions(value, errors);
    }

    /// allOf, anyOf, oneOf, not.
    fn junctions(&self, value: &Value, errors: &mut FieldErrors) {
        let (limits, path) = (&self.schema.limits, self.path());
        let mistakes = |schema: &Schema| {
            let mut errors = FieldErrors::default();
            let check = Check {
                schema,
                path: self.path.clone(),
                whole: self.whole,
            };
            check.value(value, &mut errors);
            errors
        };
        for schema in &limits.all_of {
            errors.extend(mistakes(schema));
        }
        let fitting =
            |schemas: &[Schema]| schemas.iter().filter(|s| mistakes(s).is_empty()).count();
        let refuse = |errors: &mut FieldErrors, how: &str| {
            errors.invalid(
                &path,
                value.clone(),
                &format!("{path} in body must validate {how}"),
            );
        };
        if !limits.any_of.is_empty() && fitting(&limits.any_of) == 0 {
            refuse(errors, "at least one schema (anyOf)");
        }
        if !limits.one_of.is_empty() && fitting(&limits.one_of) != 1 {
            refuse(errors, "one and only one schema (oneOf)");
        }
        if let Some(schema) = &limits.not
            && mistakes(schema).is_empty()
        {
            let detail = format!("{path} in body must not validate the schema (not)");
            errors.invalid(&path, value.clone(), &detail);
        }
    }
}

fn has_type(schema: &Schema, value: &Value) -> bool {
    if schema.int_or_string {
        return value.is_string() || is_integer(value);
    }
    match schema.kind.as_str() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => is_integer(value),
        _ => true,
    }
}

/// `3.0` is an integer in JSON schema.
fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check_text(limits: &Limits, text: &str, path: &Path, errors: &mut FieldErrors) {
    let length = text.chars().count();
    if let Some(least) = limits.min_length.filter(|least| length < *least) {
        let detail = format!("{path} in body should be at least {least} chars long");
        errors.invalid(path, text, &detail);
    }
    if let Some(most) = limits.max_length.filter(|most| length > *most) {
        errors.too_long(path, most);
    }
    if let Some(pattern) = &limits.pattern
        && !pattern.0.is_match(text)
    {
        let detail = format!("{path} in body should match '{}'", pattern.0);
        errors.invalid(path, text, &detail);
    }
}

fn check_number(limits: &Limits, value: &Value, path: &Path, errors: &mut FieldErrors) {
    let number = value.as_f64().unwrap_or_default();
    let mut refuse = |how: String| {
        errors.invalid(
            path,
            value.clone(),
            &format!("{path} in body should be {how}"),
        );
    };
    if let Some(least) = limits.minimum {
        match limits.exclusive_minimum {
            true if number <= least => refuse(format!("greater than {least}")),
            false if number < least => refuse(format!("greater than or equal to {least}")),
            _ => {}
        }
    }
    if let Some(most) = limits.maximum {
        match limits.exclusive_maximum {
            true if number >= most => refuse(format!("less than {most}")),
            false if number > most => refuse(format!("less than or equal to {most}")),
            _ => {}
        }
    }
    if let Some(factor) = limits.multiple_of.filter(|factor| number % factor != 0.0) {
        refuse(format!("a multiple of {factor}"));
    }
}

fn check_count(
    count: usize,
    least: Option<usize>,
    most: Option<usize>,
    what: &str,
    path: &Path,
    errors: &mut FieldErrors,
) {
    if let Some(least) = least.filter(|least| count < *least) {
        let detail = format!("{path} in body should have at least {least} {what}");
        errors.invalid(path, count, &detail);
    }
    if let Some(most) = most.filter(|most| count > *most) {
        errors.too_many(path, count, most);
    }
}
