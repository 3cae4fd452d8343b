//! A lab with the corpora's pods: three namespaces with three pods each, on two
//! nodes, each pod behind a Service of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt as _;
use podway_lab::LabName;
use serde_json::{Value, json};

use super::corpus::PodInfo;
use super::in_force;
use super::pods::{self, Addresses, SERVICE_LABEL};
use crate::harness::{Lab, both, eventually};
use crate::objects::{Object, Objects, revision_of};

/// The NetworkPolicy that is touched to see how far nodes are.
const MARKER: &str = "marker";

/// What there is in the lab.
pub(crate) struct World {
    lab: Lab,
    name: LabName,
    objects: Objects,
    protocols: Vec<&'static str>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pods: BTreeMap<String, BTreeMap<String, String>>,
    policies: BTreeMap<String, Value>,
    pub(crate) addresses: BTreeMap<String, Addresses>,
}

impl World {
    /// A lab of two nodes without pods. `protocols` are those that are served.
    pub(crate) fn new(name: &'static str, protocols: &[&'static str]) -> Self {
        let lab = Lab::new(name);
        let up = || lab.verb("up", &["--nodes", "2"]);
        // On an emulated machine nodes take longer than `up` waits; another one
        // goes on where it stopped.
        let is_up = (0..3).any(|_| up().status.success());
        assert!(is_up, "{}", both(&up()));
        let world = Self {
            objects: Objects::of(&lab),
            lab,
            name: name.parse().expect("a name"),
            protocols: protocols.to_vec(),
            namespaces: BTreeMap::new(),
            pods: BTreeMap::new(),
            policies: BTreeMap::new(),
            addresses: BTreeMap::new(),
        };
        let marker = json!({"metadata": {"name": MARKER}, "spec": {"podSelector": {"matchLabels": {MARKER: ""}}}});
        world.objects.create::<NetworkPolicy>("default", marker);
        world
    }

    pub(crate) fn name(&self) -> &LabName {
        &self.name
    }

    pub(crate) const fn lab(&self) -> &Lab {
        &self.lab
    }

    pub(crate) const fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The lab has these namespaces and pods, and every node knows it. Pods of
    /// x, y and z that are not named stay. Says which pods are new.
    pub(crate) fn stage(
        &mut self,
        namespaces: &BTreeMap<String, BTreeMap<String, String>>,
        pods: &[PodInfo],
    ) -> BTreeSet<String> {
        if self.name_spaces(namespaces) {
            self.wait_for::<Namespace>("", "x", "Namespace");
        }
        let wanted: BTreeMap<_, _> = pods.iter().map(|pod| (pod.full_name(), pod)).collect();
        let (new, changed) = self.populate(&wanted);
        if changed {
            self.wait_for::<Pod>("x", "a", "Pod");
        }
        self.remove_namespaces(namespaces);
        new
    }

    /// These policies and no others are in force on every node.
    pub(crate) fn enforce(&mut self, policies: &[Value]) {
        self.rule(policies);
        self.wait_for::<NetworkPolicy>("default", MARKER, "NetworkPolicy");
    }

    /// Waits until what was enforced last is in force on every node: agents may
    /// be new.
    pub(crate) fn enforce_again(&self) {
        self.wait_for::<NetworkPolicy>("default", MARKER, "NetworkPolicy");
    }

    fn name_spaces(&mut self, wanted: &BTreeMap<String, BTreeMap<String, String>>) -> bool {
        let mut changed = false;
        for (name, labels) in wanted {
            let mut labels = labels.clone();
            labels.insert("kubernetes.io/metadata.name".to_owned(), name.clone());
            match self.namespaces.get(name) {
                None => {
                    let object = json!({"metadata": {"name": name, "labels": labels}});
                    self.objects.create::<Namespace>("", object);
                }
                Some(present) if *present == labels => continue,
                Some(present) => {
                    let patch = json!({"metadata": {"labels": relabel(present, &labels)}});
                    self.objects.patch::<Namespace>("", name, &patch);
                }
            }
            self.namespaces.insert(name.clone(), labels);
            changed = true;
        }
        changed
    }

    fn remove_namespaces(&mut self, wanted: &BTreeMap<String, BTreeMap<String, String>>) {
        let gone: Vec<_> = self
            .namespaces
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            self.objects.delete::<Namespace>("", &name);
            eventually("a namespace goes", || {
                match self.objects.find::<Namespace>("", &name) {
                    None => Ok(()),
                    Some(there) => Err(format!("{there:?}")),
                }
            });
            self.namespaces.remove(&name);
            let inside = format!("{name}/");
            self.policies
                .retain(|policy, _| !policy.starts_with(&inside));
        }
    }

    fn populate(&mut self, wanted: &BTreeMap<String, &PodInfo>) -> (BTreeSet<String>, bool) {
        let mut changed = false;
        // The end-to-end tests list the pods that they ask, no more.
        let extra: Vec<_> = self
            .pods
            .keys()
            .filter(|name| !wanted.contains_key(*name) && !is_usual(name))
            .cloned()
            .collect();
        for name in extra {
            let (namespace, pod) = split(&name);
            self.objects.delete::<Pod>(namespace, pod);
            eventually("a pod goes", || {
                match self.objects.find::<Pod>(namespace, pod) {
                    None => Ok(()),
                    Some(there) => Err(format!("{there:?}")),
                }
            });
            self.pods.remove(&name);
            self.addresses.remove(&name);
            changed = true;
        }
        let mut new = BTreeSet::new();
        for (name, info) in wanted {
            let labels = with_service_label(name, &info.labels);
            match self.pods.get(name) {
                None => {
                    // Neighbours in name are on different nodes.
                    let node = format!("node{}", 1 + self.pods.len() % 2);
                    pods::create(&self.objects, info, &labels, &node, &self.protocols);
                    new.insert(name.clone());
                }
                Some(present) if *present == labels => continue,
                Some(present) => {
                    let patch = json!({"metadata": {"labels": relabel(present, &labels)}});
                    self.objects
                        .patch::<Pod>(&info.namespace, &info.name, &patch);
                    changed = true;
                }
            }
            self.pods.insert(name.clone(), labels);
        }
        for name in &new {
            let (addresses, revision) = pods::settle(&self.objects, name);
            self.wait("EndpointSlice", revision);
            self.addresses.insert(name.clone(), addresses);
        }
        (new, changed)
    }

    /// These policies and no others.
    fn rule(&mut self, policies: &[Value]) {
        let key = |policy: &Value| {
            let metadata = &policy["metadata"];
            let word = |key: &str| metadata[key].as_str().expect("a name");
            format!("{}/{}", word("namespace"), word("name"))
        };
        let wanted: BTreeMap<String, &Value> = policies
            .iter()
            .map(|policy| (key(policy), policy))
            .collect();
        let gone: Vec<_> = self
            .policies
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            let (namespace, policy) = split(&name);
            self.objects.delete::<NetworkPolicy>(namespace, policy);
            self.policies.remove(&name);
        }
        for (name, policy) in wanted {
            let (namespace, short) = split(&name);
            match self.policies.get(&name) {
                None => self
                    .objects
                    .create::<NetworkPolicy>(namespace, policy.clone()),
                Some(present) if present == policy => continue,
                Some(_) => {
                    let present = self.objects.find::<NetworkPolicy>(namespace, short);
                    let mut object: NetworkPolicy =
                        serde_json::from_value(policy.clone()).expect("a policy");
                    object.metadata.resource_version = present.and_then(|p| p.resource_version());
                    self.objects.replace(namespace, short, &object);
                }
            }
            self.policies.insert(name, policy.clone());
        }
    }

    /// Touches an object and waits until that is in force on every node: so is
    /// then whatever happened to objects of this kind before.
    pub(crate) fn wait_for<K: Object>(&self, namespace: &str, name: &str, kind: &str) {
        let touched = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("a clock");
        let patch = json!({"metadata": {"annotations": {"touched": format!("{touched:?}")}}});
        let revision = revision_of(&self.objects.patch::<K>(namespace, name, &patch));
        self.wait(kind, revision.expect("a number"));
    }

    /// Waits until this revision of a kind of object is in force on every node.
    pub(crate) fn wait(&self, kind: &str, revision: u64) {
        let folder = PathBuf::from("/run/podway").join(self.lab.name());
        for node in ["node1", "node2"] {
            in_force::wait(&folder.join(node).join("agent.sock"), kind, revision);
        }
    }
}

/// One of the nine that every step has.
fn is_usual(name: &str) -> bool {
    let (namespace, pod) = split(name);
    ["x", "y", "z"].contains(&namespace) && ["a", "b", "c"].contains(&pod)
}

fn with_service_label(name: &str, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut labels = labels.clone();
    labels.insert(SERVICE_LABEL.to_owned(), name.replace('/', "-"));
    labels
}

/// A merge patch from labels to labels.
fn relabel(present: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> Value {
    let mut patch = json!(wanted);
    for key in present.keys().filter(|key| !wanted.contains_key(*key)) {
        patch[key] = Value::Null;
    }
    patch
}

pub(crate) fn split(name: &str) -> (&str, &str) {
    name.split_once('/').expect("NAMESPACE/NAME")
}
