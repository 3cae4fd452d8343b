//! `ConfigMap`.

use k8s_openapi::api::core::v1::ConfigMap;

use super::{FieldErrors, Path, names};

/// All values together.
const SIZE_MAX: usize = 1024 * 1024;

pub(crate) fn validate(config_map: &ConfigMap, errors: &mut FieldErrors) {
    let mut size = 0;
    for (key, value) in config_map.data.iter().flatten() {
        size += value.len();
        errors.invalid_each(&Path::new("data").key(key), key, names::config_key(key));
    }
    for (key, value) in config_map.binary_data.iter().flatten() {
        size += value.0.len();
        let path = Path::new("binaryData").key(key);
        errors.invalid_each(&path, key, names::config_key(key));
        if config_map
            .data
            .as_ref()
            .is_some_and(|data| data.contains_key(key))
        {
            errors.invalid(
                &Path::new("data").key(key),
                key.as_str(),
                "duplicate of key present in binaryData",
            );
        }
    }
    if size > SIZE_MAX {
        errors.too_long(&Path::new("[]"), SIZE_MAX);
    }
}

pub(crate) fn validate_update(new: &ConfigMap, old: &ConfigMap, errors: &mut FieldErrors) {
    const IMMUTABLE: &str = "field is immutable when `immutable` is set";
    if old.immutable != Some(true) {
        return;
    }
    for (field, changed) in [
        ("immutable", new.immutable != Some(true)),
        ("data", new.data != old.data),
        ("binaryData", new.binary_data != old.binary_data),
    ] {
        if changed {
            errors.forbidden(&Path::new(field), IMMUTABLE);
        }
    }
}
