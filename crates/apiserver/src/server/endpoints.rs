//! The endpoints controller's hands: watches Services, Pods, Nodes and what the
//! controller itself writes, and brings one service after the other to what
//! [`endpoints::reconcile`] says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use crate::endpoints::{self, Observed, Write};
use crate::kinds::Part;
use crate::rest::{Change, Content, DeleteOptions, Registry, Target};
use crate::server::stopped;
use crate::status::Status;
use crate::store::{Object, Objects};
use crate::watch::{Cursor, Event, EventKind};

const SLICES: &str = "endpointslices.discovery.k8s.io";
const WATCHED: &[&str] = &["services", "pods", "nodes", "endpoints", SLICES];
const SERVICE_NAME: &str = "/metadata/labels/kubernetes.io~1service-name";
const ZONE: &str = "/metadata/labels/topology.kubernetes.io~1zone";
/// A service whose writes were refused is tried again after this time.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// Namespace and name of a service.
type ServiceName = (String, String);

/// Names of the slices of each service, kept so that one service's change does
/// not look through the slices of all.
type SliceNames = BTreeMap<ServiceName, BTreeSet<String>>;

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
    let (mut cursors, mut pending, mut slices) = {
        let objects = registry.store().read();
        let revision = objects.revision();
        let cursor = |resource: &&str| registry.store().watch(resource, revision);
        let cursors: Vec<Cursor> = WATCHED.iter().map(cursor).collect();
        (cursors, all_services(&objects), slice_names(&objects))
    };
    loop {
        pending = reconcile_all(registry, &pending, &slices).await;
        let retry = !pending.is_empty();
        tokio::select! {
            () = any_moved(&mut cursors) => {}
            () = tokio::time::sleep(RETRY), if retry => {}
        }
        for cursor in &mut cursors {
            let news = cursor.look()?;
            let objects = registry.store().read();
            for event in &news.events {
                track(event, &mut slices);
                touched(event, &objects, &mut pending);
            }
        }
    }
}

async fn any_moved(cursors: &mut [Cursor]) {
    let moves = cursors.iter_mut().map(|cursor| Box::pin(cursor.moved()));
    futures_util::future::select_all(moves).await;
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

fn slice_names(objects: &Objects) -> SliceNames {
    let mut names = SliceNames::new();
    for slice in objects.list(SLICES, None) {
        if let Some(service) = slice_service(slice) {
            names
                .entry(service)
                .or_default()
                .insert(slice.name().to_owned());
        }
    }
    names
}

fn track(event: &Event, names: &mut SliceNames) {
    if &*event.resource != SLICES {
        return;
    }
    if let Some(service) = event.before.as_deref().and_then(slice_service)
        && let Some(of_service) = names.get_mut(&service)
    {
        of_service.remove(event.object.name());
        if of_service.is_empty() {
            names.remove(&service);
        }
    }
    if event.kind != EventKind::Deleted
        && let Some(service) = slice_service(&event.object)
    {
        names
            .entry(service)
            .or_default()
            .insert(event.object.name().to_owned());
    }
}

fn slice_service(slice: &Object) -> Option<ServiceName> {
    let name = slice.value().pointer(SERVICE_NAME)?.as_str()?;
    Some((slice.namespace().to_owned(), name.to_owned()))
}

/// Which services an event may concern.
fn touched(event: &Event, objects: &Objects, pending: &mut BTreeSet<ServiceName>) {
    let states = || event.before.iter().chain([&event.object]);
    match &*event.resource {
        "pods" => {
            let namespace = event.object.namespace();
            for service in objects.list("services", Some(namespace)) {
                if states().any(|pod| selects(service.value(), pod.value())) {
                    pending.insert((namespace.to_owned(), service.name().to_owned()));
                }
            }
        }
        "nodes" => {
            // Only the zone matters, and nodes report their state often.
            let zones: BTreeSet<Option<&str>> = states()
                .map(|node| node.value().pointer(ZONE).and_then(Value::as_str))
                .collect();
            if zones.len() > 1 || event.before.is_none() {
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

/// Reconciles each; returns those whose writes were refused.
async fn reconcile_all(
    registry: &Registry,
    services: &BTreeSet<ServiceName>,
    slices: &SliceNames,
) -> BTreeSet<ServiceName> {
    let mut failed = BTreeSet::new();
    for service in services {
        let (namespace, name) = service;
        let names = slices.get(service);
        let writes = planned(&registry.store().read(), namespace, name, names);
        for write in writes {
            if let Err(status) = apply(registry, namespace, write).await {
                // A conflict means that somebody else wrote meanwhile: the event
                // of that write brings the service back here anyway.
                tracing::debug!(namespace, service = name, %status, "endpoints not written");
                failed.insert(service.clone());
                break;
            }
        }
    }
    failed
}

fn planned(
    objects: &Objects,
    namespace: &str,
    name: &str,
    slices: Option<&BTreeSet<String>>,
) -> Vec<Write> {
    let service = objects.find("services", namespace, name);
    let service = service.map(|service| service.value());
    let pods: Vec<&Value> = match service {
        Some(_) => objects
            .list("pods", Some(namespace))
            .map(|pod| pod.value())
            .collect(),
        None => Vec::new(),
    };
    let slices: Vec<&Value> = slices
        .into_iter()
        .flatten()
        .filter_map(|slice| objects.find(SLICES, namespace, slice))
        .map(|slice| slice.value())
        .collect();
    let endpoints = objects.find("endpoints", namespace, name);
    endpoints::reconcile(&Observed {
        namespace,
        name,
        service,
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

async fn apply(registry: &Registry, namespace: &str, write: Write) -> Result<(), Status> {
    let target = |kind, name: &str| Target {
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let name_of = |object: &Value| crate::store::metadata_text(object, "name").to_owned();
    match write {
        Write::Create(kind, object) => {
            let target = target(kind, &name_of(&object));
            registry.create(target, object, false).await.map(drop)
        }
        Write::Update(kind, object) => {
            let target = target(kind, &name_of(&object));
            let content = Content::Object(object);
            let change = Change {
                content,
                part: Part::Object,
                strict: false,
            };
            registry.update(target, change, false).await.map(drop)
        }
        Write::Delete(kind, name) => {
            let target = target(kind, &name);
            match registry
                .delete(target, DeleteOptions::default(), false)
                .await
            {
                Err(status) if status.code == 404 => Ok(()),
                outcome => outcome.map(drop),
            }
        }
    }
}
