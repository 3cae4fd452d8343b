//! Selectors inside objects, as people write them.

use serde_json::Value;

/// A `LabelSelector` in the syntax of `kubectl -l`; empty if it has no terms.
pub(crate) fn text(selector: &Value) -> String {
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    let equal = labels.into_iter().flatten().map(|(key, value)| {
        let value = value.as_str().unwrap_or_default();
        format!("{key}={value}")
    });
    let terms = selector.get("matchExpressions").and_then(Value::as_array);
    let expressed = terms.into_iter().flatten().map(expression);
    Vec::from_iter(equal.chain(expressed)).join(",")
}

fn expression(term: &Value) -> String {
    let key = term["key"].as_str().unwrap_or_default();
    let values = term["values"].as_array().into_iter().flatten();
    let values: Vec<&str> = values.filter_map(Value::as_str).collect();
    let values = values.join(",");
    match term["operator"].as_str().unwrap_or_default() {
        "Exists" => key.to_owned(),
        "DoesNotExist" => format!("!{key}"),
        "NotIn" => format!("{key} notin ({values})"),
        _ => format!("{key} in ({values})"),
    }
}
