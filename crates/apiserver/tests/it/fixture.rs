//! A server of the test's own, on a free port, with its data in a temporary
//! folder.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use podway_apiserver::{ApiServer, KubeletResolver, Settings, User};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A running server; gone with the value.
pub(crate) struct Server {
    pub(crate) api: ApiServer,
    pub(crate) address: SocketAddr,
    pub(crate) dir: TempDir,
    pub(crate) runtime: Runtime,
}

impl Server {
    /// A server whose nodes have no kubelet.
    pub(crate) fn start() -> Server {
        Server::with_kubelet(Arc::new(|_| None))
    }

    pub(crate) fn with_kubelet(kubelet: KubeletResolver) -> Server {
        Server::on(tempfile::tempdir().unwrap(), ANY_PORT, kubelet)
    }

    /// The same data served by a new server on another port.
    pub(crate) fn restart(self) -> Server {
        self.restart_at(ANY_PORT)
    }

    /// The same data served by a new server at this address.
    pub(crate) fn restart_at(self, address: SocketAddr) -> Server {
        let Server {
            api, dir, runtime, ..
        } = self;
        api.shutdown();
        drop(api);
        drop(runtime);
        Server::on(dir, address, Arc::new(|_| None))
    }

    fn on(dir: TempDir, address: SocketAddr, kubelet: KubeletResolver) -> Server {
        let runtime = Runtime::new().unwrap();
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let mut settings = settings(dir.path().join("data"));
        settings.kubelet = kubelet;
        let api = runtime.block_on(ApiServer::open(settings)).unwrap();
        runtime.spawn(api.serve(listener));
        runtime.spawn(api.run_controllers());
        let kubeconfig = dir.path().join("kubeconfig");
        let url = format!("https://{address}");
        api.write_kubeconfig(&kubeconfig, User::Admin, &url)
            .unwrap();
        Server {
            api,
            address,
            dir,
            runtime,
        }
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }
}

/// The lab's prefixes and ports.
pub(crate) fn settings(data_dir: PathBuf) -> Settings {
    Settings {
        data_dir,
        service_prefixes: vec![
            "10.96.0.0/16".parse().unwrap(),
            "fd00:10:96::/112".parse().unwrap(),
        ],
        node_ports: 30000..=32767,
        advertise: vec![
            "172.16.0.1:6443".parse().unwrap(),
            "[fd00:172:16::1]:6443".parse().unwrap(),
        ],
        server_names: Vec::new(),
        kubelet: Arc::new(|_| None),
    }
}
