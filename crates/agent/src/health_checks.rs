//! Health check node ports: load balancers ask them whether this node has
//! endpoints of a Service of its own (`spec.healthCheckNodePort`).
//!
//! One listener for each port and address. Counts are read when somebody asks,
//! so that a change of endpoints opens and closes nothing.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use podway_model::{IpFamily, ObjectRef};
use podway_plan::service::HealthCheck;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::publish::{Bulletin, News, Severity};
use crate::servers::Facts;

/// After this time ports that could not be bound are tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What to answer, by port.
pub(crate) type Checks = Arc<BTreeMap<u16, Arc<HealthCheck>>>;

/// What is asked for, as of the last write of the rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) checks: Checks,
    /// Which of the node's addresses serve node ports; a family without a
    /// prefix: all of them.
    pub(crate) prefixes: Vec<IpNet>,
}

/// Answers until the future is dropped.
pub(crate) async fn serve(
    facts: Arc<Facts>,
    mut wanted: watch::Receiver<Wanted>,
    bulletin: Bulletin,
) {
    let mut listeners = Listeners::default();
    loop {
        let latest = wanted.borrow_and_update().clone();
        let is_whole = listeners.settle(&latest, &facts, &wanted, &bulletin);
        let changed = wanted.changed();
        // Addresses come and go without a change of the plan.
        let is_fixed = is_whole && latest.prefixes.is_empty();
        let ended = if is_fixed || latest.checks.is_empty() {
            changed.await.is_err()
        } else {
            timeout(AGAIN, changed).await.is_ok_and(|it| it.is_err())
        };
        if ended {
            return futures_util::future::pending().await;
        }
    }
}

/// A task that is over when this is dropped.
struct Answering(JoinHandle<()>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Default)]
struct Listeners {
    open: BTreeMap<SocketAddr, Answering>,
    /// Those that cannot be bound, and why: each is told once.
    failing: BTreeMap<SocketAddr, String>,
}

impl Listeners {
    /// Opens and closes; false where something could not be opened.
    fn settle(
        &mut self,
        wanted: &Wanted,
        facts: &Arc<Facts>,
        source: &watch::Receiver<Wanted>,
        bulletin: &Bulletin,
    ) -> bool {
        let addresses = serving(&wanted.prefixes);
        let sockets = |port: &u16| {
            let port = *port;
            addresses.iter().map(move |ip| SocketAddr::new(*ip, port))
        };
        let all: Vec<SocketAddr> = wanted.checks.keys().flat_map(sockets).collect();
        self.open.retain(|address, _| all.contains(address));
        self.failing.retain(|address, _| all.contains(address));
        for address in all {
            if self.open.contains_key(&address) {
                continue;
            }
            match open(address) {
                Ok(listener) => {
                    let router = router(address, facts.clone(), source.clone());
                    let answering = tokio::spawn(async move {
                        // It ends with its task.
                        let _ = axum::serve(listener, router).await;
                    });
                    self.open.insert(address, Answering(answering));
                    self.failing.remove(&address);
                }
                Err(error) => self.fail(address, &error, wanted, bulletin),
            }
        }
        self.failing.is_empty()
    }

    fn fail(&mut self, address: SocketAddr, error: &io::Error, wanted: &Wanted, told: &Bulletin) {
        let reason = error.to_string();
        let before = self.failing.insert(address, reason.clone());
        if before.is_some_and(|before| before == reason) {
            return;
        }
        let Some(check) = wanted.checks.get(&address.port()) else {
            return;
        };
        let service = &check.service;
        tracing::warn!(%service, %address, reason, "health check node port not answered");
        told.tell(News::Occurrence {
            object: ObjectRef::Service(service.clone()),
            severity: Severity::Warning,
            // kube-proxy's word.
            reason: "FailedToStartServiceHealthcheck",
            message: format!("health check node port: listen at {address}: {reason}"),
        });
    }
}

/// Where to listen: at every address of a family that is not restricted, else
/// at those of the node's that are served.
fn serving(prefixes: &[IpNet]) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for family in IpFamily::ALL {
        let mut of_family = prefixes
            .iter()
            .filter(|prefix| IpFamily::of(&prefix.addr()) == family)
            .peekable();
        if of_family.peek().is_none() || of_family.any(|prefix| prefix.prefix_len() == 0) {
            addresses.push(match family {
                IpFamily::V4 => Ipv4Addr::UNSPECIFIED.into(),
                IpFamily::V6 => Ipv6Addr::UNSPECIFIED.into(),
            });
        }
    }
    let is_covered = |address: &IpAddr| {
        let family = IpFamily::of(address);
        let everywhere = |known: &IpAddr| known.is_unspecified() && IpFamily::of(known) == family;
        addresses.iter().any(everywhere)
    };
    let mut own: Vec<IpAddr> = own_addresses();
    own.retain(|address| {
        !is_covered(address) && prefixes.iter().any(|prefix| prefix.contains(address))
    });
    own.sort_unstable();
    own.dedup();
    addresses.extend(own);
    addresses
}

fn own_addresses() -> Vec<IpAddr> {
    let address = |storage: SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    let interfaces = getifaddrs().into_iter().flatten();
    interfaces.filter_map(|i| address(i.address?)).collect()
}

/// A listener of its family only: both have the same ports.
fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let descriptor = socket(family, SockType::Stream, flags, None)?;
    // Connections of a predecessor may linger at the port.
    setsockopt(&descriptor, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&descriptor, sockopt::Ipv6V6Only, &true)?;
    }
    bind(
        std::os::fd::AsRawFd::as_raw_fd(&descriptor),
        &SockaddrStorage::from(address),
    )?;
    listen(&descriptor, Backlog::new(128)?)?;
    TcpListener::from_std(std::net::TcpListener::from(descriptor))
}

/// Any path and any method.
fn router(address: SocketAddr, facts: Arc<Facts>, wanted: watch::Receiver<Wanted>) -> Router {
    Router::new().fallback(async move || {
        let check = wanted.borrow().checks.get(&address.port()).cloned();
        answer(check.as_deref(), IpFamily::of(&address.ip()), &facts)
    })
}

fn answer(check: Option<&HealthCheck>, family: IpFamily, facts: &Facts) -> Response {
    // Between the plan and the closing of the port.
    let Some(check) = check else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let patience = facts.shown.read().patience;
    let is_well = facts.health.judge(Instant::now(), patience).is_well;
    let count = check.local_endpoints.get(&family).copied().unwrap_or(0);
    let status = match count > 0 && is_well {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = json!({
        "service": { "namespace": &*check.service.namespace, "name": &*check.service.name },
        "localEndpoints": count,
        "serviceProxyHealthy": is_well,
    });
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (
            header::HeaderName::from_static("x-load-balancing-endpoint-weight"),
            HeaderValue::from(count),
        ),
    ];
    (status, headers, body.to_string()).into_response()
}

#[cfg(test)]
mod tests;
