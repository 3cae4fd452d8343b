//! Events.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Column, Layout, column, name, since, text, wide};

pub(super) const EVENT: Layout = Layout {
    columns: &[
        column("Last Seen"),
        column("Type"),
        column("Reason"),
        column("Object"),
        wide("Subobject"),
        wide("Source"),
        column("Message"),
        wide("First Seen"),
        Column {
            name: "Count",
            cell_type: "integer",
            wide: true,
        },
        wide("Name"),
    ],
    cells,
};

fn cells(event: &Value, now: Timestamp) -> Vec<Value> {
    let first = first_of([text(event, "/firstTimestamp"), text(event, "/eventTime")]);
    let series = text(event, "/series/lastObservedTime");
    let last = first_of([series, text(event, "/lastTimestamp"), first]);
    let count = event
        .pointer("/series/count")
        .or_else(|| event.get("count"));
    let count = count
        .and_then(Value::as_i64)
        .filter(|&count| count > 0)
        .unwrap_or(1);
    let kind = text(event, "/involvedObject/kind").to_ascii_lowercase();
    vec![
        json!(since(last, now)),
        json!(text(event, "/type")),
        json!(text(event, "/reason")),
        json!(format!("{kind}/{}", text(event, "/involvedObject/name"))),
        json!(text(event, "/involvedObject/fieldPath")),
        json!(source(event)),
        json!(text(event, "/message").trim()),
        json!(since(first, now)),
        json!(count),
        json!(name(event)),
    ]
}

fn first_of<const N: usize>(texts: [&str; N]) -> &str {
    texts
        .into_iter()
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

fn source(event: &Value) -> String {
    let component = first_of([
        text(event, "/source/component"),
        text(event, "/reportingComponent"),
    ]);
    let host = first_of([
        text(event, "/source/host"),
        text(event, "/reportingInstance"),
    ]);
    match host {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    }
}
