//! The JSON paths of printer columns: `.spec.ports[*].name`,
//! `.status.conditions[?(@.type=="Ready")].status`.

use serde_json::Value;

/// A parsed path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct JsonPath(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Field(String),
    /// Counted from the end if negative.
    Index(i64),
    All,
    /// Items whose field has this value.
    Where(JsonPath, Value),
}

impl JsonPath {
    /// Parses a path; braces around it and a leading `$` are allowed.
    pub(crate) fn parse(text: &str) -> Result<JsonPath, String> {
        let refuse = || format!("{text:?} is not a simple JSON path");
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
        let mut rest = inner.unwrap_or(text);
        rest = rest.strip_prefix('$').unwrap_or(rest);
        let mut segments = Vec::new();
        while !rest.is_empty() {
            let (segment, after) = next(rest).ok_or_else(refuse)?;
            segments.extend(segment);
            rest = after;
        }
        Ok(JsonPath(segments))
    }

    /// The values at the path, in order.
    pub(crate) fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![value];
        for segment in &self.0 {
            found = found
                .into_iter()
                .flat_map(|value| segment.step(value))
                .collect();
        }
        found
    }
}

impl Segment {
    fn step<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match (self, value) {
            (Segment::Field(name), Value::Object(fields)) => fields.get(name).into_iter().collect(),
            (Segment::Index(index), Value::Array(list)) => {
                let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
                let index = if *index < 0 { index + length } else { *index };
                let at = usize::try_from(index).ok();
                at.and_then(|index| list.get(index)).into_iter().collect()
            }
            (Segment::All, Value::Array(list)) => list.iter().collect(),
            (Segment::All, Value::Object(fields)) => fields.values().collect(),
            (Segment::Where(path, wanted), Value::Array(list)) => list
                .iter()
                .filter(|item| path.find(item).first() == Some(&wanted))
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// The first segment, and what is left. A single dot is the object itself.
fn next(text: &str) -> Option<(Option<Segment>, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let end = bracket_end(rest)?;
        let segment = inside_brackets(&rest[..end])?;
        return Some((Some(segment), &rest[end + 1..]));
    }
    let rest = text.strip_prefix('.')?;
    let mut name = String::new();
    let mut characters = rest.char_indices();
    let mut end = rest.len();
    while let Some((index, character)) = characters.next() {
        match character {
            '.' | '[' => {
                end = index;
                break;
            }
            // A dot that belongs to the name.
            '\\' => name.push(characters.next()?.1),
            other => name.push(other),
        }
    }
    let rest = &rest[end..];
    Some(match name.as_str() {
        "" => (None, rest),
        "*" => (Some(Segment::All), rest),
        _ => (Some(Segment::Field(name)), rest),
    })
}

/// Where the bracket ends that has been opened, quotes respected.
fn bracket_end(text: &str) -> Option<usize> {
    let mut quote = None;
    for (index, character) in text.char_indices() {
        match (quote, character) {
            (None, ']') => return Some(index),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    None
}

fn inside_brackets(text: &str) -> Option<Segment> {
    if text == "*" {
        return Some(Segment::All);
    }
    if let Some(name) = unquoted(text) {
        return Some(Segment::Field(name.to_owned()));
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        let (path, wanted) = filter.split_once("==")?;
        let path = JsonPath::parse(path.trim().strip_prefix('@')?).ok()?;
        let wanted = wanted.trim();
        let wanted = match unquoted(wanted) {
            Some(text) => Value::from(text),
            None => serde_json::from_str(wanted).ok()?,
        };
        return Some(Segment::Where(path, wanted));
    }
    text.parse().ok().map(Segment::Index)
}

fn unquoted(text: &str) -> Option<&str> {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}
