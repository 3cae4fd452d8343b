//! Strategic merge patch: partial objects whose lists are merged by key, with
//! directives (keys that begin with `$`) for what a partial object cannot say.
//!
//! Follows apimachinery `strategicpatch.StrategicMergeMapPatch`.

use serde_json::{Map, Value};

use super::PatchError;
use super::order;
use crate::schema::{Merge, ObjectType, Shape};

/// `delete`, `replace` or `merge` for the object or the list it is in.
const PATCH: &str = "$patch";
/// The fields that an object may keep: those of a union, say.
const RETAIN_KEYS: &str = "$retainKeys";
/// The order of a merged list: `$setElementOrder/containers`.
const SET_ORDER: &str = "$setElementOrder/";
/// Strings to take out of a merged list: `$deleteFromPrimitiveList/finalizers`.
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

type Object = Map<String, Value>;

/// Applies `patch` to `current`, an object of this type.
pub(super) fn merge(
    schema: Option<&ObjectType>,
    current: &Value,
    patch: &Value,
) -> Result<Value, PatchError> {
    let (Value::Object(current), Value::Object(patch)) = (current, patch) else {
        return Err(malformed("a strategic merge patch is a JSON object"));
    };
    merge_object(schema, current.clone(), patch.clone()).map(Value::Object)
}

fn malformed(text: impl Into<String>) -> PatchError {
    PatchError::Malformed(text.into())
}

fn merge_object(
    schema: Option<&ObjectType>,
    mut current: Object,
    mut patch: Object,
) -> Result<Object, PatchError> {
    match directive(&mut patch)? {
        Some(Directive::Replace) => {
            clean_object(&mut patch);
            return Ok(patch);
        }
        Some(Directive::Delete) => return Ok(Object::new()),
        Some(Directive::Merge) | None => {}
    }
    retain_keys(&mut current, &mut patch)?;
    for (field, order) in take_prefixed(&mut patch, SET_ORDER) {
        set_order(schema, &mut current, &mut patch, field, order)?;
    }
    for (field, values) in take_prefixed(&mut patch, DELETE_FROM) {
        let values = list_of(values)?;
        if let Some(Value::Array(list)) = current.get_mut(&field) {
            list.retain(|item| !values.contains(item));
        }
    }
    for (field, value) in patch {
        let merged = match current.remove(&field) {
            _ if value.is_null() => None,
            Some(old) => Some(merge_value(
                schema.and_then(|s| s.field(&field)),
                old,
                value,
            )?),
            None => clean(value),
        };
        if let Some(merged) = merged {
            current.insert(field, merged);
        }
    }
    Ok(current)
}

/// One field that both sides have. `None` as its schema: nothing is known.
fn merge_value(shape: Option<&Shape>, old: Value, patch: Value) -> Result<Value, PatchError> {
    match (old, patch) {
        (Value::Object(old), Value::Object(patch)) => {
            merge_object(fields(shape), old, patch).map(Value::Object)
        }
        (Value::Array(old), Value::Array(patch)) => match shape {
            Some(Shape::List {
                of,
                merge: Some(Merge::By(key)),
                ..
            }) => merge_list(key, fields(Some(of)), &old, patch).map(Value::Array),
            Some(Shape::List {
                merge: Some(Merge::Set),
                ..
            }) => Ok(Value::Array(merge_set(&old, &patch))),
            _ => Ok(clean(Value::Array(patch)).unwrap_or(Value::Null)),
        },
        (_, patch) => Ok(clean(patch).unwrap_or(Value::Null)),
    }
}

fn fields(shape: Option<&Shape>) -> Option<&ObjectType> {
    match shape {
        Some(Shape::Object { of, .. }) => Some(of),
        _ => None,
    }
}

fn merge_set(old: &[Value], patch: &[Value]) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for item in old.iter().chain(patch) {
        if !merged.contains(item) {
            merged.push(item.clone());
        }
    }
    order::arrange(merged, patch, old, None)
}

fn merge_list(
    key: &str,
    schema: Option<&ObjectType>,
    old: &[Value],
    patch: Vec<Value>,
) -> Result<Vec<Value>, PatchError> {
    let mut merged = old.to_vec();
    let (mut changes, mut replace) = (Vec::new(), false);
    for item in patch {
        let Value::Object(mut item) = item else {
            return Err(malformed(format!(
                "expected a map with the key {key} in a merged list, but received {item}"
            )));
        };
        match directive(&mut item)? {
            Some(Directive::Replace) => replace = true,
            Some(Directive::Delete) => {
                let value = key_of(&item, key)?;
                merged.retain(|old| old.get(key) != Some(&value));
            }
            Some(Directive::Merge) | None => {
                key_of(&item, key)?;
                changes.push(item);
            }
        }
    }
    if replace {
        return Ok(changes
            .into_iter()
            .filter_map(|item| clean(Value::Object(item)))
            .collect());
    }
    let patched: Vec<Value> = changes.iter().cloned().map(Value::Object).collect();
    for change in changes {
        let value = key_of(&change, key)?;
        match merged.iter_mut().find(|old| old.get(key) == Some(&value)) {
            Some(old) => {
                let current = old.as_object().cloned().unwrap_or_default();
                *old = Value::Object(merge_object(schema, current, change)?);
            }
            None => merged.extend(clean(Value::Object(change))),
        }
    }
    Ok(order::arrange(merged, &patched, old, Some(key)))
}

fn key_of(item: &Object, key: &str) -> Result<Value, PatchError> {
    item.get(key)
        .cloned()
        .ok_or_else(|| PatchError::Unprocessable {
            cause: format!(
                "map: {} does not contain declared merge key: {key}",
                Value::Object(item.clone())
            ),
        })
}

enum Directive {
    Delete,
    Replace,
    Merge,
}

/// Takes the `$patch` directive out of an object.
fn directive(object: &mut Object) -> Result<Option<Directive>, PatchError> {
    let Some(value) = object.remove(PATCH) else {
        return Ok(None);
    };
    match value.as_str() {
        Some("delete") => Ok(Some(Directive::Delete)),
        Some("replace") => Ok(Some(Directive::Replace)),
        Some("merge") => Ok(Some(Directive::Merge)),
        _ => Err(malformed(format!(
            "unknown patch type: {value} in map: {}",
            Value::Object(object.clone())
        ))),
    }
}

/// Drops every field that `$retainKeys` does not name. The patch itself may not
/// set such a field.
fn retain_keys(current: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let keys = list_of(keys)?;
    let is_kept = |field: &String| keys.iter().any(|key| key.as_str() == Some(field));
    let is_set = |(field, value): (&String, &Value)| {
        !value.is_null()
            && !field.starts_with(SET_ORDER)
            && !field.starts_with(DELETE_FROM)
            && !is_kept(field)
    };
    if patch.iter().any(is_set) {
        return Err(malformed("patch content doesn't match retainKeys list"));
    }
    current.retain(|field, _| is_kept(field));
    Ok(())
}

/// Merges the list `field` of both sides and puts it into `order`; items that
/// the order does not name stay where they are relative to the others.
fn set_order(
    schema: Option<&ObjectType>,
    current: &mut Object,
    patch: &mut Object,
    field: String,
    order: Value,
) -> Result<(), PatchError> {
    let order = list_of(order)?;
    let schema = schema.and_then(|schema| schema.field(&field));
    let key = match schema {
        Some(Shape::List {
            merge: Some(Merge::By(key)),
            ..
        }) => Some(key.as_str()),
        _ => None,
    };
    let change = patch.remove(&field);
    if let Some(Value::Array(change)) = &change {
        check_order(change, &order, key)?;
    }
    let old = match current.remove(&field) {
        Some(Value::Array(old)) => old,
        _ => Vec::new(),
    };
    let merged = match change {
        None => Value::Array(old.clone()),
        Some(Value::Null) => return Ok(()),
        Some(change) => merge_value(schema, Value::Array(old.clone()), change)?,
    };
    let merged = list_of(merged)?;
    if !merged.is_empty() {
        current.insert(
            field,
            Value::Array(order::arrange(merged, &order, &old, key)),
        );
    }
    Ok(())
}

/// The patch's items must appear in the order, in the same order.
fn check_order(change: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    let mut rest = order.iter();
    let kept = change.iter().filter(|item| item.get(PATCH).is_none());
    for item in kept {
        if !rest.any(|ordered| order::same(ordered, item, key)) {
            return Err(malformed(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                Value::Array(change.to_vec()),
                Value::Array(order.to_vec())
            )));
        }
    }
    Ok(())
}

fn list_of(value: Value) -> Result<Vec<Value>, PatchError> {
    match value {
        Value::Array(list) => Ok(list),
        other => Err(malformed(format!("expected a slice, but received {other}"))),
    }
}

fn take_prefixed(patch: &mut Object, prefix: &str) -> Vec<(String, Value)> {
    let directives: Vec<String> = patch
        .keys()
        .filter(|key| key.starts_with(prefix))
        .cloned()
        .collect();
    directives
        .into_iter()
        .filter_map(|key| Some((key.strip_prefix(prefix)?.to_owned(), patch.remove(&key)?)))
        .collect()
}

/// What a patch adds where there was nothing: without directives, deletions
/// and nulls. `None` when nothing is left of it.
fn clean(mut value: Value) -> Option<Value> {
    match &mut value {
        Value::Null => return None,
        Value::Object(object) => {
            if object
                .get(PATCH)
                .is_some_and(|directive| directive == "delete")
            {
                return None;
            }
            clean_object(object);
        }
        Value::Array(list) => {
            let marked = |item: &Value| {
                item.get(PATCH).is_some() && item.as_object().is_some_and(|o| o.len() == 1)
            };
            list.retain(|item| !marked(item));
            *list = std::mem::take(list).into_iter().filter_map(clean).collect();
        }
        _ => {}
    }
    Some(value)
}

fn clean_object(object: &mut Object) {
    let fields = std::mem::take(object);
    for (field, value) in fields {
        let directive = field == PATCH
            || field == RETAIN_KEYS
            || field.starts_with(SET_ORDER)
            || field.starts_with(DELETE_FROM);
        if let (false, Some(value)) = (directive, clean(value)) {
            object.insert(field, value);
        }
    }
}
