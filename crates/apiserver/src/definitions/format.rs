//! The formats of strings and numbers that Kubernetes checks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::Value;

/// Whether a value has a format; formats that nobody knows are not checked.
pub(super) fn matches(format: &str, value: &Value) -> bool {
    if let Some(number) = value.as_number() {
        return match (format, number.as_i64()) {
            ("int32", Some(number)) => i32::try_from(number).is_ok(),
            ("int32" | "int64", None) => false,
            _ => true,
        };
    }
    let Some(text) = value.as_str() else {
        return true;
    };
    match format {
        "date-time" | "datetime" => text.parse::<Timestamp>().is_ok(),
        "date" => text.parse::<Date>().is_ok(),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "cidr" => text.parse::<ipnet::IpNet>().is_ok(),
        "byte" => STANDARD.decode(text).is_ok(),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => uuid::Uuid::parse_str(text).is_ok(),
        "mac" => is_mac(text),
        "hostname" => {
            let labels = text.trim_end_matches('.').split('.');
            text.len() <= 255 && labels.into_iter().all(is_host_label)
        }
        "email" => text.split_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && !host.is_empty() && !text.contains(char::is_whitespace)
        }),
        "uri" => text.parse::<hyper::Uri>().is_ok() && text.contains(':'),
        _ => true,
    }
}

fn is_mac(text: &str) -> bool {
    let separator = if text.contains('-') { '-' } else { ':' };
    let parts: Vec<&str> = text.split(separator).collect();
    let is_octet = |part: &&str| part.len() == 2 && u8::from_str_radix(part, 16).is_ok();
    matches!(parts.len(), 6 | 8 | 20) && parts.iter().all(is_octet)
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}
