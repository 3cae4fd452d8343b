//! `podway apiserver`: the embedded API server alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use podway_apiserver::{ApiServer, Settings, User};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::ApiserverArgs;

pub(crate) fn run(args: ApiserverArgs) -> anyhow::Result<ExitCode> {
    crate::agent::log_to_stderr();
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), args.port);
    // Bound before the store is opened: a second server on the same port must
    // not touch the first one's data.
    let listener = TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {address}: choose another --port"))?;
    tokio::runtime::Runtime::new()
        .context("cannot start the event loop")?
        .block_on(serve(args, listener))
}

async fn serve(args: ApiserverArgs, listener: TcpListener) -> anyhow::Result<ExitCode> {
    let url = format!("https://{}", listener.local_addr()?);
    let (first, last) = args.service_node_port_range;
    let server = ApiServer::open(Settings {
        data_dir: args.data_dir,
        service_prefixes: args.service_cluster_ip_range,
        node_ports: first..=last,
        advertise: Vec::new(),
        server_names: Vec::new(),
        kubelet: Arc::new(|_| None),
    })
    .await?;
    if let Some(path) = &args.write_kubeconfig {
        server.write_kubeconfig(path, User::Admin, &url)?;
    }
    println!("serving on {url}");
    let mut terminate = signal(SignalKind::terminate())?;
    let controllers = server.run_controllers();
    let connections = server.serve(listener);
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        server.shutdown();
    };
    let ((), (), served) = tokio::join!(stop, controllers, connections);
    served?;
    Ok(ExitCode::SUCCESS)
}
