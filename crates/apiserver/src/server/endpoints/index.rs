//! Who belongs to whom, kept up to date event by event, so that the change of
//! one object does not look through all others.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{SLICES, ServiceName};
use crate::store::{Object, Objects};
use crate::watch::{Event, EventKind};

const SERVICE_NAME: &str = "/metadata/labels/kubernetes.io~1service-name";

/// Namespace, key and value of a label.
type Label = (String, String, String);

/// Names of objects by something that leads to them.
#[derive(Debug)]
struct Names<K>(BTreeMap<K, BTreeSet<String>>);

/// The endpoints controller's view of who belongs to whom.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Slices by the service that they are of.
    slices: Names<ServiceName>,
    /// Services by one label of their selector.
    selecting: Names<Label>,
    /// Pods by each of their labels.
    labelled: Names<Label>,
}

impl<K> Default for Names<K> {
    fn default() -> Names<K> {
        Names(BTreeMap::new())
    }
}

impl<K: Ord> Names<K> {
    fn set(&mut self, key: K, name: &str, present: bool) {
        if present {
            self.0.entry(key).or_default().insert(name.to_owned());
        } else if let Some(names) = self.0.get_mut(&key) {
            names.remove(name);
            if names.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    fn of(&self, key: &K) -> impl Iterator<Item = &String> {
        self.0.get(key).into_iter().flatten()
    }
}

impl Index {
    pub(super) fn of(objects: &Objects) -> Index {
        let mut index = Index::default();
        for resource in ["services", "pods", SLICES] {
            for object in objects.list(resource, None) {
                index.set(resource, object, true);
            }
        }
        index
    }

    pub(super) fn track(&mut self, event: &Event) {
        if let Some(before) = &event.before {
            self.set(&event.resource, before, false);
        }
        if event.kind != EventKind::Deleted {
            self.set(&event.resource, &event.object, true);
        }
    }

    fn set(&mut self, resource: &str, object: &Object, present: bool) {
        match resource {
            "services" => {
                if let Some(label) = labels(object, "/spec/selector").next() {
                    self.selecting.set(label, object.name(), present);
                }
            }
            "pods" => {
                for label in labels(object, "/metadata/labels") {
                    self.labelled.set(label, object.name(), present);
                }
            }
            SLICES => {
                if let Some(service) = slice_service(object) {
                    self.slices.set(service, object.name(), present);
                }
            }
            _ => {}
        }
    }

    /// The slices of a service.
    pub(super) fn slices_of(&self, service: &ServiceName) -> impl Iterator<Item = &String> {
        self.slices.of(service)
    }

    /// Pods that a service may select: they have one label of its selector.
    pub(super) fn pods_of(&self, service: &Object) -> Vec<String> {
        let label = labels(service, "/spec/selector").next();
        let pods = label.iter().flat_map(|label| self.labelled.of(label));
        pods.cloned().collect()
    }

    /// Services that may select a pod.
    pub(super) fn services_of(&self, pod: &Object) -> BTreeSet<String> {
        labels(pod, "/metadata/labels")
            .flat_map(|label| self.selecting.of(&label).cloned().collect::<Vec<_>>())
            .collect()
    }
}

fn labels<'o>(object: &'o Object, pointer: &str) -> impl Iterator<Item = Label> + use<'o> {
    let labels = object.value().pointer(pointer).and_then(Value::as_object);
    let namespace = object.namespace();
    labels.into_iter().flatten().map(move |(key, value)| {
        let value = value.as_str().unwrap_or_default();
        (namespace.to_owned(), key.clone(), value.to_owned())
    })
}

/// The service that a slice is of.
pub(super) fn slice_service(slice: &Object) -> Option<ServiceName> {
    let name = slice.value().pointer(SERVICE_NAME)?.as_str()?;
    Some((slice.namespace().to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Index;
    use crate::store::Object;

    fn object(name: &str, labels: &Value, selector: &Value) -> Object {
        let metadata = json!({ "namespace": "a", "name": name, "labels": labels });
        Object::stamped(
            json!({ "metadata": metadata, "spec": { "selector": selector } }),
            1,
        )
    }

    #[test]
    fn only_possible_pairs_are_looked_at() {
        let mut index = Index::default();
        let none = json!({});
        let web = object("web", &none, &json!({ "app": "web", "tier": "front" }));
        let db = object("db", &none, &json!({ "app": "db" }));
        let manual = object("manual", &none, &Value::Null);
        for service in [&web, &db, &manual] {
            index.set("services", service, true);
        }
        let front = object("front", &json!({ "app": "web", "tier": "front" }), &none);
        let back = object("back", &json!({ "app": "web", "tier": "back" }), &none);
        let bare = object("bare", &Value::Null, &none);
        for pod in [&front, &back, &bare] {
            index.set("pods", pod, true);
        }
        let services = |index: &Index, pod| Vec::from_iter(index.services_of(pod));
        assert_eq!(services(&index, &front), ["web"]);
        assert_eq!(services(&index, &bare), [""; 0]);
        assert_eq!(
            index.pods_of(&web),
            ["back", "front"],
            "candidates: app=web"
        );
        assert_eq!(index.pods_of(&manual), [""; 0]);
        index.set("pods", &front, false);
        index.set("services", &web, false);
        assert_eq!(index.pods_of(&web), ["back"]);
        assert_eq!(services(&index, &front), [""; 0]);
    }
}
