//! The configuration of load balancer addresses as this node goes by it: one
//! with a mistake is not taken, the last good one stays in force.

use std::sync::Arc;

use kube::Client;
use parking_lot::Mutex;
use podway_plan::announce::{Config, GROUP, RESOURCES, Sources};
use podway_watch::address_config::{self, Kind, News, Place};
use podway_wire::mesh::Key;

/// What is configured now.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddressConfig {
    /// The last configuration without a mistake.
    pub(crate) config: Arc<Config>,
    /// What the nodes share, where the Secret is there; another one only where
    /// the Secret is another.
    pub(crate) key: Option<Arc<Key>>,
    /// What is wrong with the configuration that was not taken.
    pub(crate) problem: Option<String>,
}

/// What was read, and what it came to. Never printed: there is a secret in it.
#[derive(Default)]
struct Reader {
    sources: Sources,
    secret: Option<Vec<u8>>,
    read: AddressConfig,
}

/// Watches the configuration until the future is dropped, and tells of each
/// change.
pub(crate) async fn watch(client: &Client, place: &Place, tell: impl Fn(AddressConfig)) {
    let kind = |resource: &podway_plan::announce::Resource| Kind {
        group: GROUP,
        version: resource.version,
        kind: resource.kind,
        plural: resource.plural,
    };
    let kinds: Vec<Kind> = RESOURCES.iter().map(kind).collect();
    let reader = Mutex::new(Reader::default());
    address_config::watch(client, place, &kinds, |news| {
        let mut reader = reader.lock();
        reader.take(news);
        tell(reader.read.clone());
    })
    .await;
}

impl Reader {
    fn take(&mut self, news: News) {
        match news {
            News::Text(text) => self.sources.text = text,
            News::Objects(kind, objects) => {
                self.sources.resources.insert(kind, objects);
            }
            News::Secret(secret) => {
                if secret != self.secret {
                    let key = secret.as_deref().map(Key::from_secret);
                    self.read.key = key.map(Arc::new);
                    self.secret = secret;
                }
                return;
            }
        }
        match self.sources.read() {
            Ok(config) => {
                if config != *self.read.config {
                    self.read.config = Arc::new(config);
                }
                self.read.problem = None;
            }
            Err(error) => self.read.problem = Some(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    const TEXT: &str = "address-pools: [{name: p, protocol: layer2, addresses: [10.0.0.0/24]}]";

    fn pool(name: &str, prefix: &str) -> (String, Value) {
        let pool = json!({"metadata": {"name": name}, "spec": {"addresses": [prefix]}});
        (name.to_owned(), pool)
    }

    #[test]
    fn resources_take_the_place_of_the_text_and_mistakes_of_nothing() {
        let mut reader = Reader::default();
        let good = BTreeMap::from([pool("q", "10.1.0.0/24")]);
        let wrong = BTreeMap::from([pool("q", "10.1.0.0/24"), pool("r", "10.1.0.128/25")]);
        let overlaps = Some("overlaps");
        for (news, pools, problem) in [
            (News::Text(Some(TEXT.to_owned())), vec!["p"], None),
            (
                News::Objects("IPAddressPool", good.clone()),
                vec!["q"],
                None,
            ),
            (News::Objects("IPAddressPool", wrong), vec!["q"], overlaps),
            (News::Text(None), vec!["q"], overlaps),
            (News::Objects("IPAddressPool", good), vec!["q"], None),
            (
                News::Objects("IPAddressPool", BTreeMap::new()),
                vec![],
                None,
            ),
        ] {
            reader.take(news);
            let read = &reader.read;
            let names: Vec<_> = read.config.pools.iter().map(|p| &*p.name).collect();
            let said = read.problem.as_deref().unwrap_or_default();
            assert_eq!(names, pools, "{said}");
            assert_eq!(problem.is_some(), !said.is_empty(), "{said}");
            assert!(said.contains(problem.unwrap_or_default()), "{said}");
        }
    }

    #[test]
    fn the_key_is_another_one_only_where_the_secret_is() {
        let mut reader = Reader::default();
        let mut key_after = |secret: Option<&[u8]>| {
            reader.take(News::Secret(secret.map(<[u8]>::to_vec)));
            reader.read.key.clone()
        };
        let first = key_after(Some(b"a")).expect("a key");
        let same = key_after(Some(b"a")).expect("a key");
        let other = key_after(Some(b"b")).expect("a key");
        assert!(Arc::ptr_eq(&first, &same) && !Arc::ptr_eq(&first, &other));
        assert!(key_after(None).is_none());
    }
}
