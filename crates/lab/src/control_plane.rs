//! The control plane's process: the API server, the scheduler and the controller.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use podway_apiserver::{ApiServer, KubeletResolver, Settings, User};
use podway_kernel::netns::NetNs;
use podway_model::IpFamily;
use tokio::signal::unix::{SignalKind, signal};

use crate::files::{make_folder, write_whole};
use crate::name::node_index;
use crate::paths::LabPaths;
use crate::{Error, LabName, definitions, scheduler, topology};

/// Where node ports are taken from.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

/// `podway lab control-plane`, which `up` starts.
#[derive(Debug, Clone, clap::Args)]
pub struct ControlPlaneArgs {
    /// The lab
    #[arg(long)]
    pub name: LabName,
    /// The families of services, the primary one first: ipv4, ipv6
    #[arg(long, value_delimiter = ',', value_parser = parse_family)]
    pub ip_families: Vec<IpFamily>,
}

fn parse_family(text: &str) -> Result<IpFamily, String> {
    let family = IpFamily::ALL
        .into_iter()
        .find(|family| family.to_string().eq_ignore_ascii_case(text));
    family.ok_or_else(|| format!("{text:?} is no family: use ipv4 or ipv6"))
}

impl ControlPlaneArgs {
    /// Serves until SIGTERM. Says `ready` on standard output once it does.
    ///
    /// # Errors
    /// When the store or a port cannot be opened.
    pub fn run(self) -> Result<(), Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Error::io("start the event loop"))?;
        let result = runtime.block_on(self.serve());
        runtime.shutdown_background();
        result
    }

    async fn serve(self) -> Result<(), Error> {
        let paths = LabPaths::new(&self.name);
        let advertise: Vec<SocketAddr> = self
            .ip_families
            .iter()
            .map(|&family| SocketAddr::new(topology::gateway(0, family).addr(), topology::API_PORT))
            .collect();
        let data = paths.control_plane().join("data");
        make_folder(&data)?;
        let server = ApiServer::open(Settings {
            data_dir: data,
            service_prefixes: self
                .ip_families
                .iter()
                .map(|&family| topology::service_prefix(family))
                .collect(),
            node_ports: NODE_PORTS,
            advertise,
            server_names: topology::both(|family| topology::gateway(0, family))
                .iter()
                .map(ToString::to_string)
                .collect(),
            kubelet: kubelets(paths.clone()),
        })
        .await?;
        let mut listeners = on_underlay(&self.name)?;
        let loopback = on_loopback(&paths)?;
        let port = loopback
            .local_addr()
            .map_err(Error::io("read the API server's port"))?
            .port();
        listeners.push(loopback);
        write_kubeconfigs(&server, &paths, port)?;
        let mut terminate =
            signal(SignalKind::terminate()).map_err(Error::io("receive SIGTERM"))?;
        for listener in listeners {
            let serving = server.serve(listener);
            tokio::spawn(async move {
                if let Err(error) = serving.await {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a listener is lost"
                    );
                }
            });
        }
        tokio::spawn(server.run_controllers());
        let client = podway_watch::client::connect(Some(&paths.kubeconfig())).await?;
        let defined = definitions::ensure(&client).await;
        defined.map_err(Error::request("define ClusterNetworkPolicy"))?;
        tokio::spawn(scheduler::run(client));
        tokio::spawn(controller(&paths));
        say_ready().map_err(Error::io("say that the control plane is ready"))?;
        tracing::info!(lab = %self.name, port, "control plane is ready");
        terminate.recv().await;
        server.shutdown();
        Ok(())
    }
}

/// Podway's controller, for as long as the process lives. Its name does not change, so
/// that the Lease of the process before is its own.
fn controller(paths: &LabPaths) -> impl Future<Output = ()> + use<> {
    let settings = podway_controller::Settings {
        kubeconfig: Some(paths.kubeconfig()),
        identity: "control-plane".to_owned(),
        lease_namespace: "kube-system".to_owned(),
        lease_name: "podway-controller".to_owned(),
        lease_duration: Duration::from_secs(15),
        node_ranges: Vec::new(),
        addresses: Some(podway_controller::AddressSettings::default()),
    };
    async {
        let ended = podway_controller::run(settings, std::future::pending()).await;
        if let Err(error) = ended {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "there is no controller");
        }
    }
}

/// `up` waits for this line; whoever started the control plane by hand and
/// closed its output does not.
fn say_ready() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(b"ready\n").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Sockets belong to the namespace that they were opened in: these are reached
/// from the nodes although this process lives on the host.
fn on_underlay(lab: &LabName) -> Result<Vec<TcpListener>, Error> {
    let underlay = NetNs::named(&lab.namespace("underlay"))?;
    let mut listeners = Vec::new();
    for address in topology::both(|family| topology::gateway(0, family)) {
        let address = SocketAddr::new(address, topology::API_PORT);
        let listener = underlay.run(|| TcpListener::bind(address))?;
        listeners
            .push(listener.map_err(Error::io(format!("listen on {address} of the underlay")))?);
    }
    Ok(listeners)
}

/// The port of the last start, so that kubeconfigs stay valid, or another one
/// where somebody else has taken it.
fn on_loopback(paths: &LabPaths) -> Result<TcpListener, Error> {
    let remembered = fs::read_to_string(paths.port()).ok();
    let remembered: Option<u16> = remembered.and_then(|text| text.trim_end().parse().ok());
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = match remembered.map(bind) {
        Some(Err(error)) if error.kind() == ErrorKind::AddrInUse => bind(0),
        Some(result) => result,
        None => bind(0),
    };
    let listener = listener.map_err(Error::io("listen on 127.0.0.1 for the API server"))?;
    let port = listener
        .local_addr()
        .map_err(Error::io("read the API server's port"))?
        .port();
    write_whole(&paths.port(), &format!("{port}\n"))?;
    Ok(listener)
}

fn write_kubeconfigs(server: &ApiServer, paths: &LabPaths, port: u16) -> Result<(), Error> {
    let admin = format!("https://127.0.0.1:{port}");
    server.write_kubeconfig(&paths.kubeconfig(), User::Admin, &admin)?;
    // The underlay has both families whatever the pods have.
    let gateway = topology::gateway(0, IpFamily::V4).addr();
    let nodes = format!("https://{}", SocketAddr::new(gateway, topology::API_PORT));
    server.write_kubeconfig(&paths.node_kubeconfig(), User::Node, &nodes)?;
    Ok(())
}

/// Where each node's kubelet listens. A node of somebody else's making has none.
fn kubelets(paths: LabPaths) -> KubeletResolver {
    Arc::new(move |node: &str| node_index(node).map(|_| paths.node(node).kubelet_socket()))
}
