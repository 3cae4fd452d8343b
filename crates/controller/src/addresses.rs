//! Gives addresses of pools to Services of type LoadBalancer, and writes them to
//! their status. Who gets which is decided in `podway_plan::announce`; this keeps
//! it told of what there is, and says the outcome.
//!
//! No address is given before everything is known that Services have already: a
//! new leader would give what it has not seen yet a second time.

mod desk;
mod request;

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use podway_plan::announce::{GROUP, RESOURCES, Resource};
use podway_watch::address_config::{self, Kind, News, Place, SECRET_KEY};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use desk::Desk;

/// How long a request may take: a replica that is not elected any more must not
/// write after the next one has begun.
pub(crate) const LIMIT: Duration = Duration::from_secs(4);
/// The pause before Services are tried again whose status could not be written.
const PAUSE: Duration = Duration::from_secs(2);
/// How long the configuration may take to be read at first. Kinds that the
/// cluster does not have never say anything.
const SETTLED: Duration = Duration::from_secs(2);

/// What is configured about addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressSettings {
    /// Where the configuration is.
    pub place: Place,
    /// The `loadBalancerClass` of the Services that are served; without one,
    /// those that have no class.
    pub class: Option<String>,
}

/// Where `MetalLB` has it, for Services without a class.
impl Default for AddressSettings {
    fn default() -> Self {
        Self {
            place: Place {
                namespace: "metallb-system".to_owned(),
                secret: "memberlist".to_owned(),
            },
            class: None,
        }
    }
}

/// Works until the future is dropped.
pub(crate) async fn give_out(client: Client, settings: AddressSettings) {
    let (told, mut news) = mpsc::unbounded_channel();
    let kinds: Vec<Kind> = RESOURCES.iter().map(kind).collect();
    let configuration = address_config::watch(&client, &settings.place, &kinds, |news| {
        // The receiver lives as long as this future does.
        let _ = told.send(news);
    });
    let work = async {
        let mut desk = Desk::new(client.clone(), settings.clone());
        let services: Api<Service> = Api::all(client.clone());
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let all = watcher::Config::default;
        let mut services = pin!(watcher(services, all()).default_backoff());
        let mut namespaces = pin!(watcher(namespaces, all()).default_backoff());
        let settled = sleep(SETTLED);
        let mut settled = pin!(settled);
        let mut is_settled = false;
        let mut again = false;
        let mut is_shared = true;
        loop {
            tokio::select! {
                Some(event) = services.next() => desk.take_service(event),
                Some(event) = namespaces.next() => desk.take_namespace(event),
                Some(news) = news.recv() => match news {
                    News::Secret(secret) => is_shared = secret.is_some(),
                    news => desk.take_configuration(news),
                },
                () = &mut settled, if !is_settled => is_settled = true,
                () = sleep(PAUSE), if again => {}
            }
            again = is_settled && !desk.serve().await;
            if !is_shared && desk.knows_namespace(&settings.place.namespace) {
                is_shared = share_secret(&client, &settings.place).await;
                again |= !is_shared;
            }
        }
    };
    tokio::join!(configuration, work);
}

fn kind(resource: &Resource) -> Kind {
    Kind {
        group: GROUP,
        version: resource.version,
        kind: resource.kind,
        plural: resource.plural,
    }
}

/// Makes the Secret that nodes share, as `MetalLB`'s controller does. Whether it
/// is there now.
async fn share_secret(client: &Client, place: &Place) -> bool {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &place.namespace);
    let value: [u8; 32] = rand::random();
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(place.secret.clone()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(
            SECRET_KEY.to_owned(),
            ByteString(hexadecimal(&value).into_bytes()),
        )])),
        ..Secret::default()
    };
    let made = timeout(LIMIT, secrets.create(&PostParams::default(), &secret)).await;
    match made {
        Ok(Ok(_)) => tracing::info!(secret = place.secret, "made the Secret that nodes share"),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "the Secret that nodes share is not there");
            return false;
        }
        Err(_) => {
            tracing::warn!("the Secret that nodes share is not there: no answer");
            return false;
        }
    }
    true
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
