use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use podway_apiserver::User;
use serde_json::{Value, json};

use super::{Client, MAPS, with_server};
use crate::fixture::Server;

/// An open watch.
pub(crate) struct Watch {
    body: kube::client::Body,
    lines: Vec<u8>,
}

impl Watch {
    pub(crate) async fn open(client: &Client, url: &str) -> Watch {
        let response = client.send(Method::GET, url, &[], "").await;
        assert_eq!(response.status(), 200, "{url}");
        Watch {
            body: response.into_body(),
            lines: Vec::new(),
        }
    }

    /// The next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.lines.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.lines.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = self.body.frame().await?.unwrap();
            self.lines.extend_from_slice(frame.data_ref().unwrap());
        }
    }

    /// Type and name of the next events.
    async fn summaries(&mut self, count: usize) -> Vec<String> {
        let mut summaries = Vec::new();
        for _ in 0..count {
            let event = self.next().await.expect("another event");
            let name = event["object"]["metadata"]["name"]
                .as_str()
                .unwrap_or_default();
            summaries.push(format!("{} {name}", event["type"].as_str().unwrap()));
        }
        summaries
    }
}

pub(crate) fn revision(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str().unwrap();
    text.parse().unwrap()
}

#[test]
fn a_watch_begins_where_it_is_told() {
    with_server(|client| async move {
        let x = client.put("x", "1").await;
        client.put("y", "1").await;
        let mut state = Watch::open(&client, &format!("{MAPS}?watch=true")).await;
        assert_eq!(state.summaries(2).await, ["ADDED x", "ADDED y"]);
        let url = format!("{MAPS}?&watch=true&resourceVersion={}", revision(&x));
        let mut after = Watch::open(&client, &url).await;
        client.put("x", "2").await;
        client
            .ask(Method::DELETE, &format!("{MAPS}/y"), &Value::Null)
            .await;
        assert_eq!(
            after.summaries(3).await,
            ["ADDED y", "MODIFIED x", "DELETED y"]
        );
        assert_eq!(state.summaries(2).await, ["MODIFIED x", "DELETED y"]);
        let mut one = Watch::open(&client, &format!("{MAPS}/x?watch=true")).await;
        assert_eq!(one.summaries(1).await, ["ADDED x"]);
        let url = format!(
            "{MAPS}?watch=true&resourceVersion={}&timeoutSeconds=1",
            revision(&x)
        );
        let mut short = Watch::open(&client, &url).await;
        while short.next().await.is_some() {}
    });
}

#[test]
fn selectors_turn_changes_into_arrivals_and_departures() {
    with_server(|client| async move {
        let url = format!("{MAPS}?watch=true&labelSelector=v%3D2");
        let mut watch = Watch::open(&client, &url).await;
        for value in ["1", "2", "2b", "2"] {
            client.put("x", value).await;
        }
        client.put("x", "2").await;
        client
            .ask(Method::DELETE, &format!("{MAPS}/x"), &Value::Null)
            .await;
        assert_eq!(
            watch.summaries(4).await,
            ["ADDED x", "DELETED x", "ADDED x", "DELETED x"]
        );
    });
}

#[test]
fn a_streamed_list_ends_with_its_bookmark() {
    with_server(|client| async move {
        client.put("x", "1").await;
        let url = format!(
            "{MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        );
        let mut watch = Watch::open(&client, &url).await;
        assert_eq!(watch.summaries(1).await, ["ADDED x"]);
        let bookmark = watch.next().await.unwrap();
        assert_eq!(bookmark["type"], "BOOKMARK");
        let metadata = &bookmark["object"]["metadata"];
        assert_eq!(
            metadata["annotations"],
            json!({ "k8s.io/initial-events-end": "true" })
        );
        let after = client.put("y", "1").await;
        assert!(revision(&bookmark["object"]) < revision(&after));
        assert_eq!(watch.summaries(1).await, ["ADDED y"]);
    });
}

#[test]
fn a_quiet_watch_ends_with_a_bookmark_of_how_far_it_was() {
    with_server(|client| async move {
        let url = format!(
            "{MAPS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=1&labelSelector=none"
        );
        let mut watch = Watch::open(&client, &url).await;
        let x = client.put("x", "1").await;
        let bookmark = watch.next().await.unwrap();
        assert_eq!(bookmark["type"], "BOOKMARK");
        let (known, at_least) = (revision(&bookmark["object"]), revision(&x));
        assert!(known >= at_least, "{known} {at_least}");
        assert_eq!(watch.next().await, None);
    });
}

#[test]
fn objects_survive_a_restart_and_old_watches_are_told_to_list() {
    let server = Server::start();
    let old = server.runtime.block_on(async {
        let client = Client::new(&server, User::Admin, None).await;
        let old = client.put("x", "1").await;
        client.put("x", "2").await;
        revision(&old)
    });
    let server = server.restart();
    server.runtime.block_on(async {
        let client = Client::new(&server, User::Admin, None).await;
        let (code, x) = client.get(&format!("{MAPS}/x")).await;
        assert_eq!((code, &x["data"]["k"]), (200, &json!("2")));
        // Before the restart, and a revision that never was.
        for unknown in [old, old + 1_000_000] {
            let url = format!("{MAPS}?watch=true&resourceVersion={unknown}");
            let mut watch = Watch::open(&client, &url).await;
            let event = watch.next().await.unwrap();
            let told = (
                &event["type"],
                &event["object"]["code"],
                &event["object"]["reason"],
            );
            assert_eq!(
                told,
                (&json!("ERROR"), &json!(410), &json!("Expired")),
                "{event}"
            );
            assert_eq!(watch.next().await, None);
        }
        let url = format!("{MAPS}?resourceVersion={old}&resourceVersionMatch=Exact");
        let (code, status) = client.get(&url).await;
        assert_eq!(
            (code, &status["reason"]),
            (410, &json!("Expired")),
            "{status}"
        );
    });
}

#[test]
fn shutdown_ends_watches() {
    let server = Server::start();
    server.runtime.block_on(async {
        let client = Client::new(&server, User::Admin, None).await;
        let mut watch = Watch::open(&client, &format!("{MAPS}?watch=true")).await;
        server.api.shutdown();
        assert_eq!(watch.next().await, None);
    });
}

#[test]
fn kube_runtime_follows_by_list_and_by_stream() {
    let configs = [
        ("list and watch", watcher::Config::default().page_size(2)),
        ("streaming", watcher::Config::default().streaming_lists()),
    ];
    for (what, config) in configs {
        with_server(|client| async move {
            for name in ["a", "b", "c"] {
                client.put(name, "1").await;
            }
            let api: Api<ConfigMap> = Api::namespaced(client.0.clone(), "default");
            let mut events = watcher(api, config).boxed();
            let mut initial = BTreeSet::new();
            while let Some(event) = events.try_next().await.unwrap() {
                match event {
                    Event::InitApply(object) => drop(initial.insert(object.name_any())),
                    Event::InitDone => break,
                    Event::Init => {}
                    other => panic!("{what}: {other:?}"),
                }
            }
            let initial: Vec<&str> = initial.iter().map(String::as_str).collect();
            assert_eq!(initial, ["a", "b", "c"], "{what}");
            client.put("b", "2").await;
            client
                .ask(Method::DELETE, &format!("{MAPS}/a"), &Value::Null)
                .await;
            let changed = events.try_next().await.unwrap();
            let Some(Event::Apply(object)) = changed else {
                panic!("{what}: {changed:?}")
            };
            assert_eq!(object.data.unwrap()["k"], "2", "{what}");
            let deleted = events.try_next().await.unwrap();
            let Some(Event::Delete(object)) = deleted else {
                panic!("{what}: {deleted:?}")
            };
            assert_eq!(object.name_any(), "a", "{what}");
        });
    }
}
