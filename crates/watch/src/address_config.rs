//! The configuration of load balancer addresses, watched as administrators wrote
//! it for `MetalLB`: a ConfigMap, custom resources, and the Secret that nodes
//! share. What it means is not decided here.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;

use futures_util::{StreamExt, future};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as events_of};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where the configuration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The namespace of everything.
    pub namespace: String,
    /// The name of the Secret that nodes share.
    pub secret: String,
}

/// A kind of custom resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its API group.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its name in objects.
    pub kind: &'static str,
    /// Its name in paths.
    pub plural: &'static str,
}

/// What is there now, in place of what was.
#[derive(Clone, PartialEq)]
pub enum News {
    /// Key `config` of ConfigMap `config`.
    Text(Option<String>),
    /// All objects of a kind by name.
    Objects(&'static str, BTreeMap<String, Value>),
    /// Key `secretkey` of the Secret.
    Secret(Option<Vec<u8>>),
}

/// The name of the ConfigMap, and the key in it.
const CONFIG_MAP: &str = "config";
/// The key of the Secret.
pub const SECRET_KEY: &str = "secretkey";

/// Watches until the future is dropped. The first news of each source is what it
/// holds; a kind that the cluster does not have has none, and is asked for again
/// and again, more and more seldom.
pub async fn watch(client: &Client, place: &Place, kinds: &[Kind], tell: impl Fn(News)) {
    let tell = &tell;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &place.namespace);
    let maps = follow(maps, Some(CONFIG_MAP), |maps| {
        let data = maps.get(CONFIG_MAP).and_then(|map| map.data.as_ref());
        tell(News::Text(data.and_then(|d| d.get(CONFIG_MAP)).cloned()));
    });
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &place.namespace);
    let secrets = follow(secrets, Some(&place.secret), |secrets| {
        let data = secrets.get(&place.secret).and_then(|s| s.data.as_ref());
        let secret = data.and_then(|data| data.get(SECRET_KEY));
        tell(News::Secret(secret.map(|secret| secret.0.clone())));
    });
    let objects = kinds.iter().map(|kind| {
        let names = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
        let names = ApiResource::from_gvk_with_plural(&names, kind.plural);
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), &place.namespace, &names);
        follow(api, None, |objects| {
            let value = |(name, object): (&String, &DynamicObject)| {
                Some((name.clone(), serde_json::to_value(object).ok()?))
            };
            let values = objects.iter().filter_map(value).collect();
            tell(News::Objects(kind.kind, values));
        })
    });
    future::join3(maps, secrets, future::join_all(objects)).await;
}

/// Keeps the objects of a kind, or the one of a name, and shows them after each
/// change.
async fn follow<K>(api: Api<K>, name: Option<&str>, mut show: impl FnMut(&BTreeMap<String, K>))
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = name.map_or_else(watcher::Config::default, |name| {
        watcher::Config::default().fields(&format!("metadata.name={name}"))
    });
    let mut events = pin!(events_of(api, config).default_backoff());
    let mut objects = BTreeMap::new();
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.insert(object.name_any(), object);
            }
            Ok(Event::InitDone) => {
                objects = std::mem::take(&mut listed);
                show(&objects);
            }
            Ok(Event::Apply(object)) => {
                objects.insert(object.name_any(), object);
                show(&objects);
            }
            Ok(Event::Delete(object)) => {
                objects.remove(&object.name_any());
                show(&objects);
            }
            // Most clusters do not have all of these kinds.
            Err(error) => tracing::debug!(%error, "configuration of addresses not watched"),
        }
    }
}
