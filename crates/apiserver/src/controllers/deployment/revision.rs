//! Revisions: which set is of which template, and their numbers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Step, kind, wanted};
use crate::controllers::{Plan, encode, replica_set, safe_hash};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// How many pods the deployment wanted when the set was last resized, and how
/// many it could have had: what a later change of scale is proportional to.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
const HASH: &str = "pod-template-hash";
/// Annotations that are each object's own.
const OWN: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
];

/// Whether a set has the deployment's template, but for the hash in its labels.
pub(super) fn same_template(set: &ReplicaSet, spec: &DeploymentSpec) -> bool {
    let template = set.spec.as_ref().and_then(|spec| spec.template.clone());
    let mut template = template.unwrap_or_default();
    let labels = template.metadata.as_mut().and_then(|m| m.labels.as_mut());
    if let Some(labels) = labels {
        labels.remove(HASH);
    }
    normal(template) == normal(spec.template.clone())
}

/// Without what says nothing.
fn normal(mut template: PodTemplateSpec) -> PodTemplateSpec {
    if let Some(metadata) = &mut template.metadata {
        metadata.labels.take_if(|labels| labels.is_empty());
        metadata.creation_timestamp = None;
    }
    template
        .metadata
        .take_if(|metadata| *metadata == ObjectMeta::default());
    template
}

pub(super) fn annotation<'o>(metadata: &'o ObjectMeta, name: &str) -> Option<&'o str> {
    metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn number(metadata: &ObjectMeta) -> i64 {
    let text = annotation(metadata, REVISION);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Step<'_> {
    fn next_revision(&self) -> i64 {
        self.old
            .iter()
            .map(|set| number(&set.metadata))
            .max()
            .unwrap_or(0)
            + 1
    }

    /// Makes the set of the present template.
    pub(super) fn make_revision(&self, plan: &mut Plan) {
        let hash = self.free_hash();
        let mut template = self.spec.template.clone();
        let labels = template
            .metadata
            .get_or_insert_default()
            .labels
            .get_or_insert_default();
        labels.insert(HASH.to_owned(), hash.clone());
        let labels = labels.clone();
        let mut selector = self.spec.selector.clone();
        let matched = selector.match_labels.get_or_insert_default();
        matched.insert(HASH.to_owned(), hash.clone());
        let mut annotations = self.inherited();
        annotations.insert(REVISION.to_owned(), self.next_revision().to_string());
        self.size_annotations(&mut annotations);
        let set = ReplicaSet {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", self.controller.name)),
                namespace: self.deployment.metadata.namespace.clone(),
                labels: Some(labels),
                annotations: Some(annotations),
                owner_references: Some(vec![self.controller.clone()]),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                replicas: Some(self.size_of_new(0)),
                min_ready_seconds: self.spec.min_ready_seconds,
                selector,
                template: Some(template),
            }),
            status: None,
        };
        plan.create(replica_set::kind(), &set);
    }

    /// The hash of the template, in a name that nobody has.
    fn free_hash(&self) -> String {
        let template = encode(&self.spec.template).to_string();
        let mut tries = (0_u32..).map(|collision| match collision {
            0 => safe_hash(&template),
            collision => safe_hash(&format!("{template}{collision}")),
        });
        let free = |hash: &String| {
            !self
                .names
                .contains(&format!("{}-{hash}", self.controller.name))
        };
        tries
            .find(free)
            .expect("one of endlessly many hashes is free")
    }

    /// The deployment's annotations, which its sets have as well.
    fn inherited(&self) -> BTreeMap<String, String> {
        let mut annotations = self
            .deployment
            .metadata
            .annotations
            .clone()
            .unwrap_or_default();
        annotations.retain(|name, _| !OWN.contains(&name.as_str()));
        annotations
    }

    pub(super) fn size_annotations(&self, annotations: &mut BTreeMap<String, String>) {
        let most = self.replicas() + self.tolerances().0;
        annotations.insert(DESIRED.to_owned(), self.replicas().to_string());
        annotations.insert(MAX.to_owned(), most.to_string());
    }

    /// Gives the present set, and the deployment, the newest number. Whether
    /// there was anything to write.
    pub(super) fn number_revision(&self, plan: &mut Plan) -> bool {
        let Some(new) = &self.new else { return false };
        let (current, next) = (number(&new.metadata), self.next_revision());
        let mut set = new.clone();
        let annotations = set.metadata.annotations.get_or_insert_default();
        annotations.extend(self.inherited());
        if current < next {
            // It was there before, and is gone back to.
            if current > 0 {
                let history = annotations.entry(HISTORY.to_owned()).or_default();
                if !history.is_empty() {
                    history.push(',');
                }
                history.push_str(&current.to_string());
            }
            annotations.insert(REVISION.to_owned(), next.to_string());
        }
        if let Some(spec) = &mut set.spec {
            spec.min_ready_seconds = self.spec.min_ready_seconds;
        }
        if set != *new {
            plan.update(replica_set::kind(), &set);
            return true;
        }
        let revision = annotation(&new.metadata, REVISION).unwrap_or_default();
        if annotation(&self.deployment.metadata, REVISION) == Some(revision) {
            return false;
        }
        let mut deployment: Deployment = self.deployment.clone();
        let annotations = deployment.metadata.annotations.get_or_insert_default();
        annotations.insert(REVISION.to_owned(), revision.to_owned());
        plan.update(kind(), &deployment);
        true
    }

    /// Deletes the oldest of the revisions that are not kept.
    pub(super) fn clean_up(&self, plan: &mut Plan) {
        let Some(limit) = self.spec.revision_history_limit else {
            return;
        };
        let limit = usize::try_from(limit).unwrap_or(0);
        let mut old: Vec<&ReplicaSet> = self
            .old
            .iter()
            .filter(|set| set.metadata.deletion_timestamp.is_none())
            .collect();
        let surplus = old.len().saturating_sub(limit);
        old.sort_by_key(|set| (number(&set.metadata), super::created(set)));
        let observed = |set: &ReplicaSet| {
            let status = set.status.clone().unwrap_or_default();
            status.replicas == 0 && status.observed_generation == set.metadata.generation
        };
        for set in old.into_iter().take(surplus) {
            if wanted(set) == 0 && observed(set) {
                plan.delete(replica_set::kind(), &set.metadata);
            }
        }
    }

    /// When the present set was made.
    pub(super) fn started(&self) -> Option<Timestamp> {
        self.new.as_ref().and_then(super::created)
    }
}
