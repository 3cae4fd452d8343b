//! Objects of a lab's API server.

use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Instant;
use tokio::runtime::Runtime;

use crate::harness::Lab;

/// A client that waits for each answer.
pub(crate) struct Objects {
    runtime: Runtime,
    client: Client,
}

impl Objects {
    pub(crate) fn of(lab: &Lab) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let kubeconfig = lab.kubeconfig();
        let client = runtime.block_on(podway_watch::client::connect(Some(&kubeconfig)));
        Self {
            client: client.expect("the lab's API server"),
            runtime,
        }
    }

    fn api<K: Object>(&self, namespace: &str) -> Api<K> {
        K::api(self.client.clone(), namespace)
    }

    pub(crate) fn create<K: Object>(&self, namespace: &str, object: Value) {
        let object: K = serde_json::from_value(object).expect("an object");
        let created = self.runtime.block_on(
            self.api::<K>(namespace)
                .create(&PostParams::default(), &object),
        );
        created.unwrap_or_else(|error| panic!("create {object:?}: {error}"));
    }

    pub(crate) fn find<K: Object>(&self, namespace: &str, name: &str) -> Option<K> {
        let found = self
            .runtime
            .block_on(self.api::<K>(namespace).get_opt(name));
        found.unwrap_or_else(|error| panic!("get {namespace}/{name}: {error}"))
    }

    pub(crate) fn patch<K: Object>(&self, namespace: &str, name: &str, patch: &Value) -> K {
        let api = self.api::<K>(namespace);
        let patched =
            self.runtime
                .block_on(api.patch(name, &PatchParams::default(), &Patch::Merge(patch)));
        patched.unwrap_or_else(|error| panic!("patch {namespace}/{name} with {patch}: {error}"))
    }

    pub(crate) fn delete<K: Object>(&self, namespace: &str, name: &str) {
        let deleted = self.runtime.block_on(
            self.api::<K>(namespace)
                .delete(name, &DeleteParams::default()),
        );
        deleted.unwrap_or_else(|error| panic!("delete {namespace}/{name}: {error}"));
    }

    pub(crate) fn replace<K: Object>(&self, namespace: &str, name: &str, object: &K) {
        let api = self.api::<K>(namespace);
        let replaced = self
            .runtime
            .block_on(api.replace(name, &PostParams::default(), object));
        replaced.unwrap_or_else(|error| panic!("replace {namespace}/{name}: {error}"));
    }

    pub(crate) fn list<K: Object>(&self, namespace: &str, labels: &str) -> Result<Vec<K>, String> {
        let parameters = ListParams::default().labels(labels);
        let listed = self
            .runtime
            .block_on(self.api::<K>(namespace).list(&parameters));
        Ok(listed.map_err(|error| error.to_string())?.items)
    }

    /// These ClusterNetworkPolicies and no others; the revision of the last
    /// change to any.
    pub(crate) fn only_cluster_policies(&self, mut wanted: Vec<Value>) -> u64 {
        let kind = GroupVersionKind::gvk(
            "policy.networking.k8s.io",
            "v1alpha2",
            "ClusterNetworkPolicy",
        );
        let resource = ApiResource::from_gvk_with_plural(&kind, "clusternetworkpolicies");
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &resource);
        // Written last, and differently each time: what it has, all others have.
        let nobody = json!({"matchLabels": {"nobody": "nobody"}});
        wanted.push(json!({
            "apiVersion": "policy.networking.k8s.io/v1alpha2",
            "kind": "ClusterNetworkPolicy",
            "metadata": {"name": "zz-marker", "annotations": {"at": format!("{:?}", Instant::now())}},
            "spec": {"tier": "Baseline", "priority": 1000, "subject": {"namespaces": nobody}},
        }));
        self.runtime.block_on(async {
            let present = api
                .list(&ListParams::default())
                .await
                .expect("a list")
                .items;
            for old in &present {
                let name = old.name_any();
                if !wanted.iter().any(|new| new["metadata"]["name"] == *name) {
                    api.delete(&name, &DeleteParams::default())
                        .await
                        .expect("deleted");
                }
            }
            let mut revision = None;
            for new in wanted {
                let mut object: DynamicObject = serde_json::from_value(new).expect("an object");
                let name = object.name_any();
                let old = present.iter().find(|old| old.name_any() == name);
                object.metadata.resource_version = old.and_then(ResourceExt::resource_version);
                let written = match old {
                    Some(_) => api.replace(&name, &PostParams::default(), &object).await,
                    None => api.create(&PostParams::default(), &object).await,
                };
                let written = written.unwrap_or_else(|error| panic!("{object:?}: {error}"));
                revision = written
                    .resource_version()
                    .and_then(|text| text.parse().ok());
            }
            revision.expect("a number")
        })
    }
}

/// A kind of object, and where it lies.
pub(crate) trait Object:
    Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::Serialize + DeserializeOwned
{
    fn api(client: Client, namespace: &str) -> Api<Self>;
}

impl Object for Namespace {
    fn api(client: Client, _: &str) -> Api<Self> {
        Api::all(client)
    }
}

macro_rules! namespaced {
    ($($kind:ty),*) => {
        $(impl Object for $kind {
            fn api(client: Client, namespace: &str) -> Api<Self> {
                Api::namespaced(client, namespace)
            }
        })*
    };
}
namespaced!(EndpointSlice, Pod, Service, NetworkPolicy);

/// The number that orders changes.
pub(crate) fn revision_of<K: Resource>(object: &K) -> Option<u64> {
    object.resource_version()?.parse().ok()
}
