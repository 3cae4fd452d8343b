//! Values taken apart into what can have different owners.

use serde_json::{Map, Value};

use super::set::{FieldSet, Step};
use crate::schema::{Items, Key, Shape};

/// One part of a value.
pub(super) struct Part<'v> {
    pub(super) step: Step,
    pub(super) value: &'v Value,
    /// What is known of it.
    pub(super) shape: Option<&'v Shape>,
    pub(super) place: Place,
}

/// Where a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A field of an object. Its value is always there, though perhaps empty.
    Field,
    /// A field of an object that is there or not.
    OptionalField,
    /// An entry of a map.
    Entry,
    /// An item of a list.
    Item,
}

/// Two items of a list with the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Duplicate(pub(crate) String);

/// The parts of a value; `None` if it has one owner.
pub(super) fn parts<'v>(
    shape: Option<&'v Shape>,
    value: &'v Value,
) -> Result<Option<Vec<Part<'v>>>, Duplicate> {
    Ok(match (shape, value) {
        (Some(Shape::Object { of, whole: false }), Value::Object(object)) => {
            let parts = object.iter().map(|(name, value)| match of.find(name) {
                Some(field) => {
                    let always = !field.optional && matches!(field.shape, Shape::Object { .. });
                    let place = match always {
                        true => Place::Field,
                        false => Place::OptionalField,
                    };
                    part(name, value, Some(&field.shape), place)
                }
                None => part(name, value, None, Place::Entry),
            });
            Some(parts.collect())
        }
        (Some(Shape::Map { of, whole: false }), Value::Object(map)) => Some(
            map.iter()
                .map(|(key, value)| part(key, value, Some(of), Place::Entry))
                .collect(),
        ),
        // Of what nothing is known, objects are maps and lists are whole.
        (None | Some(Shape::Open), Value::Object(map)) => Some(
            map.iter()
                .map(|(key, value)| part(key, value, None, Place::Entry))
                .collect(),
        ),
        (Some(Shape::List { of, items, .. }), Value::Array(list)) if *items != Items::Whole => {
            Some(items_of(of, items, list)?)
        }
        _ => None,
    })
}

fn part<'v>(name: &str, value: &'v Value, shape: Option<&'v Shape>, place: Place) -> Part<'v> {
    Part {
        step: Step::Field(name.to_owned()),
        value,
        shape,
        place,
    }
}

fn items_of<'v>(
    of: &'v Shape,
    items: &Items,
    list: &'v [Value],
) -> Result<Vec<Part<'v>>, Duplicate> {
    let mut parts: Vec<Part<'v>> = Vec::with_capacity(list.len());
    for value in list {
        let step = match items {
            Items::Keyed(keys) => Step::Key(key_of(keys, value)),
            Items::Set | Items::Whole => Step::Value(value.to_string()),
        };
        if parts.iter().any(|part| part.step == step) {
            return Err(Duplicate(step.to_string()));
        }
        parts.push(Part {
            step,
            value,
            shape: Some(of),
            place: Place::Item,
        });
    }
    Ok(parts)
}

/// The key fields of an item, with the defaults of absent ones.
fn key_of(keys: &[Key], item: &Value) -> String {
    let fields = keys.iter().filter_map(|key| {
        let given = item.get(&key.name).filter(|value| !value.is_null());
        let value = given.or(key.default.as_ref())?;
        Some((key.name.clone(), value.clone()))
    });
    Value::Object(fields.collect::<Map<String, Value>>()).to_string()
}

/// The fields that `value` sets: who applies it owns them.
pub(super) fn set_of(shape: Option<&Shape>, value: &Value) -> Result<FieldSet, Duplicate> {
    let mut set = FieldSet::default();
    for part in parts(shape, value)?.into_iter().flatten() {
        let divided = parts(part.shape, part.value)?.is_some();
        let empty = part.value.as_object().is_some_and(Map::is_empty);
        let counted = matches!(part.place, Place::Entry | Place::Item);
        if counted || !divided || empty {
            set.insert(std::slice::from_ref(&part.step));
        }
        if divided {
            set.insert_below(part.step, set_of(part.shape, part.value)?);
        }
    }
    Ok(set)
}
