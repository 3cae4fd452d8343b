//! What the agent answers over HTTP: its health and its metrics.
//!
//! Addresses, paths, codes and fields are kube-proxy's, so that load balancers,
//! probes and scrapers that know kube-proxy need no change (KEP-3836).

mod health;
mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::config::Configuration;
use crate::error::Error;
use crate::features::Counters;
use crate::health::Health;
use crate::mailbox::Mailbox;
use crate::source::Loaded;

/// After this time an address that could not be bound is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Where to listen, and how to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) health: Option<SocketAddr>,
    pub(crate) metrics: Option<SocketAddr>,
    /// An address that cannot be bound ends the process.
    pub(crate) is_hard: bool,
}

/// What the answers are made of.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) health: Arc<Health>,
    pub(crate) counters: Counters,
    pub(crate) shown: RwLock<Shown>,
}

/// What follows from the configuration.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// `/proxyMode`.
    pub(crate) mode: String,
    /// `/configz`.
    pub(crate) configuration: serde_json::Value,
    /// A change that waits longer makes the node unwell.
    pub(crate) patience: Duration,
}

impl Facts {
    pub(crate) fn new(mailbox: &Mailbox, counters: &Counters, loaded: &Loaded) -> Arc<Self> {
        Arc::new(Self {
            health: mailbox.health.clone(),
            counters: counters.clone(),
            shown: RwLock::new(Shown::of(loaded)),
        })
    }
}

impl Settings {
    pub(crate) fn of(config: &Configuration) -> Self {
        Self {
            health: config.health_address(),
            metrics: config.metrics_address(),
            is_hard: config.observability.bind_hard_fail,
        }
    }
}

impl Shown {
    pub(crate) fn of(loaded: &Loaded) -> Self {
        let config = &loaded.config;
        let services = &config.services;
        Self {
            mode: match services.enabled {
                true => services.mode.clone(),
                false => String::new(),
            },
            configuration: loaded.shown.clone(),
            patience: Duration::from_secs(config.observability.late_after_seconds.into()),
        }
    }
}

/// Somewhere to listen failed.
#[derive(Debug, Clone)]
pub(crate) struct Unbound {
    /// As kube-proxy's Event.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Serves until the future is dropped, wherever the settings say.
///
/// # Errors
/// An address that cannot be bound, where the settings say that this is fatal.
pub(crate) async fn serve(
    facts: Arc<Facts>,
    settings: watch::Receiver<Settings>,
    complain: impl Fn(Unbound),
) -> Result<(), Error> {
    let health = Server {
        what: "health",
        reason: "FailedToStartProxierHealthcheck",
        router: health::router(facts.clone()),
        address: |settings| settings.health,
    };
    let metrics = Server {
        what: "metrics",
        reason: "FailedToStartMetricServer",
        router: metrics::router(facts),
        address: |settings| settings.metrics,
    };
    let served = futures_util::future::try_join(
        health.serve(settings.clone(), &complain),
        metrics.serve(settings, &complain),
    );
    served.await.map(|_: ((), ())| ())
}

struct Server {
    what: &'static str,
    reason: &'static str,
    router: Router,
    address: fn(&Settings) -> Option<SocketAddr>,
}

impl Server {
    async fn serve(
        self,
        mut settings: watch::Receiver<Settings>,
        complain: &impl Fn(Unbound),
    ) -> Result<(), Error> {
        // Of one address that cannot be bound only the first time is told.
        let mut told = None;
        loop {
            let latest = settings.borrow_and_update().clone();
            let Some(address) = (self.address)(&latest) else {
                if settings.changed().await.is_err() {
                    return futures_util::future::pending().await;
                }
                continue;
            };
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    told = None;
                    tracing::info!(what = self.what, %address, "answering");
                    self.answer(listener, address, &mut settings).await;
                }
                Err(source) if latest.is_hard => {
                    let what = self.what;
                    return Err(Error::Listen {
                        what,
                        address,
                        source,
                    });
                }
                Err(error) => {
                    if told != Some(address) {
                        let message = format!("listen at {address} for {}: {error}", self.what);
                        tracing::warn!(what = self.what, %address, %error, "not answering, trying again");
                        let reason = self.reason;
                        complain(Unbound { reason, message });
                        told = Some(address);
                    }
                    let _ = timeout(AGAIN, settings.changed()).await;
                }
            }
        }
    }

    /// Until another address is configured.
    async fn answer(
        &self,
        listener: TcpListener,
        address: SocketAddr,
        settings: &mut watch::Receiver<Settings>,
    ) {
        let is_other = |settings: &Settings| (self.address)(settings) != Some(address);
        let serving = axum::serve(listener, self.router.clone());
        tokio::select! {
            served = async { serving.await } => {
                // It says that this cannot happen.
                if let Err(error) = served {
                    tracing::warn!(what = self.what, %error, "stopped answering");
                    sleep(AGAIN).await;
                }
            }
            is_configured = async { settings.wait_for(is_other).await.is_ok() } => {
                if !is_configured {
                    futures_util::future::pending::<()>().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
