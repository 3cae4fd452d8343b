use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use podway_model::{Operator, Requirement, Selector};

use super::Faults;

pub(super) fn read_selector(field: &str, raw: &LabelSelector, faults: &mut Faults) -> Selector {
    let expressions = raw.match_expressions.iter().flatten().enumerate();
    Selector {
        labels: raw.match_labels.clone().unwrap_or_default(),
        requirements: expressions
            .map(|(i, raw)| Requirement {
                key: raw.key.clone(),
                operator: read_operator(&format!("{field}.matchExpressions[{i}]"), raw, faults),
            })
            .collect(),
    }
}

fn read_operator(field: &str, raw: &LabelSelectorRequirement, faults: &mut Faults) -> Operator {
    let values: BTreeSet<String> = raw.values.iter().flatten().cloned().collect();
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
