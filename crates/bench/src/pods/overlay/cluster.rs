//! One node of a large cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use podway_dataplane::overlay::{BACKENDS, OverlayBackend, SyncReport, read_underlay};
use podway_kernel::netns::NetNs;
use podway_kernel::route::{LinkChange, NewLink, Rtnetlink, VethPeer};
use podway_model::{Change, ClusterState, Labels, Node, Object};
use podway_plan::overlay::{OverlayPlanner, OverlaySettings, Underlay, plan_overlay, publish};

use crate::measure::{Samples, time};
use crate::{Bench, Extent, Figure, Line, Target};

/// How many nodes.
const NODES: u16 = 5_000;
/// How many changes are timed.
const CHANGES: u16 = 200;

/// All peers programmed at once, then one node's change after another.
pub(super) fn run(bench: &mut Bench<'_>, settings: &OverlaySettings) -> anyhow::Result<()> {
    let rounds = if bench.extent == Extent::Full { 5 } else { 1 };
    let mode = settings.mode.name();
    let objects: Vec<Node> = (1..=NODES).map(|n| node(n, settings, true)).collect();
    let mut all = Vec::new();
    let mut changes = Vec::new();
    let mut most = 0;
    for _ in 0..rounds {
        let mut state = state(&objects);
        let mut own = Own::new(settings)?;
        let (taken, outcome) = time(|| own.program_all(&state));
        outcome?;
        all.push(taken);
        for round in 0..CHANGES {
            let (taken, report) = own.change_one(&mut state, settings, round)?;
            changes.push(taken);
            most = most.max(report.writes);
        }
    }
    let name = format!("{mode}: program {NODES} nodes, both families");
    let limit = Target::AtMost(Figure::Time(Duration::from_secs(2)));
    bench.add(Line::new(name, Figure::Time(Samples::new(all).median())).target(limit));
    let changes = Samples::new(changes);
    let name = |what: &str| format!("{mode}: one of {NODES} nodes moves, {what}");
    let limit = Target::AtMost(Figure::Time(Duration::from_millis(5)));
    for (what, percent) in [("p50", 50), ("p99", 99)] {
        let figure = Figure::Time(changes.percentile(percent));
        bench.add(Line::new(name(what), figure).target(limit));
    }
    // An entry of each of three kinds a family, each taken away and made.
    let limit = Target::AtMost(Figure::Count(12));
    bench.add(Line::new(name("messages"), Figure::Count(most)).target(limit));
    Ok(())
}

/// The node that all others are programmed on.
struct Own {
    namespace: NetNs,
    socket: Rtnetlink,
    planner: OverlayPlanner,
    overlay: Box<dyn OverlayBackend>,
    _wire: NetNs,
}

impl Own {
    fn new(settings: &OverlaySettings) -> anyhow::Result<Self> {
        let wire = NetNs::anonymous().context("a namespace (are you root?)")?;
        let namespace = NetNs::anonymous()?;
        let peer = VethPeer::new("eth0").in_namespace(&namespace).up();
        let link = NewLink::veth("node1", peer).up();
        Rtnetlink::open_in(&wire)?.create_link(&link)?;
        let mut socket = Rtnetlink::open_in(&namespace)?;
        let lo = socket.link("lo")?.context("lo is gone")?.index;
        socket.change_link(lo, &LinkChange::new().up())?;
        let eth0 = socket.link("eth0")?.context("eth0 is gone")?.index;
        // One segment with room for all of them.
        for (address, length) in addresses(1).into_iter().zip([16, 48]) {
            socket.add_address(eth0, IpNet::new(address, length)?)?;
        }
        let spec = BACKENDS.iter().find(|spec| spec.mode == settings.mode);
        let spec = spec.context("no such overlay")?;
        Ok(Self {
            overlay: namespace.run(|| (spec.open)(settings))??,
            planner: OverlayPlanner::new(name(1), settings.clone()),
            namespace,
            socket,
            _wire: wire,
        })
    }

    fn program_all(&mut self, state: &ClusterState) -> anyhow::Result<()> {
        self.planner.plan_all(state);
        let underlay = read_underlay(&mut self.socket, self.planner.table())?;
        self.planner.follow_underlay(underlay);
        let (overlay, table) = (&mut self.overlay, self.planner.table());
        self.namespace.run(|| overlay.sync(table, None))??;
        anyhow::ensure!(
            table.peers.len() == usize::from(NODES - 1) * 2,
            "left out: {:?}",
            table.refused.iter().next()
        );
        Ok(())
    }

    /// Another address for one node, and for vxlan another device.
    fn change_one(
        &mut self,
        state: &mut ClusterState,
        settings: &OverlaySettings,
        round: u16,
    ) -> anyhow::Result<(Duration, SyncReport)> {
        let number = 2 + round * 23 % (NODES - 1);
        let mut changed = node(number, settings, true);
        changed.addresses = addresses(NODES + 1 + round).to_vec();
        publish_on(&mut changed, settings);
        let updates = state.apply(Change::Upsert(Object::Node(changed.into())));
        let (overlay, planner) = (&mut self.overlay, &mut self.planner);
        let (taken, report) = self.namespace.run(|| {
            time(|| {
                let change = planner.update(&updates);
                overlay.sync(planner.table(), Some(&change))
            })
        })?;
        Ok((taken, report?))
    }
}

pub(super) fn name(number: u16) -> Arc<str> {
    format!("node{number}").into()
}

pub(super) fn state(nodes: &[Node]) -> ClusterState {
    let mut state = ClusterState::default();
    for node in nodes {
        state.apply(Change::Upsert(Object::Node(Arc::new(node.clone()))));
    }
    state
}

/// The Node object once it has published what it has to.
pub(super) fn node(number: u16, settings: &OverlaySettings, is_dual: bool) -> Node {
    let families = if is_dual { 2 } else { 1 };
    let [high, low] = number.to_be_bytes();
    // 10.128.0.0/9 and more have room for 5000 prefixes; the first are as in
    // every example.
    let v4 = Ipv4Addr::new(10, 244_u8.wrapping_sub(high), low, 0);
    let v6 = Ipv6Addr::new(0xfd00, 0x10, 0x244, number, 0, 0, 0, 0);
    let prefixes: [(IpAddr, u8); 2] = [(v4.into(), 24), (v6.into(), 64)];
    let mut node = Node {
        name: name(number),
        revision: number.into(),
        labels: Labels::new(),
        annotations: Labels::new(),
        addresses: addresses(number)[..families].to_vec(),
        pod_prefixes: prefixes[..families]
            .iter()
            .filter_map(|(address, length)| IpNet::new(*address, *length).ok())
            .collect(),
        ready: true,
        network_unavailable: None,
        leaving: false,
    };
    publish_on(&mut node, settings);
    node
}

fn publish_on(node: &mut Node, settings: &OverlaySettings) {
    let alone = state(std::slice::from_ref(node));
    let table = plan_overlay(&alone, &node.name, settings, &Underlay::default());
    for (name, value) in publish(node, (settings, &table), &[]) {
        if let Some(value) = value {
            node.annotations.insert(name.into(), value);
        }
    }
}

/// 172.16.0.10 + N and fd00:172:16::N.
fn addresses(number: u16) -> [IpAddr; 2] {
    let [high, low] = (10 + number).to_be_bytes();
    [
        Ipv4Addr::new(172, 16, high, low).into(),
        Ipv6Addr::new(0xfd00, 0x172, 0x16, 0, 0, 0, 0, 10 + number).into(),
    ]
}
