//! Services, pools, and who has what.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use podway_model::{Labels, ObjectName};
use podway_plan::announce::{Allocation, Allocator, Config, Request, Sources};
use podway_watch::address_config::News;
use serde_json::json;
use tokio::time::timeout;

use super::{AddressSettings, LIMIT, request};
use crate::events::{self, Note};

/// The annotation that says which pool an address is from.
const POOL: &str = "metallb.io/ip-allocated-from-pool";

/// Everything known, and what is still to be said.
pub(super) struct Desk {
    client: Client,
    settings: AddressSettings,
    services: Kept<Service>,
    namespaces: Kept<Namespace>,
    sources: Sources,
    config: Config,
    allocator: Allocator,
    /// What the allocator was last told is not what there is now.
    is_stale: bool,
    /// What was said to whom: the same is not said twice.
    said: BTreeMap<ObjectName, String>,
    /// Statuses that are to be written.
    unsaid: BTreeSet<ObjectName>,
}

/// The objects of a watch by name.
struct Kept<K> {
    objects: BTreeMap<ObjectName, K>,
    listed: BTreeMap<ObjectName, K>,
    is_complete: bool,
}

impl<K: ResourceExt> Kept<K> {
    fn new() -> Self {
        Self {
            objects: BTreeMap::new(),
            listed: BTreeMap::new(),
            is_complete: false,
        }
    }

    /// Whether it changed anything.
    fn take(&mut self, event: watcher::Result<Event<K>>) -> bool {
        let name =
            |object: &K| ObjectName::new(object.namespace().unwrap_or_default(), object.name_any());
        match event {
            Ok(Event::Init) => self.listed.clear(),
            Ok(Event::InitApply(object)) => {
                self.listed.insert(name(&object), object);
            }
            Ok(Event::InitDone) => {
                self.objects = std::mem::take(&mut self.listed);
                self.is_complete = true;
                return true;
            }
            Ok(Event::Apply(object)) => {
                self.objects.insert(name(&object), object);
                return true;
            }
            Ok(Event::Delete(object)) => return self.objects.remove(&name(&object)).is_some(),
            Err(error) => tracing::warn!(%error, "Services or Namespaces cannot be watched"),
        }
        false
    }
}

impl Desk {
    pub(super) fn new(client: Client, settings: AddressSettings) -> Self {
        Self {
            client,
            settings,
            services: Kept::new(),
            namespaces: Kept::new(),
            sources: Sources::default(),
            config: Config::default(),
            allocator: Allocator::default(),
            is_stale: true,
            said: BTreeMap::new(),
            unsaid: BTreeSet::new(),
        }
    }

    pub(super) fn take_service(&mut self, event: watcher::Result<Event<Service>>) {
        self.is_stale |= self.services.take(event);
    }

    pub(super) fn take_namespace(&mut self, event: watcher::Result<Event<Namespace>>) {
        self.is_stale |= self.namespaces.take(event);
    }

    pub(super) fn take_configuration(&mut self, news: News) {
        match news {
            News::Text(text) => self.sources.text = text,
            News::Objects(kind, objects) => {
                self.sources.resources.insert(kind, objects);
            }
            News::Secret(_) => return,
        }
        match self.sources.read() {
            Ok(config) => {
                self.is_stale |= config != self.config;
                self.config = config;
            }
            Err(error) => {
                tracing::warn!(%error, "configuration not taken: the last good one stays in force");
            }
        }
    }

    pub(super) fn knows_namespace(&self, name: &str) -> bool {
        let name = ObjectName::new("", name);
        self.namespaces.objects.contains_key(&name)
    }

    /// Gives what is asked for and says so. False where something could not be
    /// written and is to be tried again.
    pub(super) async fn serve(&mut self) -> bool {
        if !(self.services.is_complete && self.namespaces.is_complete) {
            return true;
        }
        if std::mem::take(&mut self.is_stale) {
            self.decide().await;
        }
        for name in std::mem::take(&mut self.unsaid) {
            if let Err(error) = self.write(&name).await {
                tracing::warn!(service = %name, error, "status not written");
                self.unsaid.insert(name);
            }
        }
        self.unsaid.is_empty()
    }

    async fn decide(&mut self) {
        self.allocator.set_pools(&self.config);
        let mut requests: Vec<Request> = Vec::new();
        let mut unread: BTreeMap<ObjectName, String> = BTreeMap::new();
        let class = self.settings.class.as_deref();
        for (name, service) in &self.services.objects {
            let labels = self.namespace_labels(&name.namespace);
            match request::read(service, class, &labels) {
                Ok(request) => requests.extend(request),
                Err(reason) => {
                    unread.insert(name.clone(), reason);
                }
            }
        }
        let outcomes = self.allocator.assign_all(&requests);
        let mut refused = unread;
        for (name, outcome) in outcomes {
            if let Err(refusal) = outcome {
                refused.insert(name, refusal.to_string());
            }
        }
        self.said.retain(|name, _| refused.contains_key(name));
        for (name, reason) in refused {
            self.refuse(&name, &reason).await;
        }
        let differs = |(name, service): (&ObjectName, &Service)| {
            let has = request::current(service);
            let is_ours = self.allocator.allocation(name);
            let should = is_ours.map_or(&[][..], |a| &a.addresses);
            // What somebody else gave to a Service that is not ours stays.
            let is_concerned = is_ours.is_some() || has.iter().any(|a| self.is_of_pool(*a));
            (is_concerned && has != should).then(|| name.clone())
        };
        self.unsaid = self.services.objects.iter().filter_map(differs).collect();
    }

    fn is_of_pool(&self, address: IpAddr) -> bool {
        self.config.pools.iter().any(|pool| pool.offers(address))
    }

    fn namespace_labels(&self, namespace: &str) -> Labels {
        let namespace = self.namespaces.objects.get(&ObjectName::new("", namespace));
        let labels = namespace.and_then(|namespace| namespace.metadata.labels.clone());
        labels.unwrap_or_default()
    }

    async fn refuse(&mut self, name: &ObjectName, reason: &str) {
        if self.said.get(name).is_some_and(|said| said == reason) {
            return;
        }
        self.said.insert(name.clone(), reason.to_owned());
        if let Some(service) = self.services.objects.get(name) {
            let note = Note::warning("AllocationFailed", reason);
            events::tell(&self.client, service, note).await;
        }
    }

    /// Writes what a Service has now. The watch brings it back.
    async fn write(&mut self, name: &ObjectName) -> Result<(), String> {
        let Some(service) = self.services.objects.get(name) else {
            return Ok(());
        };
        let allocation = self.allocator.allocation(name);
        let services: Api<Service> = Api::namespaced(self.client.clone(), &name.namespace);
        let params = PatchParams::default();
        let (status, annotation) = patches(allocation);
        let written = async {
            services
                .patch_status(&name.name, &params, &Patch::Merge(status))
                .await?;
            services
                .patch(&name.name, &params, &Patch::Merge(annotation))
                .await
        };
        match timeout(LIMIT, written).await {
            Ok(Ok(_)) => {}
            // It was deleted meanwhile: the watch says so.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Ok(()),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("no answer".to_owned()),
        }
        let text = allocation.map(|allocation| {
            let addresses = allocation.addresses.iter().map(ToString::to_string);
            let addresses: Vec<String> = addresses.collect();
            let pool = &allocation.pool;
            format!("Assigned IP {} of pool {pool}", addresses.join(", "))
        });
        let note = match &text {
            Some(text) => Note::normal("IPAllocated", text),
            None => Note::normal("ClearAssignment", "It has no address any more"),
        };
        events::tell(&self.client, service, note).await;
        Ok(())
    }
}

fn patches(allocation: Option<&Allocation>) -> (serde_json::Value, serde_json::Value) {
    let ingress = |allocation: &Allocation| {
        let addresses = allocation.addresses.iter();
        addresses
            .map(|a| json!({"ip": a.to_string(), "ipMode": "VIP"}))
            .collect::<Vec<_>>()
    };
    let ingress = allocation.map(ingress);
    let pool = allocation.map(|allocation| &allocation.pool);
    (
        json!({"status": {"loadBalancer": {"ingress": ingress}}}),
        json!({"metadata": {"annotations": {POOL: pool}}}),
    )
}
