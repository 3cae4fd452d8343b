use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use podway_model::{Operator, Requirement, Selector};

use super::Faults;

/// A label or expression that cannot be understood becomes a requirement that
/// nothing meets.
pub(super) fn read_selector(field: &str, raw: &LabelSelector, faults: &mut Faults) -> Selector {
    let mut selector = Selector::default();
    for (key, value) in raw.match_labels.iter().flatten() {
        match check_key(key).and_then(|()| check_value(value)) {
            Ok(()) => {
                selector.labels.insert(key.clone(), value.clone());
            }
            Err(reason) => {
                faults.add(format!("{field}.matchLabels[{key}]"), &reason);
                selector.requirements.push(Requirement {
                    key: key.clone(),
                    operator: Operator::Unknown(reason),
                });
            }
        }
    }
    for (i, raw) in raw.match_expressions.iter().flatten().enumerate() {
        selector.requirements.push(Requirement {
            key: raw.key.clone(),
            operator: read_operator(&format!("{field}.matchExpressions[{i}]"), raw, faults),
        });
    }
    selector
}

/// Who is selected by what can be understood of a selector, and whether that is
/// all of it. For subjects: a policy for fewer pods than its author meant would
/// leave some of them open.
pub(super) fn understood(mut selector: Selector) -> (Selector, bool) {
    let before = selector.requirements.len();
    let is_known = |r: &Requirement| !matches!(r.operator, Operator::Unknown(_));
    selector.requirements.retain(is_known);
    let is_whole = selector.requirements.len() == before;
    (selector, is_whole)
}

/// A label's key, as apimachinery's `IsQualifiedName` has it.
fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = key.split_once('/').unwrap_or(("", key));
    let is_subdomain = |prefix: &str| {
        let is_label = |label: &str| is_name(label) && !label.contains(['.', '_']);
        prefix.len() <= 253 && prefix.split('.').all(is_label)
    };
    let has_prefix = key.contains('/');
    if is_name(name) && (!has_prefix || is_subdomain(prefix)) {
        return Ok(());
    }
    Err(format!("{key:?} is not the key of a label"))
}

/// A label's value: a name, or nothing.
fn check_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_name(value) {
        return Ok(());
    }
    Err(format!(
        "{value:?} is not the value of a label: expected at most 63 of a-z A-Z 0-9 - _ ., the \
         first and last a letter or digit"
    ))
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    text.len() <= 63
        && ends
            .iter()
            .all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

fn read_operator(field: &str, raw: &LabelSelectorRequirement, faults: &mut Faults) -> Operator {
    let values: BTreeSet<String> = raw.values.iter().flatten().cloned().collect();
    let checked = values.iter().map(|value| check_value(value));
    if let Err(reason) = check_key(&raw.key).and_then(|()| checked.collect::<Result<(), _>>()) {
        faults.add(field, &reason);
        return Operator::Unknown(reason);
    }
    match (raw.operator.as_str(), values.is_empty()) {
        ("In", false) => Operator::In(values),
        ("NotIn", false) => Operator::NotIn(values),
        ("Exists", true) => Operator::Exists,
        ("DoesNotExist", true) => Operator::DoesNotExist,
        (operator @ ("In" | "NotIn"), true) => {
            faults.add(
                format!("{field}.values"),
                format!("operator {operator} needs at least one value"),
            );
            Operator::Unknown(format!("{operator} without values"))
        }
        (operator @ ("Exists" | "DoesNotExist"), false) => {
            faults.add(
                format!("{field}.values"),
                format!("operator {operator} takes no values"),
            );
            Operator::Unknown(format!("{operator} with values"))
        }
        (operator, _) => {
            faults.add(
                format!("{field}.operator"),
                format!(
                    "{operator:?} is not an operator: expected In, NotIn, Exists or DoesNotExist"
                ),
            );
            Operator::Unknown(operator.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_of_labels() {
        let long = "a".repeat(64);
        for (key, is_key) in [
            ("app", true),
            ("app.kubernetes.io/name", true),
            ("Some_Key.1", true),
            ("", false),
            ("/name", false),
            ("app/", false),
            ("a/b/c", false),
            ("-app", false),
            ("app key", false),
            ("ex_ample.org/name", false),
            (&long, false),
        ] {
            assert_eq!(check_key(key).is_ok(), is_key, "{key:?}");
        }
        for (value, is_value) in [
            ("", true),
            ("web-1.2_3", true),
            ("a b", false),
            ("-a", false),
            ("a.", false),
            ("ä", false),
            (&long, false),
            (&long[1..], true),
        ] {
            assert_eq!(check_value(value).is_ok(), is_value, "{value:?}");
        }
    }
}
