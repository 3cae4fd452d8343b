//! Manifests, applied by our own client.

use std::collections::BTreeSet;

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use podway_watch::manifest::Document;

use crate::runtime::block_on;
use crate::step::{Outcome, Step};
use crate::{Error, LabName};

/// The kind among those that we apply that is a custom resource.
const CUSTOM: &str = "ClusterNetworkPolicy";

/// Creates the objects in the lab, or changes those that exist to what the
/// documents say, in their order. Each is tried without effect first, so that
/// one that the server refuses keeps all others from being applied.
///
/// # Errors
/// When the lab is not up, or with the first object that is refused.
pub fn apply(
    name: &LabName,
    documents: &[Document],
    progress: &mut dyn FnMut(Step),
) -> Result<(), Error> {
    let kubeconfig = crate::status::env(name)?.kubeconfig;
    block_on(async {
        let client = podway_watch::client::connect(Some(&kubeconfig)).await?;
        apply_all(&client, documents, progress).await
    })
}

pub(crate) async fn apply_all(
    client: &Client,
    documents: &[Document],
    progress: &mut dyn FnMut(Step),
) -> Result<(), Error> {
    let made_here: BTreeSet<&str> = documents
        .iter()
        .filter(|document| document.kind == "Namespace")
        .map(|document| document.name.as_str())
        .collect();
    for document in documents {
        // What lies in a namespace that is yet to be made cannot be tried.
        let namespace = document.namespace.as_deref().unwrap_or("default");
        if !made_here.contains(namespace) {
            apply_one(client, document, true).await?;
        }
    }
    for document in documents {
        let outcome = apply_one(client, document, false).await?;
        progress(Step::new(describe(document), outcome));
    }
    Ok(())
}

/// Kept where the object is already as the document says.
async fn apply_one(client: &Client, document: &Document, dry_run: bool) -> Result<Outcome, Error> {
    let refused = |error: kube::Error| Error::Refused {
        path: document.path.to_string(),
        line: document.position.line,
        column: document.position.column,
        object: describe(document),
        reason: match error {
            kube::Error::Api(status) => status.message.clone(),
            error => crate::kubelet::chain(&error),
        },
    };
    let api = api_of(client, document);
    let existing = api.get_opt(&document.name).await.map_err(refused)?;
    if let Some(existing) = existing {
        let parameters = PatchParams {
            dry_run,
            ..PatchParams::default()
        };
        // A custom resource has no list of its own to say how lists merge.
        let patch = if document.kind == CUSTOM {
            Patch::Merge(&document.value)
        } else {
            Patch::Strategic(&document.value)
        };
        let patched = api
            .patch(&document.name, &parameters, &patch)
            .await
            .map_err(refused)?;
        // A write that changes nothing is none: the resource version stays.
        let unchanged = patched.resource_version() == existing.resource_version();
        return Ok(if unchanged {
            Outcome::Kept
        } else {
            Outcome::Applied
        });
    }
    let object: DynamicObject = serde_json::from_value(document.value.clone())
        .map_err(|error| refused(kube::Error::SerdeError(error)))?;
    let parameters = PostParams {
        dry_run,
        ..PostParams::default()
    };
    let created = api.create(&parameters, &object).await.map_err(refused)?;
    tracing::debug!(object = created.name_any(), dry_run, "object created");
    Ok(Outcome::Applied)
}

fn api_of(client: &Client, document: &Document) -> Api<DynamicObject> {
    let (group, version) = document
        .api_version
        .split_once('/')
        .unwrap_or(("", document.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, document.kind));
    if matches!(document.kind, "Namespace" | "Node" | CUSTOM) {
        return Api::all_with(client.clone(), &resource);
    }
    let namespace = document.namespace.as_deref().unwrap_or("default");
    Api::namespaced_with(client.clone(), namespace, &resource)
}

fn describe(document: &Document) -> String {
    match &document.namespace {
        Some(namespace) => format!("{} {namespace}/{}", document.kind, document.name),
        None => format!("{} {}", document.kind, document.name),
    }
}
