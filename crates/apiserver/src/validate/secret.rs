//! Secret.

use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use super::{FieldErrors, Path, names};

/// All values together.
const SIZE_MAX: usize = 1024 * 1024;

/// What secrets of some types must have.
const NEEDED: &[(&str, &[&str])] = &[
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
];
/// Those of them that are JSON.
const JSON: &[&str] = &[".dockercfg", ".dockerconfigjson"];

pub(crate) fn validate(secret: &Secret, errors: &mut FieldErrors) {
    let path = Path::new("data");
    let mut size = 0;
    for (key, value) in secret.data.iter().flatten() {
        size += value.0.len();
        errors.invalid_each(&path.key(key), key, names::config_key(key));
    }
    if size > SIZE_MAX {
        errors.too_long(&path, SIZE_MAX);
    }
    let kind = secret.type_.as_deref().unwrap_or_default();
    let value = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    let needed = NEEDED.iter().find(|(name, _)| *name == kind);
    for &key in needed.map(|(_, keys)| *keys).unwrap_or_default() {
        match value(key) {
            None => errors.required(&path.key(key), ""),
            Some(text) if JSON.contains(&key) => {
                if serde_json::from_slice::<Value>(&text.0).is_err() {
                    errors.invalid(&path.key(key), "<secret contents redacted>", "not JSON");
                }
            }
            Some(_) => {}
        }
    }
    if kind == "kubernetes.io/basic-auth" && value("username").or(value("password")).is_none() {
        errors.required(&path.key("username"), "");
        errors.required(&path.key("password"), "");
    }
    service_account(secret, kind, errors);
}

fn service_account(secret: &Secret, kind: &str, errors: &mut FieldErrors) {
    const NAME: &str = "kubernetes.io/service-account.name";
    let annotations = secret.metadata.annotations.as_ref();
    let named = annotations.and_then(|annotations| annotations.get(NAME));
    if kind == "kubernetes.io/service-account-token" && named.is_none_or(String::is_empty) {
        errors.required(&Path::from("metadata.annotations").key(NAME), "");
    }
}

pub(crate) fn validate_update(new: &Secret, old: &Secret, errors: &mut FieldErrors) {
    const IMMUTABLE: &str = "field is immutable when `immutable` is set";
    if new.type_ != old.type_ {
        errors.invalid(&Path::new("type"), new.type_.clone(), "field is immutable");
    }
    if old.immutable != Some(true) {
        return;
    }
    for (field, changed) in [
        ("immutable", new.immutable != Some(true)),
        ("data", new.data != old.data),
    ] {
        if changed {
            errors.forbidden(&Path::new(field), IMMUTABLE);
        }
    }
}
