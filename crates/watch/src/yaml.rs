//! YAML with positions: every value knows its line and column, so that what is
//! wrong with a file is said where it is wrong.
//!
//! Scalars mean what they mean to kubectl (`yes` is true, `0644` is octal);
//! duplicate keys are mistakes.

mod decode;
mod mistake;
mod nearest;
mod node;
mod slip;
mod source;

pub use decode::{Problem, decode};
pub use mistake::{Mistake, Mistakes};
pub use nearest::nearest;
pub use node::{Entry, Node, NodeValue, Position};
pub use source::{Parsed, Source};

use serde::de::DeserializeOwned;

/// Reads a file that holds one document of type `T`: unknown fields are
/// mistakes, and as many mistakes as possible are found in one go. `name` is what
/// the mistakes call the file; `check` says which fields of a decoded value are
/// wrong, and why.
pub fn read_one_checked<T: DeserializeOwned>(
    name: &str,
    text: &str,
    check: impl FnOnce(&T) -> Vec<(&'static str, String)>,
) -> Result<T, Mistakes> {
    let source = Source::new(name, text);
    let Parsed {
        documents,
        mut mistakes,
    } = source.parse();
    let [document] = documents.as_slice() else {
        if mistakes.is_empty() {
            let what = format!("expected one document, found {}", documents.len());
            mistakes.push(source.mistake(Position::START, what));
        }
        return Err(Mistakes::new(mistakes));
    };
    let (value, problems) = decode(document);
    mistakes.extend(problems.into_iter().map(|problem| source.locate(problem)));
    for (field, reason) in value.as_ref().map_or_else(Vec::new, check) {
        let what = format!("{field}: {reason}");
        mistakes.push(source.mistake(document.position_of(field), what));
    }
    match value {
        Some(value) if mistakes.is_empty() => Ok(value),
        _ => Err(Mistakes::new(mistakes)),
    }
}

#[cfg(test)]
mod tests;
