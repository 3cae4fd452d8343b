//! A container's variables: given, taken from config maps and secrets, or from
//! the pod itself. Pure.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};

use super::{SYSTEM_PATH, Surroundings, expand};

/// Names and values.
pub(crate) type Variables = BTreeMap<String, String>;

/// The config maps and secrets that a container's variables name; those that are
/// not there are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    pub(crate) config_maps: BTreeMap<String, Variables>,
    pub(crate) secrets: BTreeMap<String, Variables>,
}

/// Which config maps and secrets a container's variables name.
pub(crate) fn named(container: &Container) -> (Vec<&str>, Vec<&str>) {
    let (mut maps, mut secrets) = (Vec::new(), Vec::new());
    for from in container.env_from.iter().flatten() {
        maps.extend(from.config_map_ref.iter().map(|r| r.name.as_str()));
        secrets.extend(from.secret_ref.iter().map(|r| r.name.as_str()));
    }
    let sources = container.env.iter().flatten();
    for from in sources.filter_map(|variable| variable.value_from.as_ref()) {
        maps.extend(from.config_map_key_ref.iter().map(|r| r.name.as_str()));
        secrets.extend(from.secret_key_ref.iter().map(|r| r.name.as_str()));
    }
    (maps, secrets)
}

pub(super) fn environment(
    pod: &Pod,
    container: &Container,
    around: Surroundings<'_>,
) -> Result<Variables, String> {
    let home = around.program.parent().unwrap_or(Path::new("/")).display();
    let mut environment = BTreeMap::from([
        ("HOME".to_owned(), "/root".to_owned()),
        ("PATH".to_owned(), format!("{home}:{SYSTEM_PATH}")),
    ]);
    for (prefix, values) in wholes(container, around.sources)? {
        let prefixed = values
            .iter()
            .map(|(name, value)| (format!("{prefix}{name}"), value));
        environment.extend(prefixed.map(|(name, value)| (name, value.clone())));
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(source) => {
                let found = one(pod, source, around);
                let found = found.map_err(|reason| format!("env {}: {reason}", variable.name))?;
                // Optional, and not there: the variable does not exist either.
                let Some(value) = found else { continue };
                value
            }
            None => expand(variable.value.as_deref().unwrap_or_default(), &environment),
        };
        let value = match variable.name.as_str() {
            "PATH" => format!("{value}:{home}"),
            _ => value,
        };
        environment.insert(variable.name.clone(), value);
    }
    environment.extend(around.environment.clone());
    Ok(environment)
}

/// `envFrom`: prefixes and all that they are put before.
fn wholes<'s>(
    container: &'s Container,
    sources: &'s Sources,
) -> Result<Vec<(&'s str, &'s Variables)>, String> {
    let mut wholes = Vec::new();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(map) = &from.config_map_ref {
            let values = sources.config_maps.get(&map.name);
            let values = there(values, "configmap", &map.name, map.optional)?;
            wholes.extend(values.map(|values| (prefix, values)));
        }
        if let Some(secret) = &from.secret_ref {
            let values = sources.secrets.get(&secret.name);
            let values = there(values, "secret", &secret.name, secret.optional)?;
            wholes.extend(values.map(|values| (prefix, values)));
        }
    }
    Ok(wholes)
}

/// What was found; nothing found is refused unless it is optional.
fn there<T>(
    found: Option<T>,
    kind: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<T>, String> {
    match found {
        None if optional != Some(true) => Err(format!("{kind} {name:?} not found")),
        found => Ok(found),
    }
}

/// `valueFrom`; `None` for what is optional and not there.
fn one(
    pod: &Pod,
    source: &EnvVarSource,
    around: Surroundings<'_>,
) -> Result<Option<String>, String> {
    if let Some(field) = &source.field_ref {
        let value = field_of(pod, &field.field_path, around);
        let unknown = || format!("the lab does not know fieldPath {:?}", field.field_path);
        return value.ok_or_else(unknown).map(Some);
    }
    let (kind, name, key, optional, all) = if let Some(map) = &source.config_map_key_ref {
        let all = &around.sources.config_maps;
        ("configmap", &map.name, &map.key, map.optional, all)
    } else if let Some(secret) = &source.secret_key_ref {
        let all = &around.sources.secrets;
        ("secret", &secret.name, &secret.key, secret.optional, all)
    } else {
        return Err("resourceFieldRef is not supported by the lab".to_owned());
    };
    let Some(values) = there(all.get(name), kind, name, optional)? else {
        return Ok(None);
    };
    let value = values.get(key).cloned();
    let missing = || format!("couldn't find key {key} in {kind} {name:?}");
    match value {
        None if optional != Some(true) => Err(missing()),
        value => Ok(value),
    }
}

/// A field of the pod, as the downward API names it.
fn field_of(pod: &Pod, path: &str, around: Surroundings<'_>) -> Option<String> {
    let metadata = &pod.metadata;
    let spec = pod.spec.as_ref();
    let list = |addresses: &[std::net::IpAddr]| {
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        texts.join(",")
    };
    let first = |addresses: &[std::net::IpAddr]| list(addresses.get(..1).unwrap_or_default());
    let value = match path {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
        "status.podIP" => Some(first(around.addresses)),
        "status.podIPs" => Some(list(around.addresses)),
        "status.hostIP" => Some(first(around.host)),
        "status.hostIPs" => Some(list(around.host)),
        path => {
            let (field, key) = path.strip_suffix("']")?.split_once("['")?;
            let values = match field {
                "metadata.labels" => metadata.labels.as_ref(),
                "metadata.annotations" => metadata.annotations.as_ref(),
                _ => return None,
            };
            values.and_then(|values| values.get(key)).cloned()
        }
    };
    Some(value.unwrap_or_default())
}
