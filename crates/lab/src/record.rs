//! What a lab was asked to be, remembered for the verbs that come later.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use podway_model::IpFamily;
use serde::{Deserialize, Serialize};

use crate::files::write_whole;
use crate::paths::LabPaths;
use crate::{Error, LabName, Settings, name, topology};

const fn one() -> usize {
    1
}

/// A lab as it was asked for by the last `up`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LabRecord {
    /// How many nodes there are.
    pub(crate) nodes: usize,
    /// How many segments the underlay has.
    #[serde(default = "one")]
    pub(crate) segments: usize,
    pub(crate) proxy_mode: String,
    pub(crate) overlay: String,
    /// Overlays whose packets are taken as well, while the lab is switched.
    #[serde(default)]
    pub(crate) also: Vec<String>,
    #[serde(default)]
    pub(crate) direct_routing: bool,
    families: Vec<Family>,
    /// The binary `podway` that the lab's processes run.
    pub(crate) program: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Family {
    Ipv4,
    Ipv6,
}

impl LabRecord {
    /// What `settings` make of the lab that was there `before`.
    ///
    /// # Errors
    /// [`Error::Setting`] for what no lab, or this lab, can be.
    pub(crate) fn planned(settings: &Settings, before: Option<&Self>) -> Result<Self, Error> {
        let wrong = |setting, value: String, reason: String| {
            Err(Error::Setting {
                setting,
                value,
                reason,
            })
        };
        let nodes = settings.nodes;
        if nodes == 0 || nodes > topology::MOST_NODES {
            let reason = format!("a lab has 1 to {} nodes", topology::MOST_NODES);
            return wrong("--nodes", nodes.to_string(), reason);
        }
        let segments = settings.segments;
        if segments == 0 || segments > topology::MOST_SEGMENTS {
            let reason = format!("a lab has 1 to {} segments", topology::MOST_SEGMENTS);
            return wrong("--segments", segments.to_string(), reason);
        }
        if let Some(before) = before.filter(|before| before.segments != segments) {
            let reason = format!(
                "the running lab has {}, and addresses that are given stay: `podway lab down` it first",
                before.segments
            );
            return wrong("--segments", segments.to_string(), reason);
        }
        let families: Vec<Family> = settings
            .ip_families
            .iter()
            .copied()
            .map(Family::from)
            .collect();
        let text = || {
            settings
                .ip_families
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        let distinct: BTreeSet<IpFamily> = settings.ip_families.iter().copied().collect();
        if families.is_empty() || distinct.len() != families.len() {
            let reason = "name one or both of ipv4 and ipv6, each once".to_owned();
            return wrong("--ip-families", text(), reason);
        }
        if let Some(before) = before.filter(|before| before.families != families) {
            let reason = format!(
                "the running lab has {:?}, and addresses that are given stay: `podway lab down` it first",
                before.families
            );
            return wrong("--ip-families", text(), reason);
        }
        Ok(Self {
            nodes: nodes.max(before.map_or(0, |before| before.nodes)),
            segments,
            proxy_mode: settings.proxy_mode.clone(),
            overlay: settings.overlay.clone(),
            also: Vec::new(),
            direct_routing: settings.direct_routing,
            families,
            program: settings.program.clone(),
        })
    }

    /// The record of a lab; `None` where there is no such lab.
    pub(crate) fn read(lab: &LabName) -> Result<Option<Self>, Error> {
        let path = LabPaths::new(lab).record();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(format!("read {}", path.display()))(error)),
        };
        match serde_json::from_str(&text) {
            Ok(record) => Ok(Some(record)),
            Err(error) => Err(Error::State {
                path,
                reason: error.to_string(),
            }),
        }
    }

    /// The record of a lab that has to be there.
    pub(crate) fn existing(lab: &LabName) -> Result<Self, Error> {
        Self::read(lab)?.ok_or_else(|| Error::NoLab(lab.clone()))
    }

    pub(crate) fn write(&self, lab: &LabName) -> Result<(), Error> {
        let path = LabPaths::new(lab).record();
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::State {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        write_whole(&path, &text)
    }

    /// The families of pods and services, the primary one first.
    pub(crate) fn families(&self) -> Vec<IpFamily> {
        self.families
            .iter()
            .map(|family| IpFamily::from(*family))
            .collect()
    }

    /// The names of the nodes, in order.
    pub(crate) fn node_names(&self) -> Vec<String> {
        (1..=self.nodes).map(name::node_name).collect()
    }

    /// The index of a node of the lab, which has to be there.
    pub(crate) fn node(&self, lab: &LabName, node: &str) -> Result<usize, Error> {
        let index = name::node_index(node).filter(|&index| index <= self.nodes);
        index.ok_or_else(|| Error::NoNode {
            lab: lab.clone(),
            node: node.to_owned(),
            nodes: self.node_names().join(", "),
        })
    }
}

impl From<IpFamily> for Family {
    fn from(family: IpFamily) -> Self {
        match family {
            IpFamily::V4 => Self::Ipv4,
            IpFamily::V6 => Self::Ipv6,
        }
    }
}

impl From<Family> for IpFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::V4,
            Family::Ipv6 => Self::V6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused_and_a_lab_never_shrinks() {
        let settings = |nodes, families: &[IpFamily]| Settings {
            nodes,
            ip_families: families.to_vec(),
            ..Settings::new(LabName::default(), "/podway".into())
        };
        let both = [IpFamily::V4, IpFamily::V6];
        for (nodes, families) in [
            (0, &both[..]),
            (topology::MOST_NODES + 1, &both),
            (1, &[]),
            (1, &[IpFamily::V4, IpFamily::V4]),
        ] {
            let planned = LabRecord::planned(&settings(nodes, families), None);
            assert!(planned.is_err(), "{nodes} {families:?}");
        }
        let three = LabRecord::planned(&settings(3, &both), None).unwrap();
        let grown = |nodes| {
            LabRecord::planned(&settings(nodes, &both), Some(&three))
                .unwrap()
                .nodes
        };
        assert_eq!((grown(1), grown(5)), (3, 5));
        let other = LabRecord::planned(&settings(3, &[IpFamily::V6, IpFamily::V4]), Some(&three));
        assert!(other.is_err(), "{other:?}");
    }
}
