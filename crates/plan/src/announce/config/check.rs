//! What must hold of a configuration as a whole, in either form.

use std::collections::BTreeMap;

use ipnet::IpNet;
use podway_model::IpFamily;

use super::error::Problems;
use super::{AddressPool, AddressRange, Config, ConfigError, ConfigProblem};

pub(super) fn check(config: Config, mut problems: Problems) -> Result<Config, ConfigError> {
    duplicates(
        "address pool",
        config.pools.iter().map(|p| &p.name),
        &mut problems,
    );
    duplicates(
        "BGP peer",
        config.peers.iter().map(|p| &p.name),
        &mut problems,
    );
    let profiles = config.bfd_profiles.iter().map(|p| &p.name);
    duplicates("BFD profile", profiles, &mut problems);
    overlaps(&config.pools, &mut problems);
    aggregation(&config, &mut problems);
    for peer in &config.peers {
        let Some(profile) = &peer.bfd_profile else {
            continue;
        };
        if !config.bfd_profiles.iter().any(|p| p.name == *profile) {
            let object = format!("BGP peer {}", peer.name);
            problems.push(&object, format!("there is no BFD profile {profile:?}"));
        }
    }
    ConfigError::unless_empty(problems.0)?;
    Ok(config)
}

fn duplicates<'a>(kind: &str, names: impl Iterator<Item = &'a String>, problems: &mut Problems) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        *seen.entry(name).or_default() += 1;
    }
    for (name, _) in seen.into_iter().filter(|(_, count)| *count > 1) {
        problems.push(&format!("{kind} {name}"), "there are two of this name");
    }
}

/// An address of two pools would have two sets of rules.
fn overlaps(pools: &[AddressPool], problems: &mut Problems) {
    let ranges: Vec<(&str, &AddressRange)> = pools
        .iter()
        .flat_map(|pool| pool.ranges.iter().map(|range| (pool.name.as_str(), range)))
        .collect();
    for (index, (name, range)) in ranges.iter().enumerate() {
        for (other_name, other) in &ranges[..index] {
            if range.overlaps(other) {
                let what = format!("{range} overlaps {other} of address pool {other_name}");
                problems.push(&format!("address pool {name}"), what);
            }
        }
    }
}

/// A pool smaller than the prefix it is announced in would draw the traffic of
/// its neighbours.
fn aggregation(config: &Config, problems: &mut Problems) {
    for advertisement in &config.bgp {
        let object = format!("BGP advertisement {}", advertisement.name);
        let host = advertisement.aggregation == 32 && advertisement.aggregation_v6 == 128;
        if !host && !advertisement.services.is_empty() {
            let what = "serviceSelectors need host prefixes (aggregationLength 32 and 128)";
            problems.push(&object, what);
        }
        let pools = config
            .pools
            .iter()
            .filter(|p| advertisement.pools.includes(p));
        for (pool, range) in pools.flat_map(|pool| pool.ranges.iter().map(move |r| (pool, r))) {
            let length = match range.family() {
                IpFamily::V4 => advertisement.aggregation,
                IpFamily::V6 => advertisement.aggregation_v6,
            };
            if range.shortest_block() > length {
                let name = &pool.name;
                let what = format!(
                    "{range} of address pool {name} is more specific than the aggregation length {length}"
                );
                problems.push(&object, what);
            }
        }
    }
}

pub(super) fn apart(pool: &AddressPool, cluster: &[(&str, IpNet)]) -> Vec<ConfigProblem> {
    let mut problems = Problems::default();
    for range in &pool.ranges {
        for (what, prefix) in cluster {
            if range.overlaps(&AddressRange::from(*prefix)) {
                let object = format!("address pool {}", pool.name);
                problems.push(&object, format!("{range} overlaps the {what} {prefix}"));
            }
        }
    }
    problems.0
}
