use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use kube::Client;
use podway_apiserver::{ApiServer, Settings, User};
use tempfile::TempDir;

/// An API server on a free port, gone with the value.
pub(crate) struct Server {
    api: ApiServer,
    folder: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let settings = Settings {
            data_dir: folder.path().join("data"),
            service_prefixes: vec!["10.96.0.0/16".parse().unwrap()],
            node_ports: 30000..=32767,
            advertise: Vec::new(),
            server_names: Vec::new(),
            kubelet: Arc::new(|_| None),
        };
        let api = ApiServer::open(settings).await.unwrap();
        tokio::spawn(api.serve(listener));
        tokio::spawn(api.run_controllers());
        let server = Self { api, folder };
        let kubeconfig = server.kubeconfig();
        server
            .api
            .write_kubeconfig(&kubeconfig, User::Admin, &url)
            .unwrap();
        server
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    pub(crate) async fn client(&self) -> Client {
        podway_watch::client::connect(Some(&self.kubeconfig()))
            .await
            .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.api.shutdown();
    }
}
