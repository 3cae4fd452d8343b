//! Two nodes on one wire, each with a pod: network namespaces of this process,
//! which go with it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::Context;
use ipnet::{IpNet, Ipv4Net};
use podway_dataplane::overlay::{BACKENDS, OverlayBackend, read_underlay};
use podway_kernel::netns::NetNs;
use podway_kernel::route::{
    FdbEntry, LinkChange, LinkIndex, Mac, Neighbour, NewLink, Route, Rtnetlink, VethPeer, Vxlan,
};
use podway_kernel::sysctl;
use podway_model::{ClusterState, Node};
use podway_plan::overlay::{OverlayPlanner, OverlaySettings};

use super::cluster;

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 5);
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 244, 2, 5);
/// Where pods are routed from.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// What connects the nodes.
pub(super) enum Way {
    Ours(OverlaySettings),
    VxlanByHand,
    RoutesByHand,
}

/// The namespaces and what keeps the nodes connected.
pub(super) struct Site {
    pub(super) client: NetNs,
    pub(super) server: NetNs,
    _nodes: [Host; 2],
    _wire: NetNs,
}

struct Host {
    namespace: NetNs,
    socket: Rtnetlink,
    eth0: LinkIndex,
    number: u8,
    overlay: Option<Box<dyn OverlayBackend>>,
}

impl Site {
    pub(super) fn new(way: &Way) -> anyhow::Result<Self> {
        let wire = NetNs::anonymous().context("a namespace (are you root?)")?;
        let mut socket = Rtnetlink::open_in(&wire)?;
        let bridge = socket.create_link(&NewLink::bridge("wire").up())?;
        let mut nodes = [
            Host::new(&mut socket, bridge, 1)?,
            Host::new(&mut socket, bridge, 2)?,
        ];
        let mtu = match way {
            Way::Ours(settings) => connect(&mut nodes, settings)?,
            Way::VxlanByHand => {
                nodes[0].vxlan_by_hand(2)?;
                nodes[1].vxlan_by_hand(1)?;
                1450
            }
            Way::RoutesByHand => {
                nodes[0].route_by_hand(2)?;
                nodes[1].route_by_hand(1)?;
                1500
            }
        };
        let client = nodes[0].pod(CLIENT, mtu)?;
        let server = nodes[1].pod(SERVER, mtu)?;
        Ok(Self {
            client,
            server,
            _nodes: nodes,
            _wire: wire,
        })
    }
}

fn connect(nodes: &mut [Host; 2], settings: &OverlaySettings) -> anyhow::Result<u32> {
    let mut mtu = 1500;
    let objects: Vec<Node> = nodes
        .iter()
        .map(|node| cluster::node(node.number.into(), settings, false))
        .collect();
    let state = cluster::state(&objects);
    for node in nodes {
        mtu = mtu.min(node.connect(&state, settings)?);
    }
    Ok(mtu)
}

impl Host {
    fn new(wire: &mut Rtnetlink, bridge: LinkIndex, number: u8) -> anyhow::Result<Self> {
        let namespace = NetNs::anonymous()?;
        let peer = VethPeer::new("eth0").in_namespace(&namespace).up();
        let link = NewLink::veth(format!("node{number}"), peer).master(bridge);
        wire.create_link(&link.up())?;
        let mut socket = Rtnetlink::open_in(&namespace)?;
        let eth0 = socket.link("eth0")?.context("eth0 is gone")?.index;
        socket.add_address(eth0, net(address(number), 24)?)?;
        let lo = socket.link("lo")?.context("lo is gone")?.index;
        socket.change_link(lo, &LinkChange::new().up())?;
        namespace.run(|| sysctl::write("net/ipv4/ip_forward", "1"))??;
        Ok(Self {
            namespace,
            socket,
            eth0,
            number,
            overlay: None,
        })
    }

    fn connect(&mut self, state: &ClusterState, settings: &OverlaySettings) -> anyhow::Result<u32> {
        let name: Arc<str> = cluster::name(self.number.into());
        let mut planner = OverlayPlanner::new(name, settings.clone());
        planner.plan_all(state);
        planner.follow_underlay(read_underlay(&mut self.socket, planner.table())?);
        let spec = BACKENDS.iter().find(|spec| spec.mode == settings.mode);
        let spec = spec.context("no such overlay")?;
        let mut overlay = self.namespace.run(|| (spec.open)(settings))??;
        let table = planner.table();
        let report = self.namespace.run(|| overlay.sync(table, None))??;
        self.overlay = Some(overlay);
        report.pod_mtu.context("the overlay is not up")
    }

    /// What `ip link add ... type vxlan` and its likes would make.
    fn vxlan_by_hand(&mut self, other: u8) -> anyhow::Result<()> {
        let vxlan = Vxlan {
            vni: 1,
            port: 8472,
            local: address(self.number).into(),
            lower: Some(self.eth0),
            learning: false,
        };
        let mac = |number| Mac([0x0e, 0x2a, 0, 0, 0, number]);
        let link = NewLink::vxlan("by-hand", vxlan)
            .mac(mac(self.number))
            .mtu(1450);
        let link = self.socket.create_link(&link)?;
        self.socket.change_link(link, &LinkChange::new().up())?;
        let gateway: IpAddr = Ipv4Addr::new(10, 244, other, 0).into();
        self.socket.replace_neighbour(&Neighbour {
            link,
            address: gateway,
            mac: mac(other),
        })?;
        self.socket.replace_fdb(&FdbEntry {
            link,
            mac: mac(other),
            remote: address(other).into(),
        })?;
        let route = Route::new(IpNet::new(gateway, 24)?)
            .via(gateway)
            .dev(link)
            .onlink();
        Ok(self.socket.add_route(&route)?)
    }

    fn route_by_hand(&mut self, other: u8) -> anyhow::Result<()> {
        let pods = IpNet::new(Ipv4Addr::new(10, 244, other, 0).into(), 24)?;
        let route = Route::new(pods).via(address(other).into()).dev(self.eth0);
        Ok(self.socket.add_route(&route)?)
    }

    fn pod(&mut self, pod: Ipv4Addr, mtu: u32) -> anyhow::Result<NetNs> {
        let namespace = NetNs::anonymous()?;
        let peer = VethPeer::new("eth0").in_namespace(&namespace).mtu(mtu).up();
        let here = self
            .socket
            .create_link(&NewLink::veth("pod", peer).mtu(mtu).up())?;
        let mut inside = Rtnetlink::open_in(&namespace)?;
        let eth0 = inside.link("eth0")?.context("eth0 is gone")?.index;
        inside.add_address(eth0, net(pod, 32)?)?;
        self.socket.add_address(here, net(GATEWAY, 32)?)?;
        let on_link = Route::new(net(GATEWAY, 32)?).dev(eth0).scope_link();
        inside.add_route(&on_link)?;
        inside.add_route(&Route::default_via(GATEWAY.into()).dev(eth0))?;
        let to_pod = Route::new(net(pod, 32)?).dev(here).scope_link();
        self.socket.add_route(&to_pod)?;
        Ok(namespace)
    }
}

const fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 16, 0, 10 + number)
}

fn net(address: Ipv4Addr, length: u8) -> anyhow::Result<IpNet> {
    Ok(Ipv4Net::new(address, length)?.into())
}
