use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A label selector: every label and every requirement must hold. The empty
/// selector matches everything.
///
/// Source: apimachinery `labels/selector.go`, `Requirement.Matches`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Selector {
    /// `matchLabels`: present and equal.
    pub labels: Labels,
    /// `matchExpressions`.
    pub requirements: Vec<Requirement>,
}

/// One `matchExpressions` entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What must hold of its value.
    pub operator: Operator,
}

/// What a requirement asks of a label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// Present, with one of these values.
    In(BTreeSet<String>),
    /// Absent, or present with none of these values.
    NotIn(BTreeSet<String>),
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
    /// An operator that this version does not know: matches nothing, so that a
    /// rule with it never opens more than its author meant.
    Unknown(String),
}

impl Selector {
    /// A selector of plain labels.
    #[must_use]
    pub fn of(labels: Labels) -> Self {
        Self {
            labels,
            requirements: Vec::new(),
        }
    }

    /// Whether everything matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.requirements.is_empty()
    }

    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self.requirements.iter().all(|r| r.matches(labels))
    }
}

impl Requirement {
    /// Whether these labels meet the requirement.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|v| values.contains(v)),
            Operator::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Unknown(_) => false,
        }
    }
}

/// As `kubectl` writes a selector: `app=web,tier in (a,b),!old`; `<all>` where
/// it is empty.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("<all>");
        }
        let labels = self
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let requirements = self.requirements.iter().map(ToString::to_string);
        let parts: Vec<String> = labels.chain(requirements).collect();
        f.write_str(&parts.join(","))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let list = |values: &BTreeSet<String>| {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            values.join(",")
        };
        match &self.operator {
            Operator::In(values) => write!(f, "{key} in ({})", list(values)),
            Operator::NotIn(values) => write!(f, "{key} notin ({})", list(values)),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Unknown(operator) => write!(f, "{key} {operator}?"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_reads_as_kubectl_writes_it() {
        let set = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
        let requirement = |key: &str, operator| Requirement {
            key: key.to_owned(),
            operator,
        };
        let selector = Selector {
            labels: [("app".to_owned(), "web".to_owned())].into(),
            requirements: vec![
                requirement("tier", Operator::In(set(&["b", "a"]))),
                requirement("env", Operator::NotIn(set(&["test"]))),
                requirement("new", Operator::Exists),
                requirement("old", Operator::DoesNotExist),
            ],
        };
        assert_eq!(
            selector.to_string(),
            "app=web,tier in (a,b),env notin (test),new,!old"
        );
        assert_eq!(Selector::default().to_string(), "<all>");
    }
}
