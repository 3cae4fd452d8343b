use serde_json::Value;

use super::SelectorError;
use crate::kinds::Kind;

/// Follows apimachinery `fields.ParseSelector`: `metadata.name=a,status.phase!=b`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    field: String,
    equal: bool,
    value: String,
}

impl FieldSelector {
    /// Parses the text of a request for objects of a kind; empty selects
    /// everything.
    ///
    /// # Errors
    /// Text that is not a selector, or a field that the kind does not offer.
    pub fn parse(kind: &Kind, text: &str) -> Result<Self, SelectorError> {
        split_terms(text)
            .into_iter()
            .filter(|term| !term.is_empty())
            .map(|term| {
                let term = parse_term(text, term)?;
                offered(kind, &term.field)?;
                Ok(term)
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether the object's fields match.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        self.0
            .iter()
            .all(|term| (value_of(object, &term.field) == term.value) == term.equal)
    }

    /// The one name that can match, when the selector asks for one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0
            .iter()
            .find(|term| term.equal && term.field == "metadata.name")
            .map(|term| term.value.as_str())
    }
}

/// Splits at commas that no backslash escapes.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, character) in text.char_indices() {
        if character == ',' && !escaped {
            terms.push(&text[start..index]);
            start = index + 1;
        }
        escaped = character == '\\' && !escaped;
    }
    terms.push(&text[start..]);
    terms
}

fn parse_term(text: &str, term: &str) -> Result<Term, SelectorError> {
    let malformed = || {
        SelectorError(format!(
            "invalid selector: '{text}'; can't understand '{term}'"
        ))
    };
    let at = term.find(['=', '!']).ok_or_else(malformed)?;
    let (field, rest) = term.split_at(at);
    let (equal, value) = ["!=", "==", "="]
        .into_iter()
        .find_map(|operator| Some((operator != "!=", rest.strip_prefix(operator)?)))
        .ok_or_else(malformed)?;
    Ok(Term {
        field: field.to_owned(),
        equal,
        value: unescape(value).ok_or_else(malformed)?,
    })
}

/// `\\`, `\,` and `\=` stand for the second character; anything else after a
/// backslash, and a bare `=` or `,`, is an error.
fn unescape(value: &str) -> Option<String> {
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next()? {
                escaped @ ('\\' | ',' | '=') => text.push(escaped),
                _ => return None,
            },
            '=' | ',' => return None,
            other => text.push(other),
        }
    }
    Some(text)
}

fn offered(kind: &Kind, field: &str) -> Result<(), SelectorError> {
    let by_name = field == "metadata.name" || (kind.namespaced && field == "metadata.namespace");
    if by_name || kind.selectable_fields.iter().any(|known| known == field) {
        return Ok(());
    }
    Err(SelectorError(if kind.selectable_fields.is_empty() {
        format!(
            "\"{field}\" is not a known field selector: only \"metadata.name\", \
             \"metadata.namespace\""
        )
    } else {
        format!("field label not supported: {field}")
    }))
}

/// The field as text, as Kubernetes' selectable field sets write it.
fn value_of(object: &Value, field: &str) -> String {
    let at = |path: &str| {
        path.split('.')
            .try_fold(object, |value, key| value.get(key))
            .unwrap_or(&Value::Null)
    };
    match (field, at(field)) {
        // An Event's source is a structure; who reported it is what is meant.
        ("source", _) => match at("source.component").as_str() {
            Some(component) => component.to_owned(),
            None => value_of(object, "reportingComponent"),
        },
        ("spec.unschedulable" | "spec.hostNetwork", Value::Null) => "false".to_owned(),
        (_, Value::String(text)) => text.clone(),
        (_, Value::Null) => String::new(),
        (_, other) => other.to_string(),
    }
}
