//! Watchers that have lost the thread find it again by themselves.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use podway_apiserver::User;
use podway_apiserver::store::Transaction;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::watches::{Watch, revision};
use super::{Client, MAPS};
use crate::fixture::Server;

type Events = Pin<Box<dyn Stream<Item = watcher::Result<Event<ConfigMap>>>>>;

const NAME: &str = "x";

fn configs() -> [(&'static str, watcher::Config); 2] {
    [
        ("list and watch", watcher::Config::default()),
        ("streaming", watcher::Config::default().streaming_lists()),
    ]
}

fn follow(client: &Client, config: watcher::Config) -> Events {
    let api: Api<ConfigMap> = Api::namespaced(client.0.clone(), "default");
    Box::pin(watcher(api, config).default_backoff())
}

/// Reads until the object is seen with this value, and answers with the codes of
/// the errors that the watch had on the way. A watcher that hangs, hangs here.
async fn until(events: &mut Events, what: &str, value: &str) -> Vec<u16> {
    let mut codes = Vec::new();
    loop {
        let object = match events.next().await.expect("a watcher never ends") {
            Ok(Event::Apply(object) | Event::InitApply(object)) => object,
            Ok(_) => continue,
            Err(watcher::Error::WatchError(status)) => {
                codes.push(status.code);
                continue;
            }
            // The server is away.
            Err(
                watcher::Error::WatchFailed(_)
                | watcher::Error::WatchStartFailed(_)
                | watcher::Error::InitialListFailed(_),
            ) => continue,
            Err(other) => panic!("{what}: {other:?}"),
        };
        let found = object.data.as_ref().and_then(|data| data.get("k"));
        if object.name_any() == NAME && found.map(String::as_str) == Some(value) {
            return codes;
        }
    }
}

#[test]
fn after_a_restart_that_forgot_the_history() {
    for (what, config) in configs() {
        let server = Server::start();
        let address = server.address;
        // The watcher lives longer than the servers.
        let own = Runtime::new().unwrap();
        let client = own.block_on(Client::new(&server, User::Admin, None));
        let mut events = follow(&client, config);
        own.block_on(client.put(NAME, "1"));
        own.block_on(until(&mut events, what, "1"));
        // Served elsewhere, where the watcher does not see what happens.
        let server = server.restart();
        own.block_on(async {
            let client = Client::new(&server, User::Admin, None).await;
            client.put(NAME, "2").await;
        });
        let server = server.restart_at(address);
        let codes = own.block_on(until(&mut events, what, "2"));
        drop(server);
        assert!(codes.contains(&410), "{what}: {codes:?}");
    }
}

#[test]
fn after_more_happened_than_is_remembered() {
    for (what, config) in configs() {
        let server = Server::start();
        server.runtime.block_on(async {
            let client = Client::new(&server, User::Admin, None).await;
            let first = client.put(NAME, "1").await;
            let mut events = follow(&client, config);
            until(&mut events, what, "1").await;
            // Nobody reads the watch meanwhile.
            flood(&server, &first).await;
            client.put(NAME, "last").await;
            let codes = until(&mut events, what, "last").await;
            assert_eq!(codes, [410], "{what}");
            let url = format!("{MAPS}?watch=true&resourceVersion={}", revision(&first));
            let mut watch = Watch::open(&client, &url).await;
            let event = watch.next().await.unwrap();
            assert_eq!(event["type"], "ERROR", "{what}: {event}");
        });
    }
}

/// Twice as many updates as the server remembers.
async fn flood(server: &Server, object: &Value) {
    for count in 0..32 {
        let mut object = object.clone();
        let work = move |transaction: &mut Transaction<'_>| {
            for step in 0..1024 {
                object["data"]["k"] = format!("{count}-{step}").into();
                transaction.put("configmaps", object.clone());
            }
            Ok(())
        };
        server.api.store().write(work).await.unwrap();
    }
}
