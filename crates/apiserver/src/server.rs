//! The server as its caller sees it: open, serve, shut down.

mod bootstrap;
mod connections;
mod endpoints;
mod namespaces;
mod workloads;
mod writes;

use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::watch;

use crate::http::Api;
use crate::pki::{Pki, User, write_private};
use crate::rest::Registry;
use crate::store::Store;
use crate::watch::Cursor;
use crate::{Error, kubeconfig};

/// Which unix socket a node's kubelet listens on; `None` for a node without one.
pub type KubeletResolver = Arc<dyn Fn(&str) -> Option<PathBuf> + Send + Sync>;

/// Past events of each resource that a returning watcher can still read. Ten
/// thousand objects rewritten at once do not cut off who keeps reading.
const WATCH_WINDOW: usize = 16_384;

/// What the server needs to know.
#[derive(Clone)]
pub struct Settings {
    /// Folder for the objects (`objects.redb`) and `pki/`; made if missing.
    pub data_dir: PathBuf,
    /// One or two prefixes for cluster IPs; the first is the primary family.
    pub service_prefixes: Vec<IpNet>,
    /// Where node ports are taken from.
    pub node_ports: RangeInclusive<u16>,
    /// Where nodes and pods reach this server: the endpoints of the Service
    /// `default/kubernetes`, all with one port. May be empty.
    pub advertise: Vec<SocketAddr>,
    /// Host names and addresses for the server's certificate, besides localhost,
    /// the loopback addresses and `kubernetes.default.svc`.
    pub server_names: Vec<String>,
    /// Where logs and exec go.
    pub kubelet: KubeletResolver,
}

/// A running API server. Clones are handles to the same one.
#[derive(Clone)]
pub struct ApiServer {
    api: Arc<Api>,
    pki: Arc<Pki>,
    stop: watch::Sender<bool>,
}

impl ApiServer {
    /// Reads the data and makes what every cluster has: the namespaces default,
    /// kube-system, kube-public and kube-node-lease and the Service
    /// `default/kubernetes` with its endpoints.
    ///
    /// # Errors
    /// Data, certificates or settings that cannot be used. Nothing listens yet.
    pub async fn open(settings: Settings) -> Result<ApiServer, Error> {
        let dir = &settings.data_dir;
        let mut names = settings.server_names.clone();
        names.extend(
            settings
                .advertise
                .iter()
                .map(|address| address.ip().to_string()),
        );
        names.extend(
            settings
                .service_prefixes
                .iter()
                .map(bootstrap::first_address),
        );
        let pki = Pki::open(&dir.join("pki"), &names)?;
        let store = Store::open(dir, WATCH_WINDOW)?;
        let registry = Registry::open(store, &settings)?;
        bootstrap::run(&registry, &settings).await?;
        let (stop, stopped) = watch::channel(false);
        let api = Arc::new(Api::new(registry, Arc::clone(&settings.kubelet), stopped));
        Ok(ApiServer {
            api,
            pki: Arc::new(pki),
            stop,
        })
    }

    /// Answers on `listener` (TLS, HTTP/1.1 and HTTP/2) until
    /// [`ApiServer::shutdown`], then until the last connection is finished (for at
    /// most ten seconds). Call it for each listener.
    ///
    /// # Errors
    /// A listener that cannot be used at all; a connection that fails only ends
    /// itself.
    pub fn serve(
        &self,
        listener: TcpListener,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        connections::serve(
            listener,
            Arc::clone(&self.api),
            Arc::clone(&self.pki),
            self.stop.subscribe(),
        )
    }

    /// Keeps Endpoints and EndpointSlices as the Services' selectors say, keeps the
    /// pods of Deployments, ReplicaSets, DaemonSets and Jobs, watches the nodes'
    /// heartbeats and empties namespaces that are being deleted, until
    /// [`ApiServer::shutdown`].
    pub fn run_controllers(&self) -> impl Future<Output = ()> + Send + use<> {
        let registry = self.api.registry();
        let endpoints = endpoints::run(registry.clone(), self.stop.subscribe());
        let namespaces = namespaces::run(registry.clone(), self.stop.subscribe());
        let workloads = workloads::run(registry.clone(), self.stop.subscribe());
        async {
            tokio::join!(endpoints, namespaces, workloads);
        }
    }

    /// Ends the watches, lets other requests finish and makes every
    /// [`ApiServer::serve`] return.
    pub fn shutdown(&self) {
        self.stop.send_replace(true);
    }

    /// A kubeconfig for `user`, with the server at `url`
    /// (`https://127.0.0.1:6443`).
    pub fn kubeconfig(&self, user: User, url: &str) -> String {
        let token = self.pki.tokens.of(user);
        let config = kubeconfig::render(url, &self.pki.ca_pem, user.name(), token);
        format!("{config:#}\n")
    }

    /// Writes [`ApiServer::kubeconfig`] to `path`, mode 0600, replacing what is
    /// there.
    ///
    /// # Errors
    /// A path that cannot be written.
    pub fn write_kubeconfig(&self, path: &Path, user: User, url: &str) -> Result<(), Error> {
        write_private(path, &self.kubeconfig(user, url))
    }

    /// The objects, for controllers in the same process. Writes that bypass
    /// HTTP also bypass validation: use them for reading and watching.
    pub fn store(&self) -> &Store {
        self.api.registry().store()
    }
}

/// Waits for [`ApiServer::shutdown`]. Cancel safe.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the server itself is gone, which comes to the same.
    let _ = stop.wait_for(|&stop| stop).await;
}

/// Waits until something may be new for one of the cursors. Cancel safe.
async fn any_moved(cursors: &mut [Cursor]) {
    let moves = cursors.iter_mut().map(|cursor| Box::pin(cursor.moved()));
    futures_util::future::select_all(moves).await;
}
