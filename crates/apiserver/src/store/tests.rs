use std::sync::Arc;

use serde_json::{Value, json};

use super::Store;
use crate::status::Status;

fn object(namespace: &str, name: &str, data: &str) -> Value {
    json!({ "metadata": { "namespace": namespace, "name": name }, "data": data })
}

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path(), 100).unwrap()
}

async fn put(store: &Store, namespace: &str, name: &str, data: &str) -> u64 {
    let value = object(namespace, name, data);
    let stored = store
        .write(move |tx| Ok(tx.put("configmaps", value)))
        .await
        .unwrap();
    stored.revision()
}

fn names(store: &Store, namespace: Option<&str>) -> Vec<String> {
    let objects = store.read();
    let listed = objects.list("configmaps", namespace);
    listed
        .map(|object| format!("{}/{}", object.namespace(), object.name()))
        .collect()
}

#[tokio::test]
async fn lists_are_ordered_by_namespace_and_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for (namespace, name) in [("b", "a"), ("a", "z"), ("a-b", "c"), ("a", "b")] {
        put(&store, namespace, name, "").await;
    }
    assert_eq!(names(&store, None), ["a/b", "a/z", "a-b/c", "b/a"]);
    assert_eq!(names(&store, Some("a")), ["a/b", "a/z"]);
    assert_eq!(names(&store, Some("c")), [""; 0]);
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    put(&store, "a", "kept", "1").await;
    put(&store, "a", "gone", "1").await;
    let last = put(&store, "a", "kept", "2").await;
    let removed = store
        .write(|tx| Ok(tx.remove("configmaps", "a", "gone")))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(removed.revision(), last + 1);
    drop(store);
    let store = open(&dir);
    assert_eq!(names(&store, None), ["a/kept"]);
    let objects = store.read();
    assert_eq!(objects.revision(), last + 1);
    let kept = objects.find("configmaps", "a", "kept").unwrap();
    assert_eq!(kept.value()["data"], "2");
    assert_eq!(kept.revision(), last);
}

#[tokio::test]
async fn two_servers_cannot_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(&dir);
    let message = Store::open(dir.path(), 100)
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(message.contains("another API server"), "{message}");
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("objects.redb");
    std::fs::write(&path, "not a database").unwrap();
    let message = Store::open(dir.path(), 100)
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(message.contains("objects.redb"), "{message}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "not a database");
}

#[tokio::test]
async fn a_refused_write_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let before = put(&store, "a", "x", "1").await;
    let refused: Result<(), Status> = store
        .write(|tx| {
            tx.put("configmaps", object("a", "x", "2"));
            tx.put("configmaps", object("a", "y", "2"));
            tx.remove("configmaps", "a", "x");
            Err(Status::bad_request("no"))
        })
        .await;
    assert_eq!(refused, Err(Status::bad_request("no")));
    let panicked: Result<(), Status> = store
        .write(|tx| {
            tx.put("configmaps", object("a", "y", "3"));
            panic!("as a defect would")
        })
        .await;
    assert_eq!(panicked.unwrap_err().code, 500);
    let dry = store
        .write(|tx| {
            tx.discard();
            Ok(tx.put("configmaps", object("a", "y", "4")))
        })
        .await
        .unwrap();
    assert_eq!(
        dry.metadata("resourceVersion"),
        "",
        "a dry run gives no revision"
    );
    assert_eq!(names(&store, None), ["a/x"]);
    assert_eq!(store.read().revision(), before);
    let next = put(&store, "a", "y", "5").await;
    assert_eq!(next, before + 1);
}

#[tokio::test]
async fn the_state_of_a_past_revision_can_be_listed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    put(&store, "a", "x", "1").await;
    put(&store, "b", "y", "1").await;
    let then = put(&store, "a", "z", "1").await;
    put(&store, "a", "x", "2").await;
    put(&store, "a", "new", "1").await;
    store
        .write(|tx| Ok(tx.remove("configmaps", "a", "z")))
        .await
        .unwrap();
    let listed = |namespace| -> Vec<(String, Value)> {
        let objects = store.list_at("configmaps", namespace, then).unwrap();
        let pair = |object: &Arc<super::Object>| {
            (object.name().to_owned(), object.value()["data"].clone())
        };
        objects.iter().map(pair).collect()
    };
    let one = |name: &str| (name.to_owned(), json!("1"));
    assert_eq!(listed(Some("a")), [one("x"), one("z")]);
    assert_eq!(listed(None), [one("x"), one("z"), one("y")]);
}
