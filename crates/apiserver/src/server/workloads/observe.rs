//! From the store to what the controllers decide by, and back: whom an event
//! concerns.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::heartbeats::{self, Heartbeats};
use super::{Key, Role};
use crate::controllers::{Plan, daemon_set, deployment, eviction, job, node, replica_set};
use crate::rest::Registry;
use crate::store::{Object, Objects, owner_references};
use crate::watch::{Event, EventKind};

const DEPLOYMENTS: &str = "deployments.apps";
const SETS: &str = "replicasets.apps";
const DAEMONS: &str = "daemonsets.apps";
const REVISIONS: &str = "controllerrevisions.apps";
const JOBS: &str = "jobs.batch";

pub(super) const WATCHED: [&str; 8] = [
    DEPLOYMENTS,
    SETS,
    DAEMONS,
    REVISIONS,
    JOBS,
    "pods",
    "nodes",
    heartbeats::LEASES,
];

const ROLES: [(Role, &str, &str); 4] = [
    (Role::Deployment, DEPLOYMENTS, "Deployment"),
    (Role::ReplicaSet, SETS, "ReplicaSet"),
    (Role::DaemonSet, DAEMONS, "DaemonSet"),
    (Role::Job, JOBS, "Job"),
];

fn key(role: Role, object: &Object) -> Key {
    Key {
        role,
        namespace: object.namespace().to_owned(),
        name: object.name().to_owned(),
    }
}

/// Every object that a controller looks after.
pub(super) fn all(objects: &Objects) -> BTreeSet<Key> {
    let workloads = ROLES.iter().flat_map(|&(role, resource, _)| {
        objects
            .list(resource, None)
            .map(move |object| key(role, object))
    });
    let mut keys: BTreeSet<Key> = workloads.collect();
    for node in objects.list("nodes", None) {
        keys.insert(key(Role::Node, node));
        if is_tainted(node) {
            keys.extend(pods_on(objects, node.name()));
        }
    }
    keys.extend(
        objects
            .list("pods", None)
            .filter_map(|pod| unclaimed(objects, pod)),
    );
    keys
}

/// Whom an event concerns.
pub(super) fn touched(event: &Event, objects: &Objects, keys: &mut BTreeSet<Key>) {
    let object = &event.object;
    for state in event.before.iter().chain([object]) {
        keys.extend(owner(state));
    }
    match &*event.resource {
        "pods" => touched_by_pod(event, objects, keys),
        "nodes" => touched_by_node(event, objects, keys),
        // Renewals only take the silence away: the node looks again by itself.
        heartbeats::LEASES => keys.extend(
            heartbeats::node_of(object)
                .filter(|_| event.kind == EventKind::Added)
                .and_then(|node| objects.find("nodes", "", node))
                .map(|node| key(Role::Node, node)),
        ),
        resource => {
            let own = ROLES.iter().find(|(_, name, _)| *name == resource);
            keys.extend(own.map(|&(role, ..)| key(role, object)));
            if resource == SETS && !has_controller(object) {
                let all = objects.list(DEPLOYMENTS, Some(object.namespace()));
                keys.extend(all.map(|deployment| key(Role::Deployment, deployment)));
            }
        }
    }
}

fn touched_by_pod(event: &Event, objects: &Objects, keys: &mut BTreeSet<Key>) {
    let pod = &event.object;
    if event.kind == EventKind::Deleted {
        return;
    }
    keys.extend(unclaimed(objects, pod));
    if !has_controller(pod) {
        for (role, resource, _) in ROLES.into_iter().skip(1) {
            let all = objects.list(resource, Some(pod.namespace()));
            keys.extend(all.map(|object| key(role, object)));
        }
    }
    let node = pod
        .value()
        .pointer("/spec/nodeName")
        .and_then(Value::as_str);
    let node = node.and_then(|name| objects.find("nodes", "", name));
    if node.is_some_and(|node| is_tainted(node)) {
        keys.insert(key(Role::Pod, pod));
    }
}

fn touched_by_node(event: &Event, objects: &Objects, keys: &mut BTreeSet<Key>) {
    let node = &event.object;
    let gone = event.kind == EventKind::Deleted;
    if !gone {
        keys.insert(key(Role::Node, node));
    }
    if gone || is_tainted(node) {
        keys.extend(pods_on(objects, node.name()));
    }
    // Nodes report their state often; what daemon sets ask is this.
    let asked = |node: &Arc<Object>| {
        let value = node.value();
        let parts = ["/metadata/labels", "/spec/taints", "/spec/unschedulable"];
        parts.map(|part| value.pointer(part).cloned())
    };
    let after = (!gone).then_some(node);
    if event.before.as_ref().map(asked) != after.map(asked) {
        let all = objects.list(DAEMONS, None);
        keys.extend(all.map(|set| key(Role::DaemonSet, set)));
    }
}

fn is_tainted(node: &Object) -> bool {
    let taints = node
        .value()
        .pointer("/spec/taints")
        .and_then(Value::as_array);
    taints.is_some_and(|taints| taints.iter().any(|taint| taint["effect"] == "NoExecute"))
}

fn pods_on(objects: &Objects, node: &str) -> impl Iterator<Item = Key> {
    let pods = objects.list("pods", None);
    let here = pods.filter(move |pod| pod.value()["spec"]["nodeName"] == node);
    here.map(|pod| key(Role::Pod, pod))
}

/// The workload that controls an object.
fn owner(object: &Object) -> Option<Key> {
    let owner = owner_references(object.value()).find(|owner| owner["controller"] == true)?;
    let (role, ..) = ROLES.iter().find(|(_, _, kind)| owner["kind"] == *kind)?;
    Some(Key {
        role: *role,
        namespace: object.namespace().to_owned(),
        name: owner["name"].as_str()?.to_owned(),
    })
}

fn has_controller(object: &Object) -> bool {
    owner_references(object.value()).any(|owner| owner["controller"] == true)
}

/// A pod that waits for a job to count it which is gone, or was never there.
fn unclaimed(objects: &Objects, pod: &Object) -> Option<Key> {
    let finalizers = pod.value().pointer("/metadata/finalizers")?.as_array()?;
    let waits = finalizers.iter().any(|name| name == job::TRACKING);
    let owner = owner(pod).filter(|owner| owner.role == Role::Job);
    let lives =
        owner.is_some_and(|owner| objects.find(JOBS, &owner.namespace, &owner.name).is_some());
    (waits && !lives).then(|| key(Role::Pod, pod))
}

/// Stored objects have been decoded once; one that does not decode any more is
/// left out, as if it were not there.
fn parse<T: DeserializeOwned>(object: impl AsRef<Object>) -> Option<T> {
    T::deserialize(object.as_ref().value()).ok()
}

/// What the controller of an object wants now.
pub(super) fn plan(registry: &Registry, heartbeats: &Heartbeats, key: &Key) -> Plan {
    let now = Timestamp::now();
    let plan = match key.role {
        Role::Deployment => deployment_plan(registry, key, now),
        Role::ReplicaSet => Family::of(registry, SETS, key, &["pods"]).and_then(|family| {
            Some(replica_set::reconcile(
                &family.own()?,
                &family.members(),
                now,
            ))
        }),
        Role::DaemonSet => daemon_set_plan(registry, key, now),
        Role::Job => Family::of(registry, JOBS, key, &["pods"])
            .and_then(|family| Some(job::reconcile(&family.own()?, &family.members(), now))),
        Role::Node => node_plan(registry, heartbeats, key, now),
        Role::Pod => pod_plan(registry, key, now),
    };
    plan.unwrap_or_default()
}

/// An object with what it controls, and what it could.
struct Family {
    object: Arc<Object>,
    members: Vec<(String, Arc<Object>)>,
}

impl Family {
    /// `None` if the object is gone.
    fn of(registry: &Registry, resource: &str, key: &Key, members: &[&str]) -> Option<Family> {
        let objects = registry.store().read();
        let object = objects.find(resource, &key.namespace, &key.name)?;
        let own = objects.dependents(object.metadata("uid"));
        let own = own.filter(|(resource, _)| members.contains(resource));
        let free = members.iter().flat_map(|resource| {
            let all = objects.list(resource, Some(&key.namespace));
            let free = all.filter(|object| !has_controller(object));
            free.map(|object| (*resource, object))
        });
        let members = own.chain(free);
        Some(Family {
            object: Arc::clone(object),
            members: members
                .map(|(resource, object)| (resource.to_owned(), Arc::clone(object)))
                .collect(),
        })
    }

    fn own<T: DeserializeOwned>(&self) -> Option<T> {
        parse(&self.object)
    }

    /// All members, where they are of one kind.
    fn members<T: DeserializeOwned>(&self) -> Vec<T> {
        self.members
            .iter()
            .filter_map(|(_, object)| parse(object))
            .collect()
    }

    fn of_kind<T: DeserializeOwned>(&self, resource: &str) -> Vec<T> {
        let members = self.members.iter().filter(|(other, _)| other == resource);
        members.filter_map(|(_, object)| parse(object)).collect()
    }
}

fn deployment_plan(registry: &Registry, key: &Key, now: Timestamp) -> Option<Plan> {
    let family = Family::of(registry, DEPLOYMENTS, key, &[SETS])?;
    let (names, pods) = {
        let objects = registry.store().read();
        let sets = objects.list(SETS, Some(&key.namespace));
        let names: BTreeSet<String> = sets.map(|set| set.name().to_owned()).collect();
        let own = family.members.iter().filter(|(_, set)| has_controller(set));
        let pods: Vec<Arc<Object>> = own
            .flat_map(|(_, set)| objects.dependents(set.metadata("uid")))
            .map(|(_, pod)| Arc::clone(pod))
            .collect();
        (names, pods)
    };
    Some(deployment::reconcile(&deployment::Observed {
        deployment: &family.own()?,
        sets: &family.members(),
        pods: &pods.iter().filter_map(parse).collect::<Vec<Pod>>(),
        names: &names,
        now,
    }))
}

fn daemon_set_plan(registry: &Registry, key: &Key, now: Timestamp) -> Option<Plan> {
    let family = Family::of(registry, DAEMONS, key, &["pods", REVISIONS])?;
    let nodes: Vec<Arc<Object>> = {
        let objects = registry.store().read();
        objects.list("nodes", None).cloned().collect()
    };
    let mut revisions = family.of_kind(REVISIONS);
    revisions.retain(|revision: &ControllerRevision| revision.metadata.owner_references.is_some());
    Some(daemon_set::reconcile(&daemon_set::Observed {
        set: &family.own()?,
        pods: &family.of_kind::<Pod>("pods"),
        revisions: &revisions,
        nodes: &nodes.iter().filter_map(parse).collect::<Vec<Node>>(),
        now,
    }))
}

fn find<T: DeserializeOwned>(
    registry: &Registry,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Option<T> {
    let object = {
        let objects = registry.store().read();
        Arc::clone(objects.find(resource, namespace, name)?)
    };
    parse(object)
}

fn node_plan(
    registry: &Registry,
    heartbeats: &Heartbeats,
    key: &Key,
    now: Timestamp,
) -> Option<Plan> {
    let node: Node = find(registry, "nodes", "", &key.name)?;
    let patience = heartbeats.patience(&key.name, Instant::now());
    let silent = patience.is_some_and(|patience| patience.is_zero());
    let mut plan = node::reconcile(&node, silent, now);
    if let Some(patience) = patience.filter(|patience| !patience.is_zero()) {
        plan.look_again(SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX));
    }
    Some(plan)
}

fn pod_plan(registry: &Registry, key: &Key, now: Timestamp) -> Option<Plan> {
    let pod: Pod = find(registry, "pods", &key.namespace, &key.name)?;
    let waits = {
        let objects = registry.store().read();
        let pod = objects.find("pods", &key.namespace, &key.name)?;
        unclaimed(&objects, pod).is_some()
    };
    if let Some(free) = job::untracked(&pod).filter(|_| waits) {
        return Some(job::release(&free));
    }
    let node = pod
        .spec
        .as_ref()?
        .node_name
        .clone()
        .filter(|name| !name.is_empty())?;
    let node: Option<Node> = find(registry, "nodes", "", &node);
    Some(eviction::reconcile(&pod, node.as_ref(), now))
}
