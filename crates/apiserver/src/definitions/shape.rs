//! A schema as server-side apply sees it: what can have an owner of its own.

use std::sync::Arc;

use super::schema::{Additional, Schema};
use crate::schema::{Field, Items, Key, ObjectType, Scalar, Shape, builtin};

/// The type of whole objects.
pub(super) fn object(schema: &Schema) -> ObjectType {
    let mut fields = fields(schema);
    fields.retain(|field| field.name != "metadata");
    if let Some(of) = builtin("meta.ObjectMeta") {
        fields.push(field("metadata", Shape::Object { of, whole: false }, false));
    }
    ObjectType { fields }
}

fn field(name: &str, shape: Shape, optional: bool) -> Field {
    Field {
        number: 0,
        name: name.to_owned(),
        shape,
        optional,
        default: None,
    }
}

fn fields(schema: &Schema) -> Vec<Field> {
    let properties = schema.properties.iter();
    properties
        .map(|(name, schema)| field(name, shape(schema), true))
        .collect()
}

fn shape(schema: &Schema) -> Shape {
    let whole = schema.map_type == "atomic";
    match schema.kind.as_str() {
        "object" => match &schema.additional_properties {
            Some(Additional::Schema(values)) if schema.properties.is_empty() => Shape::Map {
                of: Box::new(shape(values)),
                whole,
            },
            _ => Shape::Object {
                of: Arc::new(ObjectType {
                    fields: fields(schema),
                }),
                whole,
            },
        },
        "array" => Shape::List {
            of: Box::new(schema.items.as_deref().map_or(Shape::Open, shape)),
            items: items(schema),
            merge: None,
        },
        "" if schema.preserve_unknown_fields => Shape::Open,
        _ => Shape::Scalar(Scalar::Json),
    }
}

fn items(schema: &Schema) -> Items {
    match schema.list_type.as_str() {
        "set" => Items::Set,
        "map" => Items::Keyed(
            schema
                .list_map_keys
                .iter()
                .map(|name| {
                    let of = schema.items.as_deref();
                    let field = of.and_then(|items| items.properties.get(name));
                    Key {
                        name: name.clone(),
                        default: field.and_then(|field| field.default.clone()),
                    }
                })
                .collect(),
        ),
        _ => Items::Whole,
    }
}
