//! Kinds that a cluster may not have.

use std::fmt::Debug;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::{self, Either};
use k8s_openapi::{Metadata, Resource};
use kube::Client;
use kube::core::ObjectMeta;
use podway_model::{Change, ObjectKind};
use serde::de::DeserializeOwned;

use super::pauses::Pauses;
use super::{Notice, Teller, WatchScope, follow, said};
use crate::objects::Readable;

/// How often the server is asked again whether it serves the kind.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Follows a kind while the server serves it. Where it does not, the kind counts
/// as listed, with no objects; while nobody knows, it does not: what it may close
/// must not be opened by an agent that starts.
pub(super) async fn follow_where_served<K, F>(
    client: &Client,
    watched: &WatchScope,
    kind: ObjectKind,
    teller: &Teller<F>,
) where
    K: Metadata<Ty = ObjectMeta> + Resource + Readable,
    K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    F: Fn(Notice) + Send + Sync,
{
    if !watched.kinds.contains(&kind) {
        return future::pending().await;
    }
    loop {
        while !ask::<K, F>(client, kind, teller).await {
            teller.listed(kind);
            tokio::time::sleep(ASK_AGAIN).await;
        }
        let following = pin!(follow::<K, F>(client, watched, kind, teller));
        let gone = pin!(until_gone::<K>(client));
        if let Either::Right(_) = future::select(following, gone).await {
            tracing::info!(?kind, "the kind is served no longer");
            (teller.tell)(Notice::Change(Change::Replace(kind, Vec::new())));
            (teller.tell)(Notice::Regained(kind));
        }
    }
}

/// Whether the server serves the kind, as soon as it says.
async fn ask<K, F>(client: &Client, kind: ObjectKind, teller: &Teller<F>) -> bool
where
    K: Resource,
    F: Fn(Notice) + Send + Sync,
{
    let mut pauses = Pauses::default();
    let mut is_lost = false;
    loop {
        match is_served::<K>(client).await {
            Ok(is_served) => {
                if is_lost {
                    (teller.tell)(Notice::Regained(kind));
                }
                return is_served;
            }
            Err(error) => {
                is_lost = true;
                (teller.tell)(Notice::Lost(kind, format!("discovery: {}", said(&error))));
                tokio::time::sleep(pauses.next(Instant::now())).await;
            }
        }
    }
}

async fn until_gone<K: Resource>(client: &Client) {
    loop {
        tokio::time::sleep(ASK_AGAIN).await;
        if let Ok(false) = is_served::<K>(client).await {
            return;
        }
    }
}

async fn is_served<K: Resource>(client: &Client) -> Result<bool, kube::Error> {
    match client.list_api_group_resources(K::API_VERSION).await {
        Ok(list) => {
            let mut resources = list.resources.iter();
            Ok(resources.any(|resource| resource.name == K::URL_PATH_SEGMENT))
        }
        // No such group or version, or nothing that we may know of.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(false),
        Err(error) => Err(error),
    }
}
