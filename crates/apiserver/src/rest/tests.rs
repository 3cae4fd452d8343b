use std::sync::Arc;

use serde_json::{Value, json};

use super::{Change, Content, DeleteOptions, Deleted, Propagation, Registry, Target};
use crate::kinds::{Part, builtin};
use crate::patch::PatchType;
use crate::server::Settings;
use crate::status::Status;
use crate::store::{Store, Transaction};

struct Cluster {
    registry: Registry,
    dir: tempfile::TempDir,
}

fn settings(dir: &std::path::Path) -> Settings {
    Settings {
        data_dir: dir.to_owned(),
        service_prefixes: vec![
            "10.96.0.0/29".parse().unwrap(),
            "fd00:10:96::/120".parse().unwrap(),
        ],
        node_ports: 30000..=30001,
        advertise: Vec::new(),
        server_names: Vec::new(),
        kubelet: Arc::new(|_| None),
    }
}

fn target(kind: &str, namespace: &str, name: &str) -> Target {
    let kind = builtin().iter().find(|known| known.kind == kind).unwrap();
    Target {
        kind: Arc::clone(kind),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

impl Cluster {
    async fn new() -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 100).unwrap();
        let registry = Registry::open(store, &settings(dir.path())).unwrap();
        let cluster = Cluster { registry, dir };
        cluster
            .create("Namespace", "", json!({ "metadata": { "name": "a" } }))
            .await
            .unwrap();
        cluster
    }

    async fn create(&self, kind: &str, namespace: &str, object: Value) -> Result<Value, Status> {
        let target = target(kind, namespace, "");
        let object = target.kind.decode_value(object)?.object;
        let created = self.registry.create(target, object, None, false).await?;
        Ok(created.value().clone())
    }

    async fn merge(
        &self,
        kind: &str,
        name: &str,
        part: Part,
        patch: Value,
    ) -> Result<Value, Status> {
        let content = Content::Patch(PatchType::Merge, patch.to_string().into());
        let change = Change {
            content,
            part,
            strict: false,
            author: None,
        };
        let target = target(kind, if kind == "Namespace" { "" } else { "a" }, name);
        Ok(self
            .registry
            .update(target, change, false)
            .await?
            .0
            .value()
            .clone())
    }

    async fn delete(&self, kind: &str, name: &str, grace: Option<i64>) -> Result<Deleted, Status> {
        let options = DeleteOptions {
            grace,
            ..DeleteOptions::default()
        };
        let namespace = if matches!(kind, "Namespace" | "Node") {
            ""
        } else {
            "a"
        };
        self.registry
            .delete(target(kind, namespace, name), options, false)
            .await
    }

    fn find(&self, kind: &str, name: &str) -> Option<Value> {
        let namespace = if kind == "Namespace" { "" } else { "a" };
        let resource = target(kind, namespace, name).resource();
        let objects = self.registry.store().read();
        objects
            .find(&resource, namespace, name)
            .map(|object| object.value().clone())
    }
}

fn pod(name: &str, node: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "nodeName": node, "containers": [{ "name": "c", "image": "podway/toolbox" }] },
    })
}

fn service(name: &str, kind: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "type": kind, "ports": [{ "port": 80 }] } })
}

#[tokio::test]
async fn a_new_object_gets_what_only_the_server_knows() {
    let cluster = Cluster::new().await;
    let map = json!({ "metadata": { "generateName": "cm-", "uid": "mine", "generation": 7 } });
    let created = cluster.create("ConfigMap", "a", map).await.unwrap();
    let metadata = &created["metadata"];
    let name = metadata["name"].as_str().unwrap();
    assert_eq!((name.len(), &name[..3]), (8, "cm-"), "{created}");
    assert_eq!(metadata["namespace"], "a");
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36, "{created}");
    assert!(
        metadata["creationTimestamp"]
            .as_str()
            .unwrap()
            .ends_with('Z'),
        "{created}"
    );
    assert_eq!(metadata.get("generation"), None, "{created}");
}

#[tokio::test]
async fn what_cannot_be_created_is_refused_in_kubernetes_words() {
    let cluster = Cluster::new().await;
    let map = |name: &str| json!({ "metadata": { "name": name } });
    cluster.create("ConfigMap", "a", map("x")).await.unwrap();
    let cases = [
        ("a", map("x"), 409, "configmaps \"x\" already exists"),
        ("b", map("x"), 404, "namespaces \"b\" not found"),
        (
            "a",
            json!({ "metadata": { "name": "y", "namespace": "b" } }),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            "a",
            json!({ "metadata": { "name": "y", "resourceVersion": "1" } }),
            400,
            "resourceVersion should not be set on objects to be created",
        ),
    ];
    for (namespace, object, code, message) in cases {
        let refused = cluster
            .create("ConfigMap", namespace, object.clone())
            .await
            .unwrap_err();
        assert_eq!(
            (refused.code, refused.message.as_str()),
            (code, message),
            "{object}"
        );
    }
}

#[tokio::test]
async fn a_stale_update_conflicts_and_an_equal_one_writes_nothing() {
    let cluster = Cluster::new().await;
    let map = json!({ "metadata": { "name": "x" }, "data": { "k": "1" } });
    let first = cluster.create("ConfigMap", "a", map).await.unwrap();
    let same = cluster
        .merge(
            "ConfigMap",
            "x",
            Part::Object,
            json!({ "data": { "k": "1" } }),
        )
        .await;
    assert_eq!(same.unwrap(), first);
    let second = json!({ "data": { "k": "2" } });
    cluster
        .merge("ConfigMap", "x", Part::Object, second)
        .await
        .unwrap();
    let change = Change {
        content: Content::Object(first),
        part: Part::Object,
        strict: false,
        author: None,
    };
    let stale = cluster
        .registry
        .update(target("ConfigMap", "a", "x"), change, false)
        .await;
    let stale = stale.unwrap_err();
    assert_eq!((stale.code, stale.reason), (409, "Conflict"));
    assert_eq!(cluster.find("ConfigMap", "x").unwrap()["data"]["k"], "2");
}

#[tokio::test]
async fn status_and_the_rest_do_not_touch_each_other() {
    let cluster = Cluster::new().await;
    cluster.create("Pod", "a", pod("x", "")).await.unwrap();
    let both = json!({ "status": { "phase": "Running" }, "spec": { "activeDeadlineSeconds": 5 } });
    let status = cluster.merge("Pod", "x", Part::Status, both).await.unwrap();
    assert_eq!(status["status"]["phase"], "Running");
    assert_eq!(
        status["spec"].get("activeDeadlineSeconds"),
        None,
        "{status}"
    );
    let both = json!({ "status": { "phase": "Failed" }, "metadata": { "labels": { "a": "b" } } });
    let object = cluster.merge("Pod", "x", Part::Object, both).await.unwrap();
    assert_eq!(object["status"]["phase"], "Running");
    assert_eq!(object["metadata"]["labels"]["a"], "b");
}

#[tokio::test]
async fn a_pod_on_a_node_waits_for_its_kubelet() {
    let cluster = Cluster::new().await;
    cluster
        .create("Node", "", json!({ "metadata": { "name": "n1" } }))
        .await
        .unwrap();
    for (name, node) in [("free", ""), ("lost", "n2"), ("bound", "n1")] {
        cluster.create("Pod", "a", pod(name, node)).await.unwrap();
    }
    for name in ["free", "lost"] {
        let deleted = cluster.delete("Pod", name, None).await.unwrap();
        assert!(
            matches!(deleted, Deleted::Removed(_)),
            "{name}: {deleted:?}"
        );
    }
    let Deleted::Marked(marked) = cluster.delete("Pod", "bound", None).await.unwrap() else {
        panic!("a pod on a living node was removed at once")
    };
    assert_eq!(marked.value()["metadata"]["deletionGracePeriodSeconds"], 30);
    let again = cluster.delete("Pod", "bound", Some(60)).await.unwrap();
    let Deleted::Marked(again) = again else {
        panic!("{again:?}")
    };
    assert_eq!(
        again.revision(),
        marked.revision(),
        "a longer period changes nothing"
    );
    let Deleted::Removed(_) = cluster.delete("Pod", "bound", Some(0)).await.unwrap() else {
        panic!("the kubelet's own delete did not remove the pod")
    };
    assert_eq!(cluster.find("Pod", "bound"), None);
}

#[tokio::test]
async fn finalizers_keep_an_object_until_they_are_gone() {
    let cluster = Cluster::new().await;
    let map = json!({ "metadata": { "name": "x", "finalizers": ["podway.dev/test"] } });
    cluster.create("ConfigMap", "a", map).await.unwrap();
    let deleted = cluster.delete("ConfigMap", "x", None).await.unwrap();
    assert!(matches!(deleted, Deleted::Marked(_)), "{deleted:?}");
    let none = json!({ "metadata": { "finalizers": null } });
    cluster
        .merge("ConfigMap", "x", Part::Object, none)
        .await
        .unwrap();
    assert_eq!(cluster.find("ConfigMap", "x"), None);
}

#[tokio::test]
async fn a_namespace_goes_with_its_content() {
    let cluster = Cluster::new().await;
    cluster
        .create("Node", "", json!({ "metadata": { "name": "n1" } }))
        .await
        .unwrap();
    cluster
        .create("Pod", "a", pod("bound", "n1"))
        .await
        .unwrap();
    cluster
        .create("Service", "a", service("s", "ClusterIP"))
        .await
        .unwrap();
    cluster.delete("Namespace", "a", None).await.unwrap();
    let refused = cluster
        .create("Service", "a", service("t", "ClusterIP"))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code, refused.details.causes[0].reason),
        (403, "NamespaceTerminating")
    );
    cluster
        .registry
        .empty_namespace("a".to_owned())
        .await
        .unwrap();
    assert_eq!(cluster.find("Service", "s"), None);
    let waiting = cluster.find("Namespace", "a").unwrap();
    assert_eq!(
        waiting["status"]["phase"], "Terminating",
        "the pod is still there"
    );
    cluster.delete("Pod", "bound", Some(0)).await.unwrap();
    assert_eq!(cluster.find("Namespace", "a"), None);
}

#[tokio::test]
async fn addresses_and_ports_are_given_once_and_given_back() {
    let cluster = Cluster::new().await;
    let create = |name: &'static str| cluster.create("Service", "a", service(name, "NodePort"));
    let port = |service: &Value| service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    let (first, second) = (create("s1").await.unwrap(), create("s2").await.unwrap());
    assert_ne!(port(&first), port(&second));
    assert_ne!(first["spec"]["clusterIP"], second["spec"]["clusterIP"]);
    let full = create("s3").await.unwrap_err();
    assert!(full.code >= 422, "{full}");
    assert_eq!(cluster.find("Service", "s3"), None);
    cluster.delete("Service", "s1", None).await.unwrap();
    let dry = target("Service", "a", "");
    let object = dry
        .kind
        .decode_value(service("s4", "NodePort"))
        .unwrap()
        .object;
    cluster
        .registry
        .create(dry, object, None, true)
        .await
        .unwrap();
    let third = create("s5").await.unwrap();
    assert_eq!(port(&third), port(&first), "a dry run holds no port");
}

#[tokio::test]
async fn what_services_hold_is_known_after_a_restart() {
    let cluster = Cluster::new().await;
    let first = cluster
        .create("Service", "a", service("s1", "NodePort"))
        .await
        .unwrap();
    let Cluster { registry, dir } = cluster;
    drop(registry);
    let store = Store::open(dir.path(), 100).unwrap();
    let registry = Registry::open(store, &settings(dir.path())).unwrap();
    let cluster = Cluster { registry, dir };
    let mut taken = service("s2", "NodePort");
    taken["spec"]["ports"][0]["nodePort"] = first["spec"]["ports"][0]["nodePort"].clone();
    let refused = cluster.create("Service", "a", taken).await.unwrap_err();
    assert_eq!(refused.code, 422, "{refused}");
    assert!(
        refused
            .message
            .contains("provided port is already allocated"),
        "{refused}"
    );
}

#[tokio::test]
async fn binding_gives_a_pod_to_one_node_once() {
    let cluster = Cluster::new().await;
    cluster.create("Pod", "a", pod("x", "")).await.unwrap();
    let bind = |node: &str| {
        let binding =
            json!({ "metadata": { "name": "x" }, "target": { "kind": "Node", "name": node } });
        cluster
            .registry
            .bind(target("Pod", "a", "x"), binding, false)
    };
    bind("n1").await.unwrap();
    let bound = cluster.find("Pod", "x").unwrap();
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(
        bound["status"]["conditions"][0]["type"], "PodScheduled",
        "{bound}"
    );
    assert_eq!(bind("n2").await.unwrap_err().code, 409);
}

fn deployment(replicas: u32) -> Value {
    let labels = json!({ "app": "web" });
    let containers = json!([{ "name": "c", "image": "podway/toolbox" }]);
    json!({
        "metadata": { "name": "web" },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": containers } },
        },
    })
}

#[tokio::test]
async fn a_scale_is_a_view_of_its_object() {
    let cluster = Cluster::new().await;
    let created = cluster
        .create("Deployment", "a", deployment(1))
        .await
        .unwrap();
    assert_eq!(created["metadata"]["generation"], 1);
    let scale = |patch: Value| {
        let content = Content::Patch(PatchType::Merge, patch.to_string().into());
        let change = Change {
            content,
            part: Part::Object,
            strict: false,
            author: None,
        };
        cluster
            .registry
            .scale(target("Deployment", "a", "web"), change, false)
    };
    let (scaled, _) = scale(json!({ "spec": { "replicas": 3 } })).await.unwrap();
    let now = cluster.find("Deployment", "web").unwrap();
    let expected = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "spec": { "replicas": 3 },
        "status": { "replicas": 0, "selector": "app=web" },
        "metadata": {
            "name": "web", "namespace": "a", "uid": created["metadata"]["uid"],
            "resourceVersion": now["metadata"]["resourceVersion"],
            "creationTimestamp": created["metadata"]["creationTimestamp"],
        },
    });
    assert_eq!(scaled, expected);
    assert_eq!(now["spec"]["replicas"], 3);
    assert_eq!(now["metadata"]["generation"], 2);
    let stale = json!({ "metadata": { "resourceVersion": "1" }, "spec": { "replicas": 4 } });
    assert_eq!(scale(stale).await.unwrap_err().code, 409);
    let refused = scale(json!({ "spec": { "replicas": -1 } }))
        .await
        .unwrap_err();
    assert!(
        refused
            .message
            .contains("must be greater than or equal to 0"),
        "{refused}"
    );
}

/// An object with these owners: `(kind, name, uid, blocks)`.
fn owned(object: Value, owners: &[(&str, &Value, bool)]) -> Value {
    let mut object = object;
    let references = owners.iter().map(|(kind, owner, blocks)| {
        json!({
            "apiVersion": if *kind == "ConfigMap" { "v1" } else { "apps/v1" }, "kind": kind,
            "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": blocks,
        })
    });
    object["metadata"]["ownerReferences"] = references.collect();
    object
}

impl Cluster {
    async fn delete_with(&self, kind: &str, name: &str, propagation: Propagation) -> Deleted {
        let options = DeleteOptions {
            propagation: Some(propagation),
            ..DeleteOptions::default()
        };
        self.registry
            .delete(target(kind, "a", name), options, false)
            .await
            .unwrap()
    }

    async fn map(&self, name: &str, owners: &[(&str, &Value, bool)]) -> Value {
        let map = owned(json!({ "metadata": { "name": name } }), owners);
        self.create("ConfigMap", "a", map).await.unwrap()
    }
}

#[tokio::test]
async fn what_is_owned_goes_with_the_last_of_its_owners() {
    let cluster = Cluster::new().await;
    let (one, two) = (cluster.map("one", &[]).await, cluster.map("two", &[]).await);
    let owner = |owner| ("ConfigMap", owner, false);
    let both = cluster.map("both", &[owner(&one), owner(&two)]).await;
    cluster.map("child", &[owner(&both)]).await;
    cluster.delete("ConfigMap", "one", None).await.unwrap();
    let left = cluster.find("ConfigMap", "both").unwrap();
    let names: Vec<&Value> = left["metadata"]["ownerReferences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|owner| &owner["name"])
        .collect();
    assert_eq!(names, ["two"]);
    cluster.delete("ConfigMap", "two", None).await.unwrap();
    assert_eq!(cluster.find("ConfigMap", "both"), None);
    assert_eq!(cluster.find("ConfigMap", "child"), None);
    // An owner of the same name is another owner.
    let again = cluster.map("one", &[]).await;
    assert_ne!(again["metadata"]["uid"], one["metadata"]["uid"]);
    cluster.map("late", &[owner(&one)]).await;
    assert_eq!(
        cluster.find("ConfigMap", "late"),
        None,
        "made for what is gone"
    );
}

#[tokio::test]
async fn a_long_chain_of_owners_goes_as_a_whole() {
    for propagation in [Propagation::Background, Propagation::Foreground] {
        let cluster = Cluster::new().await;
        let put = |transaction: &mut Transaction<'_>| {
            for link in 0..5000 {
                let name = |link: i32| format!("link-{link}");
                let mut map = json!({ "metadata": { "namespace": "a", "name": name(link) } });
                map["metadata"]["uid"] = name(link).into();
                if link > 0 {
                    let before = json!({ "metadata": {
                        "name": name(link - 1), "uid": name(link - 1),
                    } });
                    map = owned(map, &[("ConfigMap", &before, true)]);
                }
                transaction.put("configmaps", map);
            }
            Ok(())
        };
        cluster.registry.store().write(put).await.unwrap();
        let deleted = cluster
            .delete_with("ConfigMap", "link-0", propagation)
            .await;
        assert!(matches!(deleted, Deleted::Removed(_)), "{deleted:?}");
        let objects = cluster.registry.store().read();
        assert_eq!(
            objects.list("configmaps", None).count(),
            0,
            "{propagation:?}"
        );
    }
}

#[tokio::test]
async fn orphans_stay_without_their_owner() {
    let cluster = Cluster::new().await;
    let one = cluster.map("one", &[]).await;
    cluster.map("child", &[("ConfigMap", &one, true)]).await;
    let deleted = cluster
        .delete_with("ConfigMap", "one", Propagation::Orphan)
        .await;
    assert!(matches!(deleted, Deleted::Removed(_)), "{deleted:?}");
    let child = cluster.find("ConfigMap", "child").unwrap();
    assert_eq!(child["metadata"].get("ownerReferences"), None, "{child}");
}

#[tokio::test]
async fn an_owner_waits_for_what_blocks_it() {
    let cluster = Cluster::new().await;
    let top = cluster.map("top", &[]).await;
    let middle = cluster.map("middle", &[("ConfigMap", &top, true)]).await;
    let mut held = owned(
        json!({ "metadata": { "name": "held" } }),
        &[("ConfigMap", &middle, true)],
    );
    held["metadata"]["finalizers"] = json!(["podway.dev/test"]);
    cluster.create("ConfigMap", "a", held).await.unwrap();
    cluster.map("free", &[("ConfigMap", &top, true)]).await;
    let deleted = cluster
        .delete_with("ConfigMap", "top", Propagation::Foreground)
        .await;
    assert!(matches!(deleted, Deleted::Marked(_)), "{deleted:?}");
    let waiting = |name| cluster.find("ConfigMap", name).unwrap()["metadata"]["finalizers"].clone();
    assert_eq!(waiting("top"), json!(["foregroundDeletion"]));
    assert_eq!(waiting("middle"), json!(["foregroundDeletion"]));
    assert_eq!(cluster.find("ConfigMap", "free"), None);
    let none = json!({ "metadata": { "finalizers": null } });
    cluster
        .merge("ConfigMap", "held", Part::Object, none)
        .await
        .unwrap();
    for name in ["held", "middle", "top"] {
        assert_eq!(cluster.find("ConfigMap", name), None, "{name}");
    }
}
