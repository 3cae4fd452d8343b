use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use podway_model::{ClusterState, IpFamily, ObjectName};
use serde::Serialize;

use super::Difference;
use super::classes::{Class, Members};
use crate::explain::rule_view::range_text;
use crate::policy::AllowedPorts;

/// What policies open and close.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// Who reaches whom with them, and not without.
    pub opens: Vec<EffectRow>,
    /// Who reaches whom without them, and not with them.
    pub closes: Vec<EffectRow>,
}

/// Everybody of some reaches everybody of others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct EffectRow {
    /// Pods, and `outside` for those who are none.
    pub from: Vec<String>,
    /// To whom.
    pub to: Vec<String>,
    /// At which ports.
    pub ports: Vec<String>,
    /// In which families: `IPv4`, `IPv6`.
    pub families: Vec<String>,
    #[serde(skip)]
    shown: [String; 2],
}

impl Effect {
    /// Adds what differs in a family.
    pub(super) fn add(
        &mut self,
        state: &ClusterState,
        family: IpFamily,
        classes: &[Class<'_>],
        differences: BTreeMap<Difference, BTreeSet<(usize, usize)>>,
    ) {
        for ((opens, ports), pairs) in differences {
            let rows = if opens {
                &mut self.opens
            } else {
                &mut self.closes
            };
            for (from, to) in rectangles(&pairs) {
                let (from, to) = (Party::of(classes, &from), Party::of(classes, &to));
                let row = EffectRow {
                    shown: [from.shown(state), to.shown(state)],
                    from: from.listed(),
                    to: to.listed(),
                    ports: ports_text(&ports),
                    families: vec![family.to_string()],
                };
                match rows.iter_mut().find(|other| other.is_like(&row)) {
                    Some(other) => other.families.extend(row.families),
                    None => rows.push(row),
                }
            }
        }
    }

    /// Whether nothing changes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.opens.is_empty() && self.closes.is_empty()
    }
}

impl EffectRow {
    fn is_like(&self, other: &Self) -> bool {
        self.from == other.from && self.to == other.to && self.ports == other.ports
    }
}

/// Pairs as products: those who are reached by the same are one.
fn rectangles(pairs: &BTreeSet<(usize, usize)>) -> Vec<(BTreeSet<usize>, BTreeSet<usize>)> {
    let mut by_target: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (from, to) in pairs {
        by_target.entry(*to).or_default().insert(*from);
    }
    let mut by_sources: BTreeMap<BTreeSet<usize>, BTreeSet<usize>> = BTreeMap::new();
    for (to, from) in by_target {
        by_sources.entry(from).or_default().insert(to);
    }
    by_sources.into_iter().collect()
}

/// One side of a row.
struct Party<'a> {
    pods: BTreeSet<&'a ObjectName>,
    outside: Vec<&'a str>,
}

impl<'a> Party<'a> {
    fn of(classes: &'a [Class<'a>], indices: &BTreeSet<usize>) -> Self {
        let mut party = Self {
            pods: BTreeSet::new(),
            outside: Vec::new(),
        };
        for index in indices {
            match &classes[*index].members {
                Members::Pods(pods) => party.pods.extend(pods),
                Members::Outside(words) => party.outside.push(words),
            }
        }
        party
    }

    fn listed(&self) -> Vec<String> {
        let pods = self.pods.iter().map(ToString::to_string);
        let outside = self.outside.iter().map(|words| (*words).to_owned());
        pods.chain(outside).collect()
    }

    /// Whole namespaces by their name, and of others some pods.
    fn shown(&self, state: &ClusterState) -> String {
        const MOST: usize = 8;
        let size = |namespace: &str| {
            let pods = state.pods_in(namespace);
            pods.filter(|pod| pod.owns_addresses()).count()
        };
        let mut parts: Vec<String> = Vec::new();
        let mut rest: Vec<String> = Vec::new();
        let namespaces: BTreeSet<&str> = self.pods.iter().map(|pod| &*pod.namespace).collect();
        for namespace in namespaces {
            let here = || self.pods.iter().filter(|pod| &*pod.namespace == namespace);
            let count = here().count();
            if count > 1 && size(namespace) == count {
                parts.push(format!("all {count} pods of {namespace}"));
            } else {
                rest.extend(here().map(ToString::to_string));
            }
        }
        let more = rest.len().saturating_sub(MOST);
        if more > 0 {
            rest.truncate(MOST);
            rest.push(format!("{more} more"));
        }
        parts.extend(rest);
        parts.extend(self.outside.iter().map(|words| (*words).to_owned()));
        parts.join(", ")
    }
}

fn ports_text(ports: &AllowedPorts) -> Vec<String> {
    if *ports == AllowedPorts::all() {
        return vec!["everything".to_owned()];
    }
    let texts =
        |ports: &AllowedPorts| -> Vec<String> { ports.ranges.iter().map(range_text).collect() };
    if !ports.others {
        return texts(ports);
    }
    let but = texts(&AllowedPorts::all().minus(ports));
    vec![format!("everything but {}", but.join(", "))]
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "Nothing changes between the pods that there are now.");
        }
        for (what, rows) in [("closes", &self.closes), ("opens", &self.opens)] {
            for row in rows {
                let [from, to] = &row.shown;
                let families = match &row.families[..] {
                    [one] => format!(" ({one} only)"),
                    _ => String::new(),
                };
                writeln!(f, "{what} {}{families}", row.ports.join(", "))?;
                writeln!(f, "    from  {from}")?;
                writeln!(f, "    to    {to}")?;
            }
        }
        Ok(())
    }
}
