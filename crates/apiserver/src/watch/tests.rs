use std::sync::Arc;

use serde_json::json;

use super::{Cursor, Event, EventKind, Hub};
use crate::store::Object;

fn event(revision: u64, before: Option<&str>, after: Option<&str>) -> Event {
    let object = |label: &str, revision| {
        let value = json!({ "metadata": { "name": "x", "labels": { "app": label } } });
        Arc::new(Object::stamped(value, revision))
    };
    let kind = match (before, after) {
        (None, _) => EventKind::Added,
        (Some(_), Some(_)) => EventKind::Modified,
        (Some(_), None) => EventKind::Deleted,
    };
    let last = after.or(before).unwrap_or_default();
    Event {
        kind,
        resource: Arc::from("pods"),
        object: object(last, revision),
        before: before.map(|label| object(label, revision - 1)),
    }
}

fn publish(hub: &Hub, revisions: std::ops::RangeInclusive<u64>) {
    let last = *revisions.end();
    let events = revisions.map(|revision| event(revision, Some("a"), Some("a")));
    hub.publish(events.collect(), last);
}

fn look(cursor: &mut Cursor) -> Result<(Vec<u64>, u64), String> {
    let news = cursor.look().map_err(|status| status.to_string())?;
    let revisions = news.events.iter().map(|event| event.object.revision());
    Ok((revisions.collect(), news.revision))
}

#[test]
fn objects_that_begin_or_cease_to_match_appear_and_disappear() {
    use EventKind::{Added, Deleted, Modified};
    let cases = [
        (None, Some("a"), Some(Added)),
        (None, Some("b"), None),
        (Some("a"), Some("a"), Some(Modified)),
        (Some("a"), Some("b"), Some(Deleted)),
        (Some("b"), Some("a"), Some(Added)),
        (Some("b"), Some("b"), None),
        (Some("a"), None, Some(Deleted)),
        (Some("b"), None, None),
    ];
    for (before, after, expected) in cases {
        let seen = event(7, before, after)
            .seen_by(|object| object.value()["metadata"]["labels"]["app"] == "a");
        assert_eq!(seen, expected, "{before:?} -> {after:?}");
    }
}

#[test]
fn a_cursor_sees_every_event_once_and_in_order() {
    let hub = Arc::new(Hub::new(10, 5));
    let mut cursor = Hub::follow(&hub, "pods", 5);
    assert_eq!(look(&mut cursor), Ok((vec![], 5)));
    publish(&hub, 6..=8);
    assert_eq!(look(&mut cursor), Ok((vec![6, 7, 8], 8)));
    assert_eq!(look(&mut cursor), Ok((vec![], 8)));
    let mut late = Hub::follow(&hub, "pods", 6);
    assert_eq!(look(&mut late), Ok((vec![7, 8], 8)));
    let mut other = Hub::follow(&hub, "services", 5);
    assert_eq!(
        look(&mut other),
        Ok((vec![], 8)),
        "its revision moves with other resources"
    );
}

#[test]
fn who_falls_behind_the_window_is_told() {
    let hub = Arc::new(Hub::new(3, 5));
    let mut slow = Hub::follow(&hub, "pods", 5);
    publish(&hub, 6..=8);
    let mut kept = Hub::follow(&hub, "pods", 6);
    publish(&hub, 9..=9);
    assert_eq!(
        look(&mut slow),
        Err("too old resource version: 5 (6)".to_owned())
    );
    assert_eq!(look(&mut kept), Ok((vec![7, 8, 9], 9)));
    let mut before_start = Hub::follow(&hub, "services", 4);
    assert_eq!(
        look(&mut before_start),
        Err("too old resource version: 4 (5)".to_owned())
    );
}

#[tokio::test]
async fn waiting_ends_with_the_next_event() {
    let hub = Arc::new(Hub::new(10, 0));
    let mut cursor = Hub::follow(&hub, "pods", 0);
    let waiting = tokio::spawn(async move { cursor.next().await.unwrap().revision });
    publish(&hub, 1..=1);
    assert_eq!(waiting.await.unwrap(), 1);
}
