//! Custom resources, with the columns of their definition.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{name, since};
use crate::kinds::PrinterColumn;

/// The name, and what the definition asks for.
pub(super) fn definitions(columns: &[PrinterColumn]) -> Vec<Value> {
    let mut definitions = vec![json!({
        "name": "Name", "type": "string", "format": "name", "description": "", "priority": 0,
    })];
    definitions.extend(columns.iter().map(|column| {
        json!({
            "name": column.name, "type": column.cell_type, "format": "",
            "description": column.description, "priority": column.priority,
        })
    }));
    definitions
}

pub(super) fn cells(columns: &[PrinterColumn]) -> impl Fn(&Value, Timestamp) -> Vec<Value> {
    move |object, now| {
        let mut cells = vec![json!(name(object))];
        cells.extend(columns.iter().map(|column| cell(column, object, now)));
        cells
    }
}

/// The first value at the column's path; null if there is none.
fn cell(column: &PrinterColumn, object: &Value, now: Timestamp) -> Value {
    let Some(&value) = column.path.find(object).first() else {
        return Value::Null;
    };
    match (column.cell_type.as_str(), value) {
        ("date", Value::String(time)) => json!(since(time, now)),
        ("string", Value::String(_)) | ("integer" | "number", Value::Number(_)) => value.clone(),
        ("string", other) => json!(other.to_string()),
        ("boolean", Value::Bool(_)) => value.clone(),
        _ => Value::Null,
    }
}
