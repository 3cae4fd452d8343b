//! Which definition has which names: one group cannot have a name twice.

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinitionCondition, CustomResourceDefinitionNames,
    CustomResourceDefinitionStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use crate::kinds::Kind;

/// The names of one kind.
pub(crate) type Names = CustomResourceDefinitionNames;

/// Whether the definition's kinds are served.
pub(crate) fn established(definition: &Value) -> bool {
    let conditions = definition.pointer("/status/conditions");
    let mut conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Established" && condition["status"] == "True")
}

/// The names that a definition has been given.
pub(crate) fn accepted(definition: &Value) -> Option<Names> {
    let names = definition.pointer("/status/acceptedNames")?;
    serde_json::from_value(names.clone()).ok()
}

/// The names of a kind of Kubernetes itself.
pub(crate) fn of_kind(kind: &Kind) -> Names {
    Names {
        categories: None,
        kind: kind.kind.clone(),
        list_kind: Some(kind.list_kind.clone()),
        plural: kind.plural.clone(),
        short_names: Some(kind.short_names.clone()),
        singular: Some(kind.singular.clone()),
    }
}

/// The status that a definition should have, where others in its group have the
/// names `taken`.
pub(crate) fn settle(definition: &Value, taken: &[Names], now: Timestamp) -> Value {
    let part = |pointer: &str| definition.pointer(pointer).cloned().unwrap_or_default();
    let names: Names = serde_json::from_value(part("/spec/names")).unwrap_or_default();
    let mut status: CustomResourceDefinitionStatus =
        serde_json::from_value(part("/status")).unwrap_or_default();
    let conflict = conflict(&names, taken);
    let stored = status.stored_versions.get_or_insert_default();
    stored.extend(storage_version(definition).filter(|name| !stored.contains(name)));
    let accepted = conflict.is_none();
    // Once established it stays so: its objects are there.
    let established = accepted || status.accepted_names.is_some();
    if accepted {
        status.accepted_names = Some(names);
    }
    let conditions = status.conditions.get_or_insert_default();
    let (reason, message) =
        conflict.unwrap_or_else(|| ("NoConflicts", "no conflicts found".to_owned()));
    set(conditions, "NamesAccepted", accepted, reason, message, now);
    let (reason, message) = match established {
        true => (
            "InitialNamesAccepted",
            "the initial names have been accepted",
        ),
        false => ("NotAccepted", "not all names are accepted"),
    };
    let message = message.to_owned();
    set(conditions, "Established", established, reason, message, now);
    serde_json::to_value(&status).unwrap_or_default()
}

/// The version in which objects are stored.
pub(crate) fn storage_version(definition: &Value) -> Option<String> {
    let versions = definition.pointer("/spec/versions")?.as_array()?;
    let storage = versions.iter().find(|version| version["storage"] == true)?;
    storage["name"].as_str().map(str::to_owned)
}

/// The reason and the sentence for the first name that another kind has.
fn conflict(names: &Names, others: &[Names]) -> Option<(&'static str, String)> {
    let resources = |names: &Names| {
        let mut all = vec![names.plural.clone()];
        all.extend(names.singular.clone());
        all.extend(names.short_names.iter().flatten().cloned());
        all
    };
    let taken: Vec<String> = others.iter().flat_map(resources).collect();
    let kinds: Vec<&String> = others
        .iter()
        .flat_map(|names| names.list_kind.iter().chain([&names.kind]))
        .collect();
    let in_use = |name: &str| format!("{name:?} is already in use");
    let singular = names.singular.iter();
    let short = names.short_names.iter().flatten();
    for (reason, mut names) in [
        ("PluralConflict", vec![&names.plural]),
        ("SingularConflict", singular.collect()),
        ("ShortNamesConflict", short.collect()),
    ] {
        names.retain(|name| taken.contains(name));
        if let Some(name) = names.first() {
            return Some((reason, in_use(name)));
        }
    }
    let list = names.list_kind.iter();
    for (reason, name) in [("KindConflict", &names.kind)]
        .into_iter()
        .chain(list.map(|name| ("ListKindConflict", name)))
    {
        if kinds.contains(&name) {
            return Some((reason, in_use(name)));
        }
    }
    None
}

fn set(
    conditions: &mut Vec<CustomResourceDefinitionCondition>,
    name: &str,
    holds: bool,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let status = if holds { "True" } else { "False" };
    let same = |c: &&CustomResourceDefinitionCondition| c.type_ == name && c.status == status;
    let since = conditions
        .iter()
        .find(same)
        .and_then(|c| c.last_transition_time.clone());
    let condition = CustomResourceDefinitionCondition {
        type_: name.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: since.or(Some(Time(now))),
    };
    match conditions.iter_mut().find(|c| c.type_ == name) {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
}
