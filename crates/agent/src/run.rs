//! The agent's life: checks, threads, signals.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::future;
use parking_lot::Mutex;
use podway_cni::agent_protocol::AgentStatus;
use podway_watch::client::{self, WatchScope};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::attachments::Attachments;
use crate::config::Configuration;
use crate::error::Error;
use crate::feature::Tracked;
use crate::features::{Announcing, Counters, Features, follow_addresses};
use crate::foreign::OwnPorts;
use crate::mailbox::Mailbox;
use crate::pods::PodConfig;
use crate::publish::{self, Bulletin, Severity};
use crate::reload::Readers;
use crate::servers::{Facts, Settings};
use crate::socket::{Served, Socket};
use crate::source::{Loaded, Role, Source};
use crate::sync::{Assembly, Parts, Sync};
use crate::{foreign, health_checks, probe, reload, servers, sysctls};

/// `CAP_NET_ADMIN` in the masks of `/proc/self/status` (linux/capability.h).
const CAP_NET_ADMIN: u64 = 1 << 12;

/// Runs the agent of a node until SIGTERM or SIGINT. What it wrote stays in
/// force while it is down, and the next one adopts it.
///
/// # Errors
/// What keeps an agent from starting; afterwards it goes on, whatever fails.
pub fn run(source: Source) -> Result<(), Error> {
    let loaded = (source.read)().map_err(Error::Configuration)?;
    require_privilege()?;
    let node = node_name(&loaded.config)?;
    probe::probe(&loaded.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Start {
            what: "the runtime",
            source,
        })?;
    runtime.block_on(serve(source, loaded, node))
}

async fn serve(source: Source, loaded: Loaded, node: Arc<str>) -> Result<(), Error> {
    let config = &loaded.config;
    let role = source.role;
    let (kubeconfig, server) = (config.kubeconfig.as_deref(), source.server.as_deref());
    let client = client::connect_to(kubeconfig, server).await?;
    let mailbox = Arc::new(Mailbox::default());
    let counters = Counters::default();
    sysctls::set(config);
    let (post, publisher) =
        publish::post(client.clone(), node.clone(), config.observability.enabled);
    let bulletin = post.bulletin();
    let facts = Facts::new(&mailbox, &counters, &loaded);
    let checking = health_checks::serve(facts.clone(), post.health_checks(), bulletin.clone());
    let readiness = Arc::new(Mutex::new(AgentStatus {
        message: "the agent is starting".to_owned(),
        ..AgentStatus::default()
    }));
    if role == Role::Agent {
        listen(config, &mailbox, &readiness)?;
    }
    let assembly = Assembly {
        config: config.clone(),
        node: node.clone(),
        counters,
        own_ports: OwnPorts::default(),
    };
    let (sync, announcing) = assemble(assembly, &mailbox, readiness, post)?;
    let balancing = config.load_balancer.clone();
    let ended = start_sync(sync, mailbox.clone())?;
    announce(config, role, &node, &bulletin);
    let (servers, settings) = watch::channel(Settings::of(config));
    let readers = Readers {
        mailbox: mailbox.clone(),
        facts: facts.clone(),
        servers,
    };
    reload::watch(source, loaded, readers)?;
    let serving = servers::serve(facts, settings, |unbound| {
        bulletin.about_node(&node, Severity::Warning, unbound.reason, unbound.message);
    });
    let announcing = follow_addresses(announcing, &client, &balancing, &mailbox);
    let scope = scope(role, &node);
    let watching = client::watch(client.clone(), scope, |notice| mailbox.notice(notice));
    let work = future::join4(watching, publisher.run(), checking, announcing);
    tokio::select! {
        _ = work => Err(Error::SyncEnded),
        _ = ended => Err(Error::SyncEnded),
        served = serving => served.and(Err(Error::SyncEnded)),
        signal = told_to_end() => {
            tracing::info!(signal = signal?, "agent ends; what it wrote stays in force");
            mailbox.end();
            Ok(())
        }
    }
}

/// The sync thread's belongings, and what watches the kernel for it.
fn assemble(
    mut assembly: Assembly,
    mailbox: &Arc<Mailbox>,
    readiness: Arc<Mutex<AgentStatus>>,
    outbox: publish::Post,
) -> Result<(Sync<publish::Post>, Option<Announcing>), Error> {
    let features = Features::open(&assembly.config, &assembly.node, &assembly.counters)?;
    assembly.own_ports = features.ports.clone();
    let config = &assembly.config;
    foreign::watch(features.ports, mailbox.clone())?;
    if let Some(overlay) = features.overlay {
        overlay.start(mailbox.clone())?;
    }
    let sync = Sync::new(Parts {
        node: assembly.node.clone(),
        features: features.all.into_iter().map(Tracked::new).collect(),
        pods: pod_config(config),
        attachments: Attachments::read(&config.state_dir),
        counters: assembly.counters.clone(),
        health: mailbox.health.clone(),
        readiness,
        outbox,
        assembly: Some(assembly),
    });
    Ok((sync, features.announcing))
}

fn scope(role: Role, node: &Arc<str>) -> WatchScope {
    match role {
        Role::Agent => WatchScope::everything(),
        Role::Proxy => WatchScope::of_proxy(node.clone()),
    }
}

/// How pods are attached, where that is the agent's.
pub(crate) fn pod_config(config: &Configuration) -> Option<PodConfig> {
    let socket = config.policies.enabled.then(|| config.socket_path());
    let pods = &config.pods;
    pods.enabled
        .then(|| PodConfig::new(pods, socket, config.overlay.enabled))
}

/// Says what has started.
fn announce(config: &Configuration, role: Role, node: &Arc<str>, bulletin: &Bulletin) {
    let services = config.services.enabled.then_some(&*config.services.mode);
    if let (Role::Proxy, Some(mode)) = (role, services) {
        // The words that kube-proxy says it with: scripts look for them.
        match mode {
            "iptables" => tracing::info!("Using iptables Proxier"),
            "ipvs" => tracing::info!("Using ipvs Proxier"),
            "nftables" => tracing::info!("Using nftables Proxier"),
            _ => tracing::info!(mode, "Using userspace Proxier"),
        }
        bulletin.about_node(node, Severity::Normal, "Starting", String::new());
    }
    tracing::info!(
        %node,
        services,
        policies = config.policies.enabled.then_some(&*config.policies.backend),
        overlay = config.overlay.enabled.then_some(&*config.overlay.backend),
        "agent started"
    );
}

/// Starts the sync thread; the receiver hears of its end, however it comes.
fn start_sync(
    mut sync: Sync<publish::Post>,
    mailbox: Arc<Mailbox>,
) -> Result<oneshot::Receiver<()>, Error> {
    let (alive, ended) = oneshot::channel::<()>();
    let thread = thread::Builder::new().name("podway-sync".to_owned());
    let spawned = thread.spawn(move || {
        sync.run(&mailbox);
        drop(alive);
    });
    spawned.map(|_| ended).map_err(|source| Error::Start {
        what: "the sync thread",
        source,
    })
}

fn listen(
    config: &Configuration,
    mailbox: &Arc<Mailbox>,
    readiness: &Arc<Mutex<AgentStatus>>,
) -> Result<(), Error> {
    let path = config.socket_path();
    let readiness = readiness.clone();
    let served = Served {
        mailbox: mailbox.clone(),
        readiness: Box::new(move || readiness.lock().clone()),
        wait: Duration::from_secs(config.pods.policy_wait_seconds.into()),
    };
    Socket::bind(&path)
        .and_then(|socket| socket.serve(served))
        .map_err(|source| Error::Socket { path, source })
}

async fn told_to_end() -> Result<&'static str, Error> {
    let listen = |kind| {
        signal(kind).map_err(|source| Error::Start {
            what: "listening to signals",
            source,
        })
    };
    let (mut terminate, mut interrupt) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}

/// Checks that the process may change the network, root or not.
pub(crate) fn require_privilege() -> Result<(), Error> {
    let status = read(Path::new("/proc/self/status"))?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    if effective & CAP_NET_ADMIN == 0 {
        return Err(Error::NotRoot);
    }
    Ok(())
}

/// The configured name, or the host's in lower case, as the kubelet's default.
fn node_name(config: &Configuration) -> Result<Arc<str>, Error> {
    if let Some(name) = &config.node_name {
        return Ok(name.as_str().into());
    }
    let name = read(Path::new("/proc/sys/kernel/hostname"))?;
    match name.trim() {
        "" | "(none)" => Err(Error::NoNodeName),
        name => Ok(name.to_lowercase().into()),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}
