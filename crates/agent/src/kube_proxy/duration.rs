use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration as Go writes it: `1h15m30.5s`, `0s`, `200ms`. Negative ones are
/// kept apart, to be refused by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GoDuration {
    /// How long.
    pub length: Duration,
    /// It is less than nothing.
    pub is_negative: bool,
}

impl GoDuration {
    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self {
            length: Duration::from_secs(seconds),
            is_negative: false,
        }
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.length.is_zero()
    }

    /// Whole seconds, rounded up.
    #[must_use]
    pub fn seconds(&self) -> u32 {
        let more = u64::from(self.length.subsec_nanos() > 0);
        u32::try_from(self.length.as_secs() + more).unwrap_or(u32::MAX)
    }
}

const UNITS: [(&str, f64); 7] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("\u{b5}s", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

impl FromStr for GoDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is not a duration: expected as 30s, 1m30s or 24h");
        let (is_negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let mut seconds = 0.0;
        if rest == "0" {
            return Ok(Self::default());
        }
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(wrong)?;
            let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let unit = rest
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(rest.len());
            let known = UNITS.iter().find(|(name, _)| *name == &rest[..unit]);
            seconds += number * known.ok_or_else(wrong)?.1;
            rest = &rest[unit..];
        }
        let length = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
        Ok(Self {
            length,
            is_negative: is_negative && !length.is_zero(),
        })
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_negative {
            f.write_str("-")?;
        }
        let seconds = self.length.as_secs();
        if seconds == 0 && !self.length.is_zero() {
            return write!(f, "{}ms", self.length.as_secs_f64() * 1e3);
        }
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if seconds >= 60 {
            write!(f, "{minutes}m")?;
        }
        let within = Duration::new(seconds % 60, self.length.subsec_nanos());
        write!(f, "{}s", within.as_secs_f64())
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = GoDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration as 30s, 1m30s or 24h")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, millis, printed) in [
            ("0s", 0, "0s"),
            ("0", 0, "0s"),
            ("30s", 30_000, "30s"),
            ("1m30s", 90_000, "1m30s"),
            ("24h", 86_400_000, "24h0m0s"),
            ("1h0m0s", 3_600_000, "1h0m0s"),
            ("1.5h", 5_400_000, "1h30m0s"),
            ("200ms", 200, "200ms"),
            ("1m0.5s", 60_500, "1m0.5s"),
        ] {
            let read: GoDuration = text.parse().unwrap();
            assert_eq!(read.length, Duration::from_millis(millis), "{text}");
            assert!(!read.is_negative);
            assert_eq!(read.to_string(), printed, "{text}");
        }
        assert!("-1s".parse::<GoDuration>().unwrap().is_negative);
        for text in ["", "30", "s", "1d", "1s1", "-", "1..0s", "1e9h9"] {
            assert!(text.parse::<GoDuration>().is_err(), "{text:?}");
        }
    }
}
