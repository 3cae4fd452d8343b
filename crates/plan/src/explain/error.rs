use std::fmt;

/// Why a question cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// It names something that does not exist.
    #[error("no {kind} {name}{hint}")]
    Unknown {
        /// `pod`, `service`, `node` or `policy`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What exists nearby.
        hint: Hint,
    },
    /// It names something in no form that is known.
    #[error(
        "cannot tell what `{0}` is: write NAMESPACE/POD, svc:NAMESPACE/NAME, node:NAME or an address"
    )]
    Form(String),
    /// An object is not named as objects are.
    #[error("`{0}` names no object: write NAMESPACE/NAME")]
    Name(String),
    /// A Service opens no connections.
    #[error("`{0}` cannot be a source: a Service only takes connections; name one of its pods")]
    SourceIsService(String),
    /// Port 0.
    #[error("port 0 is no destination: ports are 1 to 65535")]
    PortZero,
}

/// What exists near a name that does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    similar: Vec<String>,
    present: Vec<String>,
    more: usize,
}

/// How many names a message lists.
const LISTED: usize = 3;

impl Hint {
    /// Looks among all names of the kind; `near` says which to list where none
    /// is similar.
    pub(super) fn find(
        name: &str,
        known: impl Iterator<Item = String>,
        near: impl Fn(&str) -> bool,
    ) -> Self {
        let known: Vec<String> = known.collect();
        let mut similar: Vec<(usize, &String)> = known
            .iter()
            .map(|candidate| (distance(name, candidate), candidate))
            .filter(|(distance, _)| *distance <= (name.chars().count() / 3).max(2))
            .collect();
        similar.sort();
        let closest = similar.first().map(|(distance, _)| *distance);
        let near: Vec<&String> = known.iter().filter(|name| near(name)).collect();
        let present = if near.is_empty() {
            known.iter().collect()
        } else {
            near
        };
        Self {
            similar: similar
                .into_iter()
                .filter(|(distance, _)| Some(*distance) == closest)
                .map(|(_, name)| name.clone())
                .take(LISTED)
                .collect(),
            more: present.len().saturating_sub(LISTED),
            present: present.into_iter().take(LISTED).cloned().collect(),
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.similar.is_empty() {
            return write!(f, "; did you mean {}?", self.similar.join(" or "));
        }
        match (&self.present[..], self.more) {
            ([], _) => f.write_str("; there is none at all"),
            (present, 0) => write!(f, "; there is {}", present.join(", ")),
            (present, more) => write!(f, "; there is {} and {more} more", present.join(", ")),
        }
    }
}

/// Letters to insert, delete or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
