//! The network between the nodes.

mod settings;
mod side;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use podway_dataplane::overlay::{Error, Interest, read_underlay, remove_others};
use podway_kernel::route::Rtnetlink;
use podway_model::{ClusterState, Update};
use podway_plan::overlay::{Annotations, OverlayMode, publish, subnet_env};

use super::Counters;
use crate::config::Configuration;
use crate::feature::{Feature, Report, Scope, WriteError, chain};
use crate::files;
use crate::status::{LeftOut, OverlayStatus};
pub(crate) use settings::OverlayConfig;
use side::Side;
pub(crate) use watch::OverlayWatch;

/// At most so many nodes that are left out are listed in the status.
const MOST_LEFT_OUT: usize = 10;

/// The overlay that packets are sent by, and those whose packets are taken as
/// well.
pub(crate) struct Overlay {
    main: Side,
    also: Vec<Side>,
    socket: Rtnetlink,
    counters: Counters,
    /// Where `subnet.env` goes, and whether pods are masqueraded.
    subnet_file: Option<PathBuf>,
    masquerade: bool,
    /// What the watcher of links and routes looks for.
    interest: Arc<Mutex<Interest>>,
    /// Devices of overlays that are no longer configured are gone.
    is_alone: bool,
    mtu: Option<u32>,
}

impl Overlay {
    /// Opens the backends in the calling thread's network namespace.
    pub(crate) fn open(
        config: &Configuration,
        overlay: &OverlayConfig,
        node: &Arc<str>,
        counters: Counters,
    ) -> Result<Self, Error> {
        let also = overlay.also.iter();
        Ok(Self {
            main: Side::open(&overlay.main, node)?,
            also: also
                .map(|settings| Side::open(settings, node))
                .collect::<Result<_, _>>()?,
            socket: Rtnetlink::open()?,
            counters,
            subnet_file: config.overlay.subnet_file.clone(),
            masquerade: config.pods.enabled && config.pods.masquerade,
            interest: Arc::default(),
            is_alone: false,
            mtu: None,
        })
    }

    /// What has to be watched for it.
    pub(crate) fn watch(&self) -> OverlayWatch {
        let sides = std::iter::once(&self.main).chain(&self.also);
        OverlayWatch {
            own: sides
                .flat_map(Side::netlink_ports)
                .chain([self.socket.port()])
                .collect(),
            interest: self.interest.clone(),
        }
    }

    fn follow_interest(&self) {
        let sides = std::iter::once(&self.main).chain(&self.also);
        let carriers = sides.flat_map(Side::carriers);
        let (settings, table) = self.main.plan_of();
        *self.interest.lock() = Interest::of(table, carriers, settings.needs_underlay());
    }

    fn sides(&mut self) -> impl Iterator<Item = &mut Side> {
        std::iter::once(&mut self.main).chain(&mut self.also)
    }

    /// Plans by the routing table as it is now.
    fn follow_underlay(&mut self) -> Result<(), Error> {
        let settings = self.main.planner.settings();
        if settings.needs_underlay() {
            let underlay = read_underlay(&mut self.socket, self.main.planner.table())?;
            self.main.follow_underlay(underlay);
        }
        Ok(())
    }

    /// The devices of overlays that packets are neither sent nor taken by go, once
    /// the routes of the one that they are sent by are written.
    fn remove_others(&mut self) {
        if self.is_alone {
            return;
        }
        let kept: Vec<OverlayMode> = self.sides().map(|side| side.mode()).collect();
        match remove_others(&mut self.socket, &kept) {
            Ok(removed) => {
                for device in removed {
                    tracing::info!(device, "device of another overlay removed");
                }
                self.is_alone = true;
            }
            // Nothing depends on it: tried again with the next whole comparison.
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "devices of another overlay are left");
            }
        }
    }

    fn write_subnet_file(&self) {
        let (Some(path), Some(mtu)) = (&self.subnet_file, self.mtu) else {
            return;
        };
        let (table, settings) = (self.main.planner.table(), self.main.planner.settings());
        let Some(text) = subnet_env(table, settings, mtu, self.masquerade) else {
            return;
        };
        let file = path.display();
        match files::replace_if_different(path, &text) {
            Ok(true) => tracing::info!(%file, "subnet.env written"),
            Ok(false) => {}
            // For others; nothing here depends on it.
            Err(error) => tracing::warn!(%file, %error, "subnet.env not written"),
        }
    }

    fn annotations(&self) -> Annotations {
        let Some(node) = self.main.planner.own_node() else {
            return Annotations::new();
        };
        let also: Vec<_> = self.also.iter().map(Side::plan_of).collect();
        publish(node, self.main.plan_of(), &also)
    }

    /// Whether the Node should say that its network is there, and does not.
    fn is_unannounced(&self) -> bool {
        let is_ours = self.main.mode() != OverlayMode::None;
        let node = self.main.planner.own_node();
        let says_so = node.is_none_or(|node| node.network_unavailable == Some(false));
        is_ours && !says_so
    }
}

impl Feature for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn plan_all(&mut self, state: &ClusterState) {
        self.sides().for_each(|side| side.plan_all(state));
    }

    fn plan(&mut self, _state: &ClusterState, updates: &[Update]) {
        self.sides().for_each(|side| side.plan(updates));
    }

    fn write(&mut self, scope: Scope) -> Result<(), WriteError> {
        if scope == Scope::Everything || self.main.change.own {
            self.follow_underlay()?;
        }
        // First what packets are sent by, so that no route is gone before
        // another has taken its place.
        let report = self.main.write(scope)?;
        let mut writes = report.writes;
        self.mtu = report.pod_mtu;
        for side in &mut self.also {
            let report = side.write(scope)?;
            writes += report.writes;
            // What comes in is as large as the sender's pods may send.
            self.mtu = self.mtu.min(report.pod_mtu.or(self.mtu));
        }
        self.counters.requests(writes);
        self.follow_interest();
        if self.mtu.is_some() {
            self.remove_others();
        }
        self.write_subnet_file();
        Ok(())
    }

    fn describe(&self, report: &mut Report) {
        report.mtu = self.mtu;
        if self.mtu.is_some() {
            report.annotations = self.annotations();
            report.network_is_unannounced = self.is_unannounced();
        }
        let table = self.main.planner.table();
        let left_out = table.refused.iter().take(MOST_LEFT_OUT);
        report.status.overlay = Some(OverlayStatus {
            backend: self.main.mode().name().to_owned(),
            also: self
                .also
                .iter()
                .map(|side| side.mode().name().to_owned())
                .collect(),
            mtu: self.mtu.unwrap_or(0),
            peers: table.peers.len(),
            left_out: left_out
                .map(|(key, refusal)| LeftOut {
                    node: key.node.to_string(),
                    family: key.family.to_string(),
                    reason: refusal.to_string(),
                })
                .collect(),
            left_out_count: table.refused.len(),
        });
    }
}
