//! The watch of a whole API server, over HTTP.

use podway_model::{Change, ObjectKind};
use podway_watch::client::{self, Notice, WatchScope};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::scripted_server::{CUSTOM, ScriptedServer};

/// A server and what the watch of it told so far.
struct Watched {
    server: ScriptedServer,
    told: mpsc::UnboundedReceiver<Notice>,
}

impl Watched {
    async fn start(services: Value) -> Self {
        let server = ScriptedServer::start().await;
        server.set("services", services).await;
        Self::on(server).await
    }

    async fn on(server: ScriptedServer) -> Self {
        let client = server.client().await;
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(client::watch(
            client,
            WatchScope::everything(),
            move |notice| {
                let _ = tell.send(notice);
            },
        ));
        Self { server, told }
    }

    /// What was told, up to and with the first notice that is meant.
    async fn until(&mut self, is_meant: impl Fn(&Notice) -> bool) -> Vec<String> {
        let mut notices = Vec::new();
        loop {
            let notice = self.told.recv().await.expect("the watch goes on");
            let is_last = is_meant(&notice);
            notices.push(print(&notice));
            if is_last {
                return notices;
            }
        }
    }
}

fn print(notice: &Notice) -> String {
    match notice {
        Notice::Change(Change::Upsert(object)) => {
            format!("upsert {} at {}", object.reference(), object.revision())
        }
        Notice::Change(Change::Delete(object)) => format!("delete {object}"),
        Notice::Change(Change::Seen(kind, revision)) => format!("seen {kind:?} {revision}"),
        Notice::Change(Change::Replace(kind, objects)) => {
            let names: Vec<String> = objects.iter().map(|o| o.reference().to_string()).collect();
            format!("replace {kind:?} by {names:?}")
        }
        Notice::Faults(object, faults) => format!("faults of {object}: {}", faults.len()),
        Notice::Synced => "synced".to_owned(),
        Notice::Lost(kind, _) => format!("lost {kind:?}"),
        Notice::Regained(kind) => format!("regained {kind:?}"),
    }
}

fn service(name: &str, version: u32) -> Value {
    let metadata = json!({
        "name": name, "namespace": "x", "resourceVersion": version.to_string(),
    });
    json!({
        "kind": "Service", "apiVersion": "v1", "metadata": metadata,
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
    })
}

fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}

fn is_service_change(notice: &Notice) -> bool {
    matches!(notice, Notice::Change(_)) && print(notice).contains("Service")
}

#[tokio::test]
async fn every_kind_is_listed_and_then_watched() {
    let mut broken = service("broken", 3);
    broken["spec"]["ports"] = json!("none");
    let mut watched = Watched::start(json!([service("a", 2), broken])).await;
    let mut told = watched.until(|notice| *notice == Notice::Synced).await;
    assert_eq!(told.pop().as_deref(), Some("synced"));
    told.sort();
    assert_eq!(
        told,
        [
            "faults of Service x/broken: 1",
            "replace EndpointSlice by []",
            "replace Namespace by []",
            "replace NetworkPolicy by []",
            "replace Node by []",
            "replace Pod by []",
            "replace Service by [\"Service x/a\"]",
            "seen Service 3",
        ]
    );

    watched
        .server
        .say("services", &event("ADDED", &service("b", 6)))
        .await;
    watched
        .server
        .say("services", &event("DELETED", &service("a", 7)))
        .await;
    assert_eq!(
        watched.until(is_service_change).await,
        ["upsert Service x/b at 6"]
    );
    assert_eq!(
        watched.until(is_service_change).await,
        ["delete Service x/a"]
    );
}

#[tokio::test]
async fn a_custom_resource_is_followed_where_it_is_served() {
    let server = ScriptedServer::start().await;
    let metadata = json!({"name": "first", "resourceVersion": "4"});
    let spec = json!({"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}});
    let policy = json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
        "metadata": metadata, "spec": spec, "status": {"conditions": []},
    });
    server.set(CUSTOM, json!([policy])).await;
    let mut watched = Watched::on(server).await;
    let told = watched.until(|notice| *notice == Notice::Synced).await;
    let listed = "replace ClusterNetworkPolicy by [\"ClusterNetworkPolicy first\"]";
    assert!(told.iter().any(|line| line == listed), "{told:?}");
    watched.server.say(CUSTOM, &event("DELETED", &policy)).await;
    let told = watched
        .until(|notice| matches!(notice, Notice::Change(Change::Delete(_))))
        .await;
    assert_eq!(told.last().unwrap(), "delete ClusterNetworkPolicy first");
}

#[tokio::test]
async fn a_watch_that_ends_goes_on_where_it_was() {
    let mut watched = Watched::start(json!([service("a", 2)])).await;
    watched.until(|notice| *notice == Notice::Synced).await;
    let bookmark = json!({
        "kind": "Service", "apiVersion": "v1", "metadata": {"resourceVersion": "42"}, "spec": {},
    });
    watched
        .server
        .say("services", &event("BOOKMARK", &bookmark))
        .await;
    watched
        .server
        .say("services", &event("MODIFIED", &service("a", 43)))
        .await;
    watched.until(is_service_change).await;
    watched.server.hang_up("services").await;
    watched
        .server
        .say("services", &event("MODIFIED", &service("a", 44)))
        .await;
    assert_eq!(
        watched.until(is_service_change).await.last().unwrap(),
        "upsert Service x/a at 44"
    );
    assert_eq!(
        watched.server.requests("services").await,
        [
            "list services",
            "watch services from 5",
            "watch services from 43"
        ]
    );
}

#[tokio::test]
async fn a_watch_that_has_begun_again_is_regained_without_an_event() {
    let mut watched = Watched::start(json!([])).await;
    watched.until(|notice| *notice == Notice::Synced).await;
    watched.server.refuse("services", 403).await;
    watched.server.hang_up("services").await;
    let is_regained = |notice: &Notice| *notice == Notice::Regained(ObjectKind::Service);
    assert_eq!(
        watched.until(is_regained).await,
        ["lost Service", "regained Service"]
    );
}

#[tokio::test]
async fn a_version_that_is_gone_leads_to_a_new_list() {
    let mut watched = Watched::start(json!([service("a", 2)])).await;
    watched.until(|notice| *notice == Notice::Synced).await;
    watched
        .server
        .set("services", json!([service("b", 90)]))
        .await;
    let gone = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired",
        "code": 410, "message": "too old resource version",
    });
    watched.server.say("services", &event("ERROR", &gone)).await;
    assert_eq!(
        watched.until(is_service_change).await,
        [
            "lost Service",
            "regained Service",
            "replace Service by [\"Service x/b\"]",
        ]
    );
    let requests = watched.server.requests("services").await;
    assert_eq!(
        requests[..3],
        ["list services", "watch services from 5", "list services"]
    );
}

#[tokio::test]
async fn a_version_that_is_gone_before_the_watch_begins_leads_to_a_new_list_too() {
    let mut watched = Watched::start(json!([service("a", 2)])).await;
    watched.until(|notice| *notice == Notice::Synced).await;
    watched
        .server
        .say("services", &event("MODIFIED", &service("a", 8)))
        .await;
    watched.until(is_service_change).await;
    watched
        .server
        .set("services", json!([service("b", 90)]))
        .await;
    watched.server.refuse("services", 410).await;
    watched.server.hang_up("services").await;
    assert_eq!(
        watched.until(is_service_change).await,
        [
            "lost Service",
            "regained Service",
            "replace Service by [\"Service x/b\"]",
        ]
    );
    let requests = watched.server.requests("services").await;
    assert_eq!(requests[2..4], ["watch services from 8", "list services"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_as_lost() {
    let client = {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        // Port 1 of loopback: nobody listens.
        let text = "{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: \"http://127.0.0.1:1\"}}], users: [{name: u, user: {}}], contexts: [{name: c, context: {cluster: c, user: u}}]}";
        std::fs::write(&path, text).unwrap();
        client::connect(Some(&path)).await.unwrap()
    };
    let (tell, mut told) = mpsc::unbounded_channel();
    tokio::spawn(client::watch(
        client,
        WatchScope::everything(),
        move |notice| {
            let _ = tell.send(notice);
        },
    ));
    let mut lost = std::collections::BTreeSet::new();
    while lost.len() < ObjectKind::ALL.len() {
        match told.recv().await.unwrap() {
            Notice::Lost(kind, cause) => {
                assert!(cause.contains("refused"), "{cause}");
                lost.insert(kind);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    for text in [
        None,
        Some("nonsense: ["),
        Some("{apiVersion: v1, kind: Config}"),
    ] {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let error = client::connect(Some(&path)).await.err().unwrap();
        let expected = format!("read kubeconfig {}", path.display());
        assert!(
            error.to_string().starts_with(&expected),
            "{text:?}: {error}"
        );
    }
}
