//! The values of an applied configuration over those of the object, and what a
//! configuration no longer has taken out of it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::parts::{Duplicate, Part, parts};
use super::set::{FieldSet, Step};
use crate::schema::{Items, Shape};

/// `live` with everything that `applied` says.
pub(super) fn merge(
    shape: Option<&Shape>,
    live: &Value,
    applied: &Value,
) -> Result<Value, Duplicate> {
    let (Some(live_parts), Some(applied_parts)) = (parts(shape, live)?, parts(shape, applied)?)
    else {
        return Ok(applied.clone());
    };
    if applied.is_array() {
        return merge_list(&live_parts, &applied_parts).map(Value::Array);
    }
    let mut merged = live.as_object().cloned().unwrap_or_default();
    for part in applied_parts {
        let Step::Field(name) = part.step else {
            continue;
        };
        let value = match merged.get(&name) {
            Some(live) => merge(part.shape, live, part.value)?,
            None => part.value.clone(),
        };
        merged.insert(name, value);
    }
    Ok(Value::Object(merged))
}

/// Items in the order of the configuration; those that it does not have stay
/// where they are among the ones that it has.
fn merge_list(live: &[Part<'_>], applied: &[Part<'_>]) -> Result<Vec<Value>, Duplicate> {
    let find = |step: &Step, list: &[Part<'_>]| list.iter().position(|part| part.step == *step);
    let mut merged = Vec::with_capacity(live.len() + applied.len());
    let mut done = 0;
    for part in live {
        let Some(at) = find(&part.step, applied) else {
            merged.push(part.value.clone());
            continue;
        };
        // The next of the items that both have: others come when it is their turn.
        let next = (done..applied.len()).find(|&index| find(&applied[index].step, live).is_some());
        if next == Some(at) {
            for part in &applied[done..=at] {
                merged.push(merge_item(part, live)?);
            }
            done = at + 1;
        }
    }
    for part in &applied[done..] {
        merged.push(merge_item(part, live)?);
    }
    Ok(merged)
}

fn merge_item(part: &Part<'_>, live: &[Part<'_>]) -> Result<Value, Duplicate> {
    match live.iter().find(|live| live.step == part.step) {
        Some(live) => merge(part.shape, live.value, part.value),
        None => Ok(part.value.clone()),
    }
}

/// `value` without the parts in `dropped`, except those in `kept` and what they
/// are in. Objects that lose everything are dropped as well.
pub(super) fn prune(
    shape: Option<&Shape>,
    value: &Value,
    dropped: &FieldSet,
    kept: &FieldSet,
) -> Result<Value, Duplicate> {
    let Some(all) = parts(shape, value)? else {
        return Ok(value.clone());
    };
    let keys: &[_] = match shape {
        Some(Shape::List {
            items: Items::Keyed(keys),
            ..
        }) => keys,
        _ => &[],
    };
    let nothing = FieldSet::default();
    let mut left: BTreeMap<usize, Value> = BTreeMap::new();
    for (index, part) in all.iter().enumerate() {
        let step = &part.step;
        if dropped.has(step) && !kept.touches(step) {
            continue;
        }
        let Some(inner) = dropped.inside(step) else {
            left.insert(index, part.value.clone());
            continue;
        };
        // What identifies an item goes with the item only.
        let mut inner = inner.clone();
        for key in keys {
            inner.remove(&[Step::Field(key.name.clone())]);
        }
        let pruned = prune(
            part.shape,
            part.value,
            &inner,
            kept.inside(step).unwrap_or(&nothing),
        )?;
        let emptied = is_empty(&pruned) && !is_empty(part.value);
        if !emptied || kept.has(step) {
            left.insert(index, pruned);
        }
    }
    Ok(collect(value, &all, left))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn collect(value: &Value, all: &[Part<'_>], left: BTreeMap<usize, Value>) -> Value {
    if value.is_array() {
        return Value::Array(left.into_values().collect());
    }
    let fields = left
        .into_iter()
        .filter_map(|(index, value)| match &all[index].step {
            Step::Field(name) => Some((name.clone(), value)),
            _ => None,
        });
    Value::Object(fields.collect::<Map<String, Value>>())
}
