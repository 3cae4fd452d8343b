//! When each node's kubelet was last heard of, by this process's own clock: a
//! server that was away for long holds no node guilty of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::store::{Object, Objects};

pub(super) const LEASES: &str = "leases.coordination.k8s.io";
const NAMESPACE: &str = "kube-node-lease";
/// The patience with a lease that does not say how long it lasts.
const DURATION: u64 = 40;

/// The nodes' leases, by the nodes' names.
#[derive(Debug, Default)]
pub(super) struct Heartbeats(BTreeMap<String, Heartbeat>);

#[derive(Debug)]
struct Heartbeat {
    /// As it was written, in the holder's clock.
    renewed: String,
    seen: Instant,
    duration: Duration,
}

impl Heartbeats {
    pub(super) fn note_all(&mut self, objects: &Objects, now: Instant) {
        for lease in objects.list(LEASES, Some(NAMESPACE)) {
            self.note(lease, now);
        }
    }

    /// Takes note of a lease of a node; of other objects nothing.
    pub(super) fn note(&mut self, object: &Object, now: Instant) {
        let spec = &object.value()["spec"];
        let Some(renewed) = spec["renewTime"].as_str() else {
            return;
        };
        if object.namespace() != NAMESPACE {
            return;
        }
        let seconds = spec["leaseDurationSeconds"].as_u64();
        let next = Heartbeat {
            renewed: renewed.to_owned(),
            seen: now,
            duration: Duration::from_secs(seconds.unwrap_or(DURATION)),
        };
        match self.0.get_mut(object.name()) {
            Some(known) if known.renewed == next.renewed => known.duration = next.duration,
            Some(known) => *known = next,
            None => drop(self.0.insert(object.name().to_owned(), next)),
        }
    }

    /// How much longer a node may say nothing; zero if that is over, `None` if it
    /// has never promised anything.
    pub(super) fn patience(&self, node: &str, now: Instant) -> Option<Duration> {
        let heartbeat = self.0.get(node)?;
        Some(
            heartbeat
                .duration
                .saturating_sub(now.duration_since(heartbeat.seen)),
        )
    }
}

/// The node whose lease this is.
pub(super) fn node_of(lease: &Object) -> Option<&str> {
    let renewed = lease
        .value()
        .pointer("/spec/renewTime")
        .and_then(Value::as_str);
    (lease.namespace() == NAMESPACE && renewed.is_some()).then(|| lease.name())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(namespace: &str, name: &str, renewed: &str) -> Object {
        let metadata = json!({ "namespace": namespace, "name": name });
        let spec = json!({ "renewTime": renewed, "leaseDurationSeconds": 20 });
        Object::stamped(json!({ "metadata": metadata, "spec": spec }), 1)
    }

    #[test]
    fn silence_is_measured_from_the_last_change() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut heartbeats = Heartbeats::default();
        heartbeats.note(&lease("kube-node-lease", "n1", "a"), start);
        heartbeats.note(&lease("default", "n2", "a"), start);
        let left =
            |heartbeats: &Heartbeats, node, now| Some(heartbeats.patience(node, now)?.as_secs());
        assert_eq!(
            left(&heartbeats, "n2", start),
            None,
            "another kind of lease"
        );
        heartbeats.note(&lease("kube-node-lease", "n1", "a"), at(15));
        assert_eq!(left(&heartbeats, "n1", at(15)), Some(5), "not renewed");
        heartbeats.note(&lease("kube-node-lease", "n1", "b"), at(15));
        assert_eq!(left(&heartbeats, "n1", at(15)), Some(20));
        assert_eq!(left(&heartbeats, "n1", at(45)), Some(0));
    }
}
