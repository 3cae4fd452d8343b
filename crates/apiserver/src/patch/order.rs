//! The order of a merged list: that of the patch for its own items, that of the
//! stored list for the others, interleaved as they were stored.

use serde_json::Value;

/// Whether two items are the same one: by the value of the key, or as a whole.
pub(super) fn same(a: &Value, b: &Value, key: Option<&str>) -> bool {
    match key {
        Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
        None => a == b,
    }
}

/// Orders `merged`. `wanted` is the order of the items that the patch names,
/// `stored` that of the list before the patch.
pub(super) fn arrange(
    merged: Vec<Value>,
    wanted: &[Value],
    stored: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let place = |item: &Value, list: &[Value]| list.iter().position(|other| same(item, other, key));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) = merged
        .into_iter()
        .partition(|item| place(item, wanted).is_some());
    named.sort_by_key(|item| place(item, wanted));
    // Items that are in neither list keep their place at the end.
    others.sort_by_key(|item| place(item, stored).unwrap_or(usize::MAX));
    let is_before = |a: &Value, b: &Value| match (place(a, stored), place(b, stored)) {
        (Some(a), Some(b)) => a < b,
        _ => false,
    };
    let mut arranged = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let next = match (others.peek(), named.peek()) {
            (Some(other), Some(item)) if is_before(other, item) => others.next(),
            (_, Some(_)) => named.next(),
            (_, None) => others.next(),
        };
        match next {
            Some(item) => arranged.push(item),
            None => return arranged,
        }
    }
}
