//! Many watchers, many objects: nothing lost, nothing reordered, and what it
//! costs.

use std::sync::Arc;

use futures_util::future::join_all;
use podway_apiserver::User;
use podway_apiserver::store::Transaction;
use serde_json::json;

use crate::client::{Client, MAPS, Watch, revision};
use crate::fixture::Server;

/// What the process holds, in MB. Clients and server share it here, so this is
/// more than a server alone would need.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes / 1024
}

/// Writes all objects once, with `value` in them, many in a transaction.
async fn write_all(server: &Server, objects: usize, value: &str) {
    for first in (0..objects).step_by(500) {
        let value = value.to_owned();
        let work = move |transaction: &mut Transaction<'_>| {
            for number in first..(first + 500).min(objects) {
                let name = format!("object-{number:05}");
                let metadata = json!({ "namespace": "default", "name": name });
                let object = json!({ "metadata": metadata, "data": { "value": value } });
                transaction.put("configmaps", object);
            }
            Ok(())
        };
        server.api.store().write(work).await.unwrap();
    }
}

fn watched_by(watchers: usize, objects: usize) {
    let server = Arc::new(Server::start());
    let before = resident();
    server.runtime.block_on(async {
        write_all(&server, objects, "first").await;
        let stored = resident();
        let client = Client::new(&server, User::Admin, None).await;
        let (_, list) = client.get(&format!("{MAPS}?limit=1")).await;
        let url = format!("{MAPS}?watch=true&resourceVersion={}", revision(&list));
        let opened = join_all((0..watchers).map(|_| Watch::open(&client, &url))).await;
        let open = resident();
        let following = opened.into_iter().map(|mut watch| async move {
            let mut last = 0;
            for _ in 0..objects {
                let event = watch.next().await.unwrap();
                let next = revision(&event["object"]);
                assert_eq!(event["type"], "MODIFIED", "{event}");
                assert!(next > last, "{next} after {last}");
                last = next;
            }
            last
        });
        let following: Vec<_> = following.map(tokio::spawn).collect();
        write_all(&server, objects, "second").await;
        let mut ends = Vec::new();
        for end in join_all(following).await {
            ends.push(end.unwrap());
        }
        let newest = server.api.store().read().revision();
        assert!(ends.iter().all(|end| *end == newest), "{ends:?} {newest}");
        println!(
            "{objects} objects, {watchers} watchers: {before} MB at first, {stored} MB with the \
             objects, {open} MB with the watchers, {} MB after {} events",
            resident(),
            watchers * objects,
        );
    });
}

#[test]
fn watchers_see_every_event_in_order() {
    watched_by(10, 1000);
}

#[test]
#[ignore = "a million events: run it for the figures"]
fn a_hundred_watchers_see_every_event_of_ten_thousand_objects() {
    watched_by(100, 10_000);
}
