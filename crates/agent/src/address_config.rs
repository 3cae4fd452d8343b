//! The configuration of load balancer addresses: what administrators wrote for
//! `MetalLB`, watched as it is.
//!
//! It comes in two generations: a ConfigMap, or custom resources. Where there
//! are resources the ConfigMap is left aside, as after an upgrade. A
//! configuration with a mistake is not taken: the last good one stays in force.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use futures_util::{StreamExt, future};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as events_of};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use podway_plan::announce::{Config, ConfigError, GROUP, Objects, RESOURCES, parse_config_map};
use podway_wire::mesh::Key;
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

/// The name of the ConfigMap, and the key in it.
const CONFIG_MAP: &str = "config";
/// The key of the Secret that nodes share.
const SECRET_KEY: &str = "secretkey";

/// What is configured now.
#[derive(Debug, Clone, Default)]
pub struct AddressConfig {
    /// The last configuration without a mistake.
    pub config: Arc<Config>,
    /// What the nodes share, where the Secret is there; another one only where
    /// the Secret is another.
    pub key: Option<Arc<Key>>,
    /// What is wrong with the configuration that was not taken.
    pub problem: Option<String>,
}

/// Everything that was read, as it is. Never printed: there is a secret in it.
#[derive(Default)]
struct Sources {
    text: Option<String>,
    /// By kind; the objects by name.
    resources: BTreeMap<&'static str, BTreeMap<String, Value>>,
    key: Option<(Vec<u8>, Arc<Key>)>,
}

/// Watches the configuration until the future is dropped, and tells of each
/// change. Kinds that the cluster does not have are asked for again and again,
/// more and more seldom.
pub async fn watch(client: Client, place: Place, tell: impl Fn(AddressConfig)) {
    let state = Mutex::new((Sources::default(), AddressConfig::default()));
    let change = |change: &mut dyn FnMut(&mut Sources)| {
        let mut state = state.lock();
        let (sources, told) = &mut *state;
        change(sources);
        *told = sources.read(told);
        tell(told.clone());
    };
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &place.namespace);
    let maps = follow(maps, Some(CONFIG_MAP), |maps| {
        let data = maps.get(CONFIG_MAP).and_then(|map| map.data.as_ref());
        let text = data.and_then(|data| data.get(CONFIG_MAP)).cloned();
        change(&mut |sources| sources.text.clone_from(&text));
    });
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &place.namespace);
    let secrets = follow(secrets, Some(&place.secret), |secrets| {
        let data = secrets.get(&place.secret).and_then(|s| s.data.as_ref());
        let secret = data.and_then(|data| data.get(SECRET_KEY));
        let secret = secret.map(|secret| secret.0.clone());
        change(&mut |sources| sources.take_secret(secret.as_deref()));
    });
    let resources = RESOURCES.iter().map(|resource| {
        let kind = GroupVersionKind::gvk(GROUP, resource.version, resource.kind);
        let api = ApiResource::from_gvk_with_plural(&kind, resource.plural);
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), &place.namespace, &api);
        follow(api, None, |objects| {
            let mut values = objects.iter().filter_map(|(name, object)| {
                let value = serde_json::to_value(object).ok()?;
                Some((name.clone(), value))
            });
            let mut values = Some(values.by_ref().collect::<BTreeMap<_, _>>());
            change(&mut |sources| {
                let values = values.take().unwrap_or_default();
                sources.resources.insert(resource.kind, values);
            });
        })
    });
    future::join3(maps, secrets, future::join_all(resources)).await;
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

impl Sources {
    /// What it means; where that cannot be, what it meant before.
    fn read(&self, before: &AddressConfig) -> AddressConfig {
        let (config, problem) = match self.config() {
            Ok(config) if config == *before.config => (before.config.clone(), None),
            Ok(config) => (Arc::new(config), None),
            Err(error) => (before.config.clone(), Some(error.to_string())),
        };
        AddressConfig {
            config,
            key: self.key.as_ref().map(|(_, key)| key.clone()),
            problem,
        }
    }

    fn take_secret(&mut self, secret: Option<&[u8]>) {
        let known = self.key.as_ref().map(|(known, _)| &**known);
        if secret != known {
            self.key = secret.map(|secret| {
                let key = Key::from_secret(secret);
                (secret.to_vec(), Arc::new(key))
            });
        }
    }

    fn config(&self) -> Result<Config, ConfigError> {
        let objects = self.resources.values().any(|objects| !objects.is_empty());
        match &self.text {
            Some(text) if !objects => parse_config_map(text),
            _ => self.objects()?.read(),
        }
    }

    fn objects(&self) -> Result<Objects, ConfigError> {
        let mut objects = Objects::default();
        let mut problems = Vec::new();
        for (kind, values) in &self.resources {
            for value in values.values() {
                problems.extend(objects.insert(kind, value).err());
            }
        }
        if problems.is_empty() {
            Ok(objects)
        } else {
            Err(ConfigError(problems))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "address-pools: [{name: p, protocol: layer2, addresses: [10.0.0.0/24]}]";

    fn names(config: &AddressConfig) -> Vec<&str> {
        config
            .config
            .pools
            .iter()
            .map(|p| p.name.as_str())
            .collect()
    }

    #[test]
    fn resources_take_the_place_of_the_text_and_mistakes_of_nothing() {
        let mut sources = Sources::default();
        let none = sources.read(&AddressConfig::default());
        assert!(none.config.pools.is_empty() && none.key.is_none());
        sources.text = Some(TEXT.to_owned());
        sources.take_secret(Some(b"s"));
        let text = sources.read(&none);
        assert_eq!((names(&text), text.key.is_some()), (vec!["p"], true));
        let pool = json!({"metadata": {"name": "q"}, "spec": {"addresses": ["10.1.0.0/24"]}});
        let pools = BTreeMap::from([("q".to_owned(), pool)]);
        sources.resources.insert("IPAddressPool", pools);
        let resources = sources.read(&text);
        assert_eq!(names(&resources), ["q"]);
        let wrong = json!({"metadata": {"name": "r"}, "spec": {"addresses": ["10.1.0.128/25"]}});
        let pools = sources.resources.entry("IPAddressPool").or_default();
        pools.insert("r".to_owned(), wrong);
        let kept = sources.read(&resources);
        assert_eq!(names(&kept), ["q"]);
        let problem = kept.problem.expect("it overlaps");
        assert!(problem.contains("overlaps"), "{problem}");
    }
}
