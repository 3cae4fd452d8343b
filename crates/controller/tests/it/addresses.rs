//! Addresses of load balancers, given by replicas.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Secret, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use podway_controller::{AddressSettings, Place};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::server::Server;
use crate::{PATIENCE, Replica, replica_settings};

const NAMESPACE: &str = "metallb-system";

fn replica(server: &Server, identity: &str) -> Replica {
    let mut settings = replica_settings(server, identity, &[]);
    settings.addresses = Some(AddressSettings {
        place: Place {
            namespace: NAMESPACE.to_owned(),
            secret: "memberlist".to_owned(),
        },
        class: None,
    });
    Replica::with(settings)
}

/// The classic configuration, with this range.
async fn configure(client: &Client, range: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
    let _ = namespaces.create(&PostParams::default(), &namespace).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let text =
        format!("address-pools:\n- name: default\n  protocol: layer2\n  addresses:\n  - {range}\n");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config"}, "data": {"config": text}});
    let params = PatchParams::apply("test").force();
    maps.patch("config", &params, &Patch::Apply(map))
        .await
        .unwrap();
}

fn services(client: &Client) -> Api<Service> {
    Api::namespaced(client.clone(), "default")
}

async fn create(services: &Api<Service>, name: &str) {
    let service = json!({
        "metadata": {"name": name},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": name}},
    });
    let service = serde_json::from_value(service).unwrap();
    services
        .create(&PostParams::default(), &service)
        .await
        .unwrap();
}

/// The addresses in a Service's status.
fn addresses(service: &Service) -> Vec<String> {
    let status = service.status.as_ref();
    let ingress = status.and_then(|s| s.load_balancer.as_ref()?.ingress.as_ref());
    let ingress = ingress.into_iter().flatten();
    ingress.filter_map(|ingress| ingress.ip.clone()).collect()
}

/// Waits until a Service has this many addresses, and gives them.
async fn given(services: &Api<Service>, name: &str, count: usize) -> Vec<String> {
    let given = async {
        loop {
            let found = addresses(&services.get(name).await.unwrap());
            if found.len() == count {
                return found;
            }
            sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let given = timeout(PATIENCE, given).await;
    given.unwrap_or_else(|_| panic!("{name} has not got {count} addresses"))
}

#[tokio::test]
async fn services_get_addresses_keep_them_and_give_them_back() {
    let server = Server::start().await;
    let client = server.client().await;
    configure(&client, "172.16.0.200-172.16.0.201").await;
    let services = services(&client);
    create(&services, "one").await;
    let _replica = replica(&server, "a");
    assert_eq!(given(&services, "one", 1).await, ["172.16.0.200"]);
    create(&services, "two").await;
    assert_eq!(given(&services, "two", 1).await, ["172.16.0.201"]);
    // Nothing is left, and the Service is told so; then something is.
    create(&services, "three").await;
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    let refused = async {
        loop {
            let all = events.list(&ListParams::default()).await.unwrap();
            let about = |event: &Event| event.involved_object.name.as_deref() == Some("three");
            if let Some(event) = all.items.into_iter().find(about) {
                return event;
            }
            sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let event = timeout(PATIENCE, refused).await.expect("an Event");
    assert_eq!(event.reason.as_deref(), Some("AllocationFailed"));
    let gone = DeleteParams::default();
    services.delete("one", &gone).await.unwrap();
    assert_eq!(given(&services, "three", 1).await, ["172.16.0.200"]);
    // One that is no load balancer any more has no address either.
    let plain = json!({"spec": {"type": "ClusterIP"}});
    let params = PatchParams::default();
    services
        .patch("two", &params, &Patch::Merge(plain))
        .await
        .unwrap();
    assert!(given(&services, "two", 0).await.is_empty());
    // Another pool: what is in none any more is given anew.
    configure(&client, "172.16.0.220-172.16.0.221").await;
    let moved = async {
        while given(&services, "three", 1).await != ["172.16.0.220"] {
            sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, moved)
        .await
        .expect("an address of the other pool");
}

#[tokio::test]
async fn another_leader_gives_nothing_twice() {
    let server = Server::start().await;
    let client = server.client().await;
    configure(&client, "172.16.0.0/24").await;
    let services = services(&client);
    let mut replica_now = replica(&server, "first");
    let mut seen = BTreeSet::new();
    for round in 0..3 {
        for number in 0..10 {
            create(&services, &format!("s{round}-{number}")).await;
        }
        for number in 0..10 {
            let name = format!("s{round}-{number}");
            let address = given(&services, &name, 1).await.remove(0);
            assert!(seen.insert(address.clone()), "{address} twice");
        }
        // Killed, and the next one takes over with what there is.
        drop(replica_now);
        replica_now = replica(&server, &format!("next {round}"));
    }
    create(&services, "last").await;
    let address = given(&services, "last", 1).await.remove(0);
    assert!(seen.insert(address.clone()), "{address} twice");
    let all = services.list(&ListParams::default()).await.unwrap();
    let has: BTreeSet<String> = all.items.iter().flat_map(addresses).collect();
    assert_eq!(has, seen, "what was given stays");
}

#[tokio::test]
async fn the_secret_that_nodes_share_is_made_once() {
    let server = Server::start().await;
    let client = server.client().await;
    configure(&client, "172.16.0.0/24").await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let secret = async {
        loop {
            if let Some(secret) = secrets.get_opt("memberlist").await.unwrap() {
                return secret.data.unwrap_or_default();
            }
            sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let first = replica(&server, "a");
    let made = timeout(PATIENCE, secret).await.expect("the Secret");
    assert_eq!(made["secretkey"].0.len(), 64);
    drop(first);
    let _second = replica(&server, "b");
    create(&services(&client), "web").await;
    given(&services(&client), "web", 1).await;
    let after = secrets.get("memberlist").await.unwrap().data.unwrap();
    assert_eq!(after, made);
}
