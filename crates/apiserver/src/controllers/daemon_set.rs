//! `DaemonSet`: a pod of a template on every node that it fits.

mod roll;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, DaemonSetSpec, DaemonSetStatus, RollingUpdateDaemonSet,
};
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
    PodSpec, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::{Plan, claim, controller_reference, history, nodes, pod_kind, pods};
use crate::kinds::{self, Kind};
use crate::validate::selector::selects;

/// Everything that decides about one daemon set.
pub(crate) struct Observed<'a> {
    pub(crate) set: &'a DaemonSet,
    /// The pods that it controls, and those of its namespace that nobody does.
    pub(crate) pods: &'a [Pod],
    /// The revisions that it controls.
    pub(crate) revisions: &'a [ControllerRevision],
    pub(crate) nodes: &'a [Node],
    pub(crate) now: Timestamp,
}

/// One node, with the set's pods there.
struct Place<'a> {
    node: &'a Node,
    /// A pod should be made there, and stay there.
    wanted: bool,
    stays: bool,
    pods: Vec<&'a Pod>,
}

/// One step's view.
struct Step<'a> {
    set: &'a DaemonSet,
    spec: &'a DaemonSetSpec,
    controller: OwnerReference,
    hash: String,
    places: Vec<Place<'a>>,
    /// Pods on nodes that are gone.
    stranded: Vec<&'a Pod>,
    now: Timestamp,
}

pub(super) fn kind() -> &'static Arc<Kind> {
    kinds::known("apps/v1", "DaemonSet")
}

/// The next step towards what the daemon set says.
pub(crate) fn reconcile(observed: &Observed<'_>) -> Plan {
    let mut plan = Plan::default();
    let set = observed.set;
    let Some(spec) = &set.spec else { return plan };
    let controller = controller_reference("apps/v1", "DaemonSet", &set.metadata);
    let none = BTreeMap::new();
    let lives = set.metadata.deletion_timestamp.is_none();
    let (owned, changed) = claim(
        &controller,
        lives,
        observed.pods,
        |pod| &mut pod.metadata,
        |metadata| selects(&spec.selector, metadata.labels.as_ref().unwrap_or(&none)),
    );
    for pod in &changed {
        plan.update(pod_kind(), pod);
    }
    if !lives {
        return plan;
    }
    let hash = history::current(set, &controller, observed.revisions, &mut plan);
    let (places, stranded) = places(spec, &owned, observed.nodes);
    let step = Step {
        set,
        spec,
        controller,
        hash,
        places,
        stranded,
        now: observed.now,
    };
    step.fill(&mut plan);
    if plan.writes.is_empty() {
        step.roll(&mut plan);
    }
    let used = |hash: &str| hash == step.hash || owned.iter().any(|pod| hash_of(pod) == hash);
    let limit = spec.revision_history_limit.unwrap_or(10);
    history::clean_up(observed.revisions, limit, used, &mut plan);
    step.report(&mut plan);
    plan
}

/// From which revision a pod was made.
fn hash_of(pod: &Pod) -> &str {
    let labels = pod.metadata.labels.as_ref();
    let hash = labels.and_then(|labels| labels.get(history::HASH));
    hash.map_or("", String::as_str)
}

fn places<'a>(
    spec: &DaemonSetSpec,
    pods: &'a [Pod],
    nodes: &'a [Node],
) -> (Vec<Place<'a>>, Vec<&'a Pod>) {
    let mut by_node: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
    for pod in pods {
        by_node.entry(node_of(pod)).or_default().push(pod);
    }
    let template = spec.template.spec.clone().unwrap_or_default();
    let tolerations = tolerations(&template);
    let mut places = Vec::new();
    for node in nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let fits = nodes::selects(&template, node);
        let free = |effects: &[&str]| {
            nodes::untolerated(&tolerations, node, effects)
                .next()
                .is_none()
        };
        let mut pods = by_node.remove(name).unwrap_or_default();
        pods.sort_by_key(|pod| (pod.metadata.creation_timestamp.clone(), &pod.metadata.name));
        places.push(Place {
            node,
            wanted: fits && free(&["NoSchedule", "NoExecute"]),
            stays: fits && free(&["NoExecute"]),
            pods,
        });
    }
    (places, by_node.into_values().flatten().collect())
}

/// The node that a pod is on, or was made for.
fn node_of(pod: &Pod) -> &str {
    let Some(spec) = &pod.spec else { return "" };
    if let Some(name) = spec.node_name.as_deref().filter(|name| !name.is_empty()) {
        return name;
    }
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| {
        a.required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let terms = required.map_or(&[][..], |required| &required.node_selector_terms);
    let mut fields = terms
        .iter()
        .flat_map(|term| term.match_fields.iter().flatten());
    let name = fields.find(|field| field.key == "metadata.name" && field.operator == "In");
    let name = name.and_then(|field| field.values.as_ref()?.first());
    name.map_or("", String::as_str)
}

/// The template's own, and those that every daemon has: it stays on a node that
/// is not ready, and comes to one that is cordoned.
fn tolerations(template: &PodSpec) -> Vec<Toleration> {
    let mut tolerations = template.tolerations.clone().unwrap_or_default();
    let mut tolerate = |key: &str, effect: &str| {
        let toleration = Toleration {
            key: Some(format!("node.kubernetes.io/{key}")),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    };
    tolerate("not-ready", "NoExecute");
    tolerate("unreachable", "NoExecute");
    for pressure in [
        "disk-pressure",
        "memory-pressure",
        "pid-pressure",
        "unschedulable",
    ] {
        tolerate(pressure, "NoSchedule");
    }
    if template.host_network == Some(true) {
        tolerate("network-unavailable", "NoSchedule");
    }
    tolerations
}

/// The template's affinity, for this node alone.
fn only_on(node: &str, before: Option<Affinity>) -> Affinity {
    let here = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let mut affinity = before.unwrap_or_default();
    let own: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    let required = own
        .required_during_scheduling_ignored_during_execution
        .take();
    let mut terms = required.map_or_else(Vec::new, |required| required.node_selector_terms);
    if terms.is_empty() {
        terms.push(NodeSelectorTerm::default());
    }
    for term in &mut terms {
        term.match_fields = Some(vec![here.clone()]);
    }
    own.required_during_scheduling_ignored_during_execution = Some(NodeSelector {
        node_selector_terms: terms,
    });
    affinity
}

impl Step<'_> {
    /// Makes the pods that are missing, and deletes those that are too many.
    fn fill(&self, plan: &mut Plan) {
        for pod in &self.stranded {
            self.remove(pod, plan);
        }
        for place in &self.places {
            // A pod that has failed will not come back by itself.
            for pod in place.pods.iter().filter(|pod| !is_live(pod)) {
                self.remove(pod, plan);
            }
            let live: Vec<&Pod> = place.live().collect();
            // One at a time: an old one has to be gone from the node first.
            let mut pods = place.pods.iter();
            if place.wanted && pods.all(|pod| !is_live(pod) && !pods::is_terminating(pod)) {
                self.make(place, plan);
            } else if !place.stays {
                live.iter().for_each(|pod| self.remove(pod, plan));
            } else {
                // One of each revision while the update surges, one otherwise.
                let new = live.iter().filter(|pod| hash_of(pod) == self.hash).skip(1);
                let old = live.iter().filter(|pod| hash_of(pod) != self.hash).skip(1);
                new.chain(old).for_each(|pod| self.remove(pod, plan));
            }
        }
    }

    fn remove(&self, pod: &Pod, plan: &mut Plan) {
        if !pods::is_terminating(pod) {
            plan.delete(pod_kind(), &pod.metadata);
        }
    }

    fn make(&self, place: &Place<'_>, plan: &mut Plan) {
        let namespace = self.set.metadata.namespace.as_ref();
        let mut pod = pods::from_template(&self.spec.template, &self.controller, namespace);
        let labels = pod.metadata.labels.get_or_insert_default();
        labels.insert(history::HASH.to_owned(), self.hash.clone());
        let name = place.node.metadata.name.as_deref().unwrap_or_default();
        let spec = pod.spec.get_or_insert_default();
        spec.tolerations = Some(tolerations(spec));
        spec.affinity = Some(only_on(name, spec.affinity.take()));
        plan.create(pod_kind(), &pod);
    }

    fn is_available(&self, pod: &Pod) -> bool {
        let least = self.spec.min_ready_seconds.unwrap_or(0);
        pods::until_available(pod, least, self.now).is_some_and(|left| left.is_zero())
    }

    fn rolling(&self) -> Option<RollingUpdateDaemonSet> {
        let strategy = self.spec.update_strategy.as_ref()?;
        let rolls = strategy.type_.as_deref() != Some("OnDelete");
        rolls.then(|| strategy.rolling_update.clone().unwrap_or_default())
    }

    /// Writes the status if it has changed.
    fn report(&self, plan: &mut Plan) {
        let before = self.set.status.clone().unwrap_or_default();
        let mut status = DaemonSetStatus {
            observed_generation: self.set.metadata.generation,
            collision_count: before.collision_count,
            conditions: before.conditions,
            ..DaemonSetStatus::default()
        };
        let (mut updated, mut available) = (0, 0);
        for place in &self.places {
            // The oldest of the newest revision speaks for the node.
            let new = place.live().find(|pod| hash_of(pod) == self.hash);
            let speaker = new.or(place.live().next());
            if !place.wanted {
                status.number_misscheduled += i32::from(speaker.is_some());
                continue;
            }
            status.desired_number_scheduled += 1;
            status.current_number_scheduled += i32::from(speaker.is_some());
            updated += i32::from(new.is_some());
            for pod in place.live() {
                let least = self.spec.min_ready_seconds.unwrap_or(0);
                let left = pods::until_available(pod, least, self.now);
                if let Some(left) = left.filter(|left| !left.is_zero()) {
                    plan.look_again(left);
                }
            }
            status.number_ready += i32::from(place.live().any(pods::is_ready));
            available += i32::from(place.live().any(|pod| self.is_available(pod)));
        }
        let some = |number: i32| (number > 0).then_some(number);
        status.updated_number_scheduled = some(updated);
        status.number_available = some(available);
        status.number_unavailable = some(status.desired_number_scheduled - available);
        if self.set.status.as_ref() != Some(&status) {
            let mut set = self.set.clone();
            set.status = Some(status);
            plan.status(kind(), &set);
        }
    }
}

fn is_live(pod: &Pod) -> bool {
    !matches!(pods::phase(pod), "Succeeded" | "Failed")
}

impl<'a> Place<'a> {
    /// The pods that are there and stay.
    fn live(&self) -> impl Iterator<Item = &'a Pod> + '_ {
        self.pods.iter().copied().filter(|pod| pods::is_active(pod))
    }
}
