use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The name of a lab: a DNS label of at most 32 characters, so that every name
/// made of it (paths of unix sockets are limited to 107 bytes) stays valid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabName(String);

impl LabName {
    /// The longest name, in characters.
    pub const LONGEST: usize = 32;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the network namespace of `place`: `underlay`, `client` or a
    /// node's name.
    #[must_use]
    pub fn namespace(&self, place: &str) -> String {
        format!("podway-{}-{place}", self.0)
    }

    /// The place that the network namespace `name` is of this lab, if it is.
    ///
    /// Labs `a` and `a-b` must not be taken for one another, so the rest of the
    /// name has to be exactly a place that a lab has.
    #[must_use]
    pub fn place_of<'a>(&self, namespace: &'a str) -> Option<&'a str> {
        let place = namespace
            .strip_prefix("podway-")?
            .strip_prefix(self.as_str())?
            .strip_prefix('-')?;
        let known = matches!(place, "underlay" | "client") || node_index(place).is_some();
        known.then_some(place)
    }
}

impl Default for LabName {
    fn default() -> Self {
        Self("lab".to_owned())
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LabName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let valid = text.len() <= Self::LONGEST
            && text.starts_with(letter)
            && text.ends_with(letter)
            && text.chars().all(|c| letter(c) || c == '-');
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::LabName(text.to_owned()))
        }
    }
}

/// The name of the node with this index, counted from 1.
pub(crate) fn node_name(index: usize) -> String {
    format!("node{index}")
}

/// The index of a node's name, the inverse of [`node_name`].
pub(crate) fn node_index(name: &str) -> Option<usize> {
    let index: usize = name.strip_prefix("node")?.parse().ok()?;
    // "node01" and "node+1" parse as numbers but are no names of ours.
    (index > 0 && node_name(index) == name).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_short_dns_label() {
        let longest = "a".repeat(LabName::LONGEST);
        for good in ["lab", "a", "7", "two-words", longest.as_str()] {
            assert_eq!(good.parse::<LabName>().unwrap().as_str(), good);
        }
        let long = "a".repeat(LabName::LONGEST + 1);
        for bad in ["", "-a", "a-", "A", "a_b", "a/b", "..", "ä", long.as_str()] {
            assert!(bad.parse::<LabName>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn namespaces_of_a_lab_with_a_longer_name_are_not_ours() {
        let lab: LabName = "a".parse().unwrap();
        for (namespace, place) in [
            ("podway-a-node1", Some("node1")),
            ("podway-a-node12", Some("node12")),
            ("podway-a-underlay", Some("underlay")),
            ("podway-a-client", Some("client")),
            ("podway-a-b-node1", None),
            ("podway-a-node1-client", None),
            ("podway-a-node01", None),
            ("podway-a-node0", None),
            ("podway-ab-node1", None),
            ("podway-a-", None),
            ("a-node1", None),
        ] {
            assert_eq!(lab.place_of(namespace), place, "{namespace}");
        }
    }
}
