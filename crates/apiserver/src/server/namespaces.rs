//! Empties namespaces that are being deleted.
//!
//! Not at once: a client that deletes a namespace together with its content
//! (`kubectl delete -f` with both in one file) deletes the namespace first, and
//! would be told that the rest does not exist. Kubernetes waits five seconds
//! here; one is enough for a client on the same machine.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::stopped;
use crate::rest::{Registry, is_terminating};
use crate::status::Status;

const CONTENT_STAYS: Duration = Duration::from_secs(1);

/// Namespaces and when they are to be emptied.
type Due = BTreeMap<String, Instant>;

pub(super) async fn run(registry: Registry, mut stop: watch::Receiver<bool>) {
    loop {
        let followed = tokio::select! {
            followed = follow(&registry) => followed,
            () = stopped(&mut stop) => return,
        };
        if let Err(status) = followed {
            tracing::info!(%status, "the namespaces controller starts over");
        }
    }
}

async fn follow(registry: &Registry) -> Result<(), Status> {
    let mut due = Due::new();
    let mut cursor = {
        let objects = registry.store().read();
        let terminating = objects
            .list("namespaces", None)
            .filter(|object| is_terminating(object));
        due.extend(terminating.map(|namespace| (namespace.name().to_owned(), Instant::now())));
        registry.store().watch("namespaces", objects.revision())
    };
    loop {
        empty_due(registry, &mut due).await;
        let next = due.values().min().copied();
        tokio::select! {
            () = cursor.moved() => {}
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
        for event in cursor.look()?.events {
            let before = event.before.as_deref().is_some_and(is_terminating);
            if !before && is_terminating(&event.object) {
                due.insert(
                    event.object.name().to_owned(),
                    Instant::now() + CONTENT_STAYS,
                );
            }
        }
    }
}

async fn empty_due(registry: &Registry, due: &mut Due) {
    let now = Instant::now();
    for (name, time) in due.iter_mut().filter(|(_, time)| **time <= now) {
        if let Err(status) = registry.empty_namespace(name.clone()).await {
            tracing::warn!(namespace = name, %status, "cannot empty the namespace yet");
            *time = now + CONTENT_STAYS;
        }
    }
    due.retain(|_, time| *time > now);
}
