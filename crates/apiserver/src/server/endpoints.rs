//! The endpoints controller's hands: watches Services, Pods, Nodes and what the
//! controller itself writes, and brings one service after the other to what
//! [`endpoints::reconcile`] says.

mod index;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use serde_json::Value;
use tokio::sync::watch;

use crate::controllers::Write;
use crate::endpoints::{self, Observed};
use crate::rest::Registry;
use crate::server::{stopped, writes};
use crate::status::Status;
use crate::store::{Object, Objects};
use crate::watch::{Cursor, Event, EventKind};
use index::{Index, slice_service};

const SLICES: &str = "endpointslices.discovery.k8s.io";
const WATCHED: &[&str] = &["services", "pods", "nodes", "endpoints", SLICES];
const ZONE: &str = "/metadata/labels/topology.kubernetes.io~1zone";
/// So many services are written for at once: writes that wait together share one
/// durable commit.
const AT_ONCE: usize = 64;
/// A service whose writes were refused is tried again after this time.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// Namespace and name of a service.
type ServiceName = (String, String);

pub(super) async fn run(registry: Registry, mut stop: watch::Receiver<bool>) {
    loop {
        let followed = tokio::select! {
            followed = follow(&registry) => followed,
            () = stopped(&mut stop) => return,
        };
        // Too far behind for the history (410): start from the state again.
        if let Err(status) = followed {
            tracing::info!(%status, "the endpoints controller starts over");
        }
    }
}

async fn follow(registry: &Registry) -> Result<(), Status> {
    let (mut cursors, mut pending, mut index) = {
        let objects = registry.store().read();
        let revision = objects.revision();
        let cursor = |resource: &&str| registry.store().watch(resource, revision);
        let cursors: Vec<Cursor> = WATCHED.iter().map(cursor).collect();
        (cursors, all_services(&objects), Index::of(&objects))
    };
    loop {
        let mut round = reconcile_all(registry, pending, &index).await;
        pending = round.refused;
        let retry = !pending.is_empty();
        tokio::select! {
            () = super::any_moved(&mut cursors) => {}
            () = tokio::time::sleep(RETRY), if retry => {}
        }
        for cursor in &mut cursors {
            let news = cursor.look()?;
            let objects = registry.store().read();
            for event in &news.events {
                index.track(event);
                // Its own writes leave a service as it should be.
                if !round.written.remove(&event.object.revision()) {
                    touched(event, &objects, &index, &mut pending);
                }
            }
        }
    }
}

/// Services, and what is left of services that are gone.
fn all_services(objects: &Objects) -> BTreeSet<ServiceName> {
    let named = |object: &Arc<Object>| (object.namespace().to_owned(), object.name().to_owned());
    let services = objects.list("services", None).map(named);
    let endpoints = objects.list("endpoints", None).map(named);
    let slices = objects
        .list(SLICES, None)
        .filter_map(|slice| slice_service(slice));
    services.chain(endpoints).chain(slices).collect()
}

/// Which services an event may concern.
fn touched(event: &Event, objects: &Objects, index: &Index, pending: &mut BTreeSet<ServiceName>) {
    let states = || event.before.iter().chain([&event.object]);
    match &*event.resource {
        "pods" => {
            let namespace = event.object.namespace();
            for pod in states() {
                let candidates = index.services_of(pod).into_iter();
                let selecting = candidates.filter(|name| {
                    let service = objects.find("services", namespace, name);
                    service.is_some_and(|service| selects(service.value(), pod.value()))
                });
                pending.extend(selecting.map(|name| (namespace.to_owned(), name)));
            }
        }
        "nodes" => {
            // Only the zone matters, and nodes report their state often.
            let zone = |node: &Arc<Object>| node.value().pointer(ZONE).cloned();
            let after = (event.kind != EventKind::Deleted).then_some(&event.object);
            if event.before.as_ref().and_then(zone) != after.and_then(zone) {
                pending.extend(all_services(objects));
            }
        }
        SLICES => pending.extend(states().filter_map(|slice| slice_service(slice))),
        _ => {
            let object = &event.object;
            pending.insert((object.namespace().to_owned(), object.name().to_owned()));
        }
    }
}

fn selects(service: &Value, pod: &Value) -> bool {
    let Some(selector) = service.pointer("/spec/selector").and_then(Value::as_object) else {
        return false;
    };
    let labels = pod.pointer("/metadata/labels");
    selector
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// What came of reconciling some services.
#[derive(Default)]
struct Round {
    /// Services of which a write was refused.
    refused: BTreeSet<ServiceName>,
    /// The revisions of all writes.
    written: BTreeSet<u64>,
}

async fn reconcile_all(
    registry: &Registry,
    services: BTreeSet<ServiceName>,
    index: &Index,
) -> Round {
    let outcomes = stream::iter(services).map(|service| reconcile(registry, service, index));
    let rounds = outcomes.buffer_unordered(AT_ONCE);
    rounds
        .fold(Round::default(), async |mut all, one| {
            all.refused.extend(one.refused);
            all.written.extend(one.written);
            all
        })
        .await
}

async fn reconcile(registry: &Registry, service: ServiceName, index: &Index) -> Round {
    let mut round = Round::default();
    let (namespace, name) = &service;
    let writes = planned(&registry.store().read(), &service, index);
    for write in writes {
        match writes::apply(registry, namespace, write).await {
            Ok(object) => round.written.extend(object.map(|object| object.revision())),
            // A conflict means that somebody else wrote meanwhile: the event of
            // that write brings the service back here anyway.
            Err(status) => {
                tracing::debug!(namespace, service = name, %status, "endpoints not written");
                round.refused.insert(service);
                return round;
            }
        }
    }
    round
}

fn planned(objects: &Objects, service: &ServiceName, index: &Index) -> Vec<Write> {
    let (namespace, name) = service;
    let found = |resource: &str, names: Vec<String>| -> Vec<Arc<Object>> {
        let objects = names
            .iter()
            .filter_map(|name| objects.find(resource, namespace, name));
        objects.cloned().collect()
    };
    let slices = found(SLICES, index.slices_of(service).cloned().collect());
    let service = objects.find("services", namespace, name);
    let pods = found(
        "pods",
        service
            .map(|service| index.pods_of(service))
            .unwrap_or_default(),
    );
    let slices: Vec<&Value> = slices.iter().map(|slice| slice.value()).collect();
    let pods: Vec<&Value> = pods.iter().map(|pod| pod.value()).collect();
    let endpoints = objects.find("endpoints", namespace, name);
    endpoints::reconcile(&Observed {
        namespace,
        name,
        service: service.map(|service| service.value()),
        pods: &pods,
        zones: &zones(objects),
        slices: &slices,
        endpoints: endpoints.map(|endpoints| endpoints.value()),
    })
}

fn zones(objects: &Objects) -> BTreeMap<String, String> {
    objects
        .list("nodes", None)
        .filter_map(|node| {
            let zone = node.value().pointer(ZONE)?.as_str()?;
            Some((node.name().to_owned(), zone.to_owned()))
        })
        .collect()
}
