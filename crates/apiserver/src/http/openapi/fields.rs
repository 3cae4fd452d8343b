//! Fields as OpenAPI knows them.

use serde_json::{Map, Value, json};

use crate::schema::{Field, Items, Key, ObjectType, Scalar, Shape};

/// The schema of a value.
pub(super) fn of_shape(shape: &Shape) -> Value {
    match shape {
        Shape::Scalar(scalar) => of_scalar(*scalar),
        Shape::Object { of, .. } => json!({ "type": "object", "properties": properties(of) }),
        Shape::Map { of, .. } => json!({ "type": "object", "additionalProperties": of_shape(of) }),
        Shape::List { of, items, .. } => list(of, items),
        Shape::Open => json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }),
    }
}

fn list(of: &Shape, items: &Items) -> Value {
    let mut schema = json!({ "type": "array", "items": of_shape(of) });
    schema["x-kubernetes-list-type"] = match items {
        Items::Whole => "atomic".into(),
        Items::Set => "set".into(),
        Items::Keyed(keys) => {
            let names = keys.iter().map(|key: &Key| key.name.as_str());
            schema["x-kubernetes-list-map-keys"] = names.collect();
            "map".into()
        }
    };
    schema
}

fn properties(object: &ObjectType) -> Map<String, Value> {
    let mut all = Map::new();
    for Field { name, shape, .. } in &object.fields {
        match shape {
            // JSON shows its fields as the outer object's own.
            Shape::Object { of, .. } if name.is_empty() => all.extend(properties(of)),
            shape => drop(all.insert(name.clone(), of_shape(shape))),
        }
    }
    all
}

fn of_scalar(scalar: Scalar) -> Value {
    match scalar {
        Scalar::String => json!({ "type": "string" }),
        Scalar::Int32 => json!({ "type": "integer", "format": "int32" }),
        Scalar::Int64 => json!({ "type": "integer", "format": "int64" }),
        Scalar::Bool => json!({ "type": "boolean" }),
        Scalar::Bytes => json!({ "type": "string", "format": "byte" }),
        Scalar::Time | Scalar::MicroTime => json!({ "type": "string", "format": "date-time" }),
        Scalar::Quantity => json!({ "type": "string" }),
        Scalar::IntOrString => json!({ "type": "string", "format": "int-or-string" }),
        Scalar::Json => json!({ "x-kubernetes-preserve-unknown-fields": true }),
    }
}
