//! What names, labels and keys must look like, with Kubernetes' texts.

/// Checks a name: one text for each thing that is wrong.
pub type NameRule = fn(&str) -> Vec<String>;

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;

/// Follows `IsDNS1123Label`.
pub(crate) fn dns_label(name: &str) -> Vec<String> {
    let mut errors = max_length(name, LABEL_MAX);
    if !is_dns_label(name) {
        errors.push(pattern(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or \
             '-', and must start and end with an alphanumeric character",
            &["my-name", "123-abc"],
            "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
        ));
    }
    errors
}

/// Follows `IsDNS1035Label`: as a DNS label, but begins with a letter.
pub(crate) fn dns_1035_label(name: &str) -> Vec<String> {
    let mut errors = max_length(name, LABEL_MAX);
    if !is_dns_label(name) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        errors.push(pattern(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start \
             with an alphabetic character, and end with an alphanumeric character",
            &["my-name", "abc-123"],
            "[a-z]([-a-z0-9]*[a-z0-9])?",
        ));
    }
    errors
}

/// Follows `IsDNS1123Subdomain`.
pub(crate) fn dns_subdomain(name: &str) -> Vec<String> {
    let mut errors = max_length(name, SUBDOMAIN_MAX);
    if !name.split('.').all(is_dns_label) {
        errors.push(pattern(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
             '-' or '.', and must start and end with an alphanumeric character",
            &["example.com"],
            r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
        ));
    }
    errors
}

/// Follows `IsQualifiedName`: the keys of labels and annotations.
pub(crate) fn qualified_name(name: &str) -> Vec<String> {
    const EXAMPLES: &[&str] = &["MyName", "my.name", "123-abc"];
    const FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
    const RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start \
                        and end with an alphanumeric character";
    let mut errors = Vec::new();
    let parts: Vec<&str> = name.split('/').collect();
    let part = match parts.as_slice() {
        [part] => *part,
        [prefix, part] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(
                    dns_subdomain(prefix)
                        .iter()
                        .map(|e| format!("prefix part {e}")),
                );
            }
            *part
        }
        _ => {
            let text = pattern(&format!("a qualified name {RULE}"), EXAMPLES, FORMAT);
            return vec![format!(
                "{text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if part.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    }
    errors.extend(
        max_length(part, LABEL_MAX)
            .iter()
            .map(|e| format!("name part {e}")),
    );
    if part.is_empty() || !is_label_text(part) {
        errors.push(pattern(&format!("name part {RULE}"), EXAMPLES, FORMAT));
    }
    errors
}

/// Follows `IsValidLabelValue`.
pub(crate) fn label_value(value: &str) -> Vec<String> {
    let mut errors = max_length(value, LABEL_MAX);
    if !is_label_text(value) {
        errors.push(pattern(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', \
             '_' or '.', and must start and end with an alphanumeric character",
            &["MyValue", "my_value", "12345"],
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
        ));
    }
    errors
}

/// Follows `IsValidPortName`: the names of container ports, which are those of
/// IANA services.
pub(crate) fn port_name(name: &str) -> Vec<String> {
    const MAX: usize = 15;
    let mut errors = max_length(name, MAX);
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    for (wrong, text) in [
        (
            !name.chars().all(allowed),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (
            !name.contains(|c: char| c.is_ascii_lowercase()),
            "must contain at least one letter (a-z)",
        ),
        (name.contains("--"), "must not contain consecutive hyphens"),
        (
            name.starts_with('-') || name.ends_with('-'),
            "must not begin or end with a hyphen",
        ),
    ] {
        if wrong {
            errors.push(text.to_owned());
        }
    }
    errors
}

/// Follows `IsConfigMapKey`.
pub(crate) fn config_key(key: &str) -> Vec<String> {
    let mut errors = max_length(key, SUBDOMAIN_MAX);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if key.is_empty() || !key.chars().all(allowed) {
        errors.push(pattern(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            &["key.name", "KEY_NAME", "key-name"],
            "[-._a-zA-Z0-9]+",
        ));
    }
    match key {
        "." | ".." => errors.push(format!("must not be '{key}'")),
        _ if key.starts_with("..") => errors.push("must not start with '..'".to_owned()),
        _ => {}
    }
    errors
}

/// Follows `IsEnvVarName` since 1.32: printable ASCII without `=`.
pub(crate) fn env_name(name: &str) -> Vec<String> {
    if !name.is_empty() && name.chars().all(|c| matches!(c, ' '..='~') && c != '=') {
        return Vec::new();
    }
    vec![pattern(
        "a valid environment variable name must consist only of printable ASCII characters \
         other than '='",
        &[],
        "[ -<>-~]+",
    )]
}

fn is_dns_label(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn is_label_text(text: &str) -> bool {
    let at_end = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && at_end(text.chars().next())
        && at_end(text.chars().last())
}

fn max_length(text: &str, max: usize) -> Vec<String> {
    if text.len() > max {
        vec![format!("must be no more than {max} bytes")]
    } else {
        Vec::new()
    }
}

/// `rule (e.g. 'a',  or 'b', regex used for validation is 'format')`; the two
/// spaces are Kubernetes'.
fn pattern(rule: &str, examples: &[&str], format: &str) -> String {
    let regex = format!("regex used for validation is '{format}')");
    if examples.is_empty() {
        return format!("{rule} ({regex}");
    }
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{rule} (e.g. {}{regex}", examples.join(" or "))
}
