//! A cluster of values: what controllers write is admitted as the server admits
//! it, and pods get on when the test says so.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::clock;
use crate::controllers::{Plan, Write};
use crate::kinds::{Kind, Part, known};

pub(super) struct World {
    /// By kind and name.
    objects: BTreeMap<(String, String), Value>,
    version: u64,
    pub(super) now: Timestamp,
    /// When a controller wants to look again.
    pub(super) again: Option<SignedDuration>,
}

impl World {
    pub(super) fn new() -> World {
        World {
            objects: BTreeMap::new(),
            version: 0,
            now: "2026-11-20T10:00:00Z".parse().unwrap(),
            again: None,
        }
    }

    pub(super) fn pass(&mut self, seconds: i64) {
        self.now = self
            .now
            .saturating_add(SignedDuration::from_secs(seconds))
            .unwrap();
    }

    /// Creates what a user writes.
    pub(super) fn create(&mut self, api_version: &str, kind: &str, name: &str, spec: &Value) {
        let object = json!({ "metadata": { "name": name }, "spec": spec });
        self.admit(known(api_version, kind), object);
    }

    fn admit(&mut self, kind: &Kind, object: Value) {
        self.version += 1;
        let mut object = kind.decode_value(object).unwrap().object;
        let metadata = &mut object["metadata"];
        if metadata["name"].is_null() {
            let start = metadata["generateName"].as_str().unwrap();
            metadata["name"] = format!("{start}{:05}", self.version).into();
        }
        if kind.namespaced {
            metadata["namespace"] = "a".into();
        }
        metadata["uid"] = format!("uid-{}", self.version).into();
        metadata["resourceVersion"] = self.version.to_string().into();
        metadata["creationTimestamp"] = clock::text(self.now).into();
        let object = kind.admit_create(object).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let before = self
            .objects
            .insert((kind.kind.clone(), name.clone()), object);
        assert!(before.is_none(), "{} {name} exists", kind.kind);
    }

    fn update(&mut self, kind: &Kind, object: Value, part: Part) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let key = (kind.kind.clone(), name);
        let old = self.objects[&key].clone();
        let given = &object["metadata"]["resourceVersion"];
        assert!(
            given.is_null() || *given == old["metadata"]["resourceVersion"],
            "{key:?} is stale"
        );
        let decoded = kind.decode_value(object).unwrap().object;
        let mut new = kind.admit_update(decoded, &old, part).unwrap();
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        if new != old {
            self.version += 1;
            new["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.objects.insert(key.clone(), new);
        }
        self.finish(&key);
    }

    /// Removes what is deleted and kept by nothing any more.
    fn finish(&mut self, key: &(String, String)) {
        let metadata = &self.objects[key]["metadata"];
        let kept = metadata["finalizers"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        if !metadata["deletionTimestamp"].is_null() && !kept {
            self.objects.remove(key);
        }
    }

    /// Changes an object as a user does.
    pub(super) fn edit(&mut self, kind: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.objects[&(kind.to_owned(), name.to_owned())].clone();
        change(&mut object);
        let generation = object["metadata"]["generation"].as_i64().unwrap_or(1);
        object["metadata"]["generation"] = (generation + 1).into();
        object["metadata"]["resourceVersion"].take();
        let kind = crate::kinds::builtin()
            .iter()
            .find(|known| known.kind == kind)
            .unwrap();
        self.update(kind, object, Part::Object);
    }

    /// Changes an object as only the server can.
    pub(super) fn touch(&mut self, kind: &str, name: &str, change: impl FnOnce(&mut Value)) {
        self.version += 1;
        let key = (kind.to_owned(), name.to_owned());
        let object = self.objects.get_mut(&key).unwrap();
        change(object);
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.finish(&key);
    }

    /// Does what a controller wants; whether it wanted anything.
    pub(super) fn apply(&mut self, plan: Plan) -> bool {
        let some = !plan.writes.is_empty();
        self.again = plan.again;
        for write in plan.writes {
            match write {
                Write::Create(kind, object) => self.admit(&kind, object),
                Write::Update(kind, object) => self.update(&kind, object, Part::Object),
                Write::Status(kind, object) => self.update(&kind, object, Part::Status),
                Write::Delete(kind, name) => self.delete(&kind.kind, &name),
            }
        }
        some
    }

    pub(super) fn delete(&mut self, kind: &str, name: &str) {
        let now = clock::text(self.now);
        self.touch(kind, name, |object| {
            object["metadata"]["deletionTimestamp"] = now.into();
        });
    }

    pub(super) fn all<T: DeserializeOwned>(&self, kind: &str) -> Vec<T> {
        self.values(kind)
            .map(|value| T::deserialize(value).unwrap())
            .collect()
    }

    pub(super) fn values(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects
            .iter()
            .filter(move |((of, _), _)| of == kind)
            .map(|(_, value)| value)
    }

    pub(super) fn one<T: DeserializeOwned>(&self, kind: &str, name: &str) -> T {
        T::deserialize(&self.objects[&(kind.to_owned(), name.to_owned())]).unwrap()
    }

    pub(super) fn names(&self, kind: &str) -> Vec<String> {
        let names = self.objects.keys().filter(|(of, _)| of == kind);
        names.map(|(_, name)| name.clone()).collect()
    }

    /// The pod runs and is ready, or whatever `phase` says.
    pub(super) fn becomes(&mut self, pod: &str, phase: &str) {
        let now = clock::text(self.now);
        let ready = if phase == "Running" { "True" } else { "False" };
        self.touch("Pod", pod, |pod| {
            pod["status"] = json!({
                "phase": phase,
                "conditions": [{ "type": "Ready", "status": ready, "lastTransitionTime": now }],
            });
            if matches!(phase, "Failed" | "Succeeded") {
                let ended = json!({ "terminated": { "exitCode": 1, "finishedAt": now } });
                pod["status"]["containerStatuses"] = json!([{
                    "name": "c", "image": "x", "imageID": "", "ready": false,
                    "restartCount": 0, "state": ended,
                }]);
            }
        });
    }
}

/// A template with one container of an image.
pub(super) fn template(image: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "c", "image": image }] },
    })
}

pub(super) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|list| {
        list.iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True")
    })
}
