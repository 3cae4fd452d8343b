//! A node with two pods and a client outside, each in a namespace of its own.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use anyhow::Context;
use ipnet::IpNet;
use podway_kernel::netns::NetNs;
use podway_kernel::route::{LinkChange, LinkIndex, NewLink, Route, Rtnetlink, VethPeer};
use podway_kernel::sysctl;
use podway_model::{
    Change, ClusterState, EndpointSlice, IpFamily, Object, ObjectName, Protocol, Service,
    ServicePort, ServiceType, SliceEndpoint, SlicePort, TargetPort, TrafficPolicy,
};
use podway_plan::service::NodeContext;

pub(super) const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 16, 0, 11));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 16, 0, 250));
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 1, 1));
const PODS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 244, 1, 10)),
    IpAddr::V4(Ipv4Addr::new(10, 244, 1, 20)),
];
const EXTERNAL: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
const PORT: u16 = 8080;
const NODE_PORT: u16 = 30_001;

/// The namespaces.
pub(super) struct Site {
    pub(super) node: NetNs,
    pub(super) client: NetNs,
    pub(super) pods: [NetNs; 2],
}

/// Where the service is reached: cluster IP, external IP, node port.
pub(super) fn frontends() -> [SocketAddr; 3] {
    [
        (cluster_ip(1), 80).into(),
        (EXTERNAL, 80).into(),
        (NODE, NODE_PORT).into(),
    ]
}

fn cluster_ip(number: u16) -> IpAddr {
    Ipv4Addr::from(0x0a60_0000 + u32::from(number)).into()
}

pub(super) fn context() -> NodeContext {
    let pods: IpNet = IpNet::new(GATEWAY, 24).expect("24 bits fit");
    NodeContext {
        node: "node1".into(),
        pod_prefixes: vec![pods.trunc()],
        ..NodeContext::default()
    }
}

/// Services of the two pods; the first has every kind of frontend.
pub(super) fn state(services: u16) -> ClusterState {
    let mut state = ClusterState::default();
    for number in 1..=services {
        state.apply(Change::Upsert(Object::Service(service(number).into())));
        state.apply(Change::Upsert(Object::EndpointSlice(slice(number).into())));
    }
    state
}

impl Site {
    pub(super) fn new() -> anyhow::Result<Self> {
        let space = || NetNs::anonymous().context("namespaces need root");
        let site = Self {
            node: space()?,
            client: space()?,
            pods: [space()?, space()?],
        };
        site.node.run(|| -> anyhow::Result<()> {
            sysctl::write("net/ipv4/ip_forward", "1")?;
            sysctl::write("net/ipv4/conf/all/send_redirects", "0")?;
            bring_up(&mut Rtnetlink::open()?, "lo", None)?;
            Ok(())
        })??;
        plug(&site.node, "client", NODE, &site.client, CLIENT)?;
        // Its own connections to cluster IPs need some route.
        let mut netlink = Rtnetlink::open_in(&site.node)?;
        let link = netlink.link("client")?.context("the client's link")?.index;
        netlink.add_route(&Route {
            link: Some(link),
            onlink: true,
            ..Route::default_via(CLIENT)
        })?;
        for ((name, address), pod) in ["pod1", "pod2"].into_iter().zip(PODS).zip(&site.pods) {
            plug(&site.node, name, GATEWAY, pod, address)?;
            pod.run(serve)??;
        }
        Ok(site)
    }
}

fn plug(
    node: &NetNs,
    name: &str,
    gateway: IpAddr,
    end: &NetNs,
    address: IpAddr,
) -> anyhow::Result<()> {
    let mut netlink = Rtnetlink::open_in(node)?;
    let peer = VethPeer::new("eth0").in_namespace(end);
    netlink.create_link(&NewLink::veth(name, peer))?;
    let link = bring_up(&mut netlink, name, Some(gateway))?;
    netlink.add_route(&Route {
        link: Some(link),
        ..Route::new(address.into())
    })?;
    let mut netlink = Rtnetlink::open_in(end)?;
    bring_up(&mut netlink, "lo", None)?;
    let link = bring_up(&mut netlink, "eth0", Some(address))?;
    netlink.add_route(&Route {
        link: Some(link),
        onlink: true,
        ..Route::default_via(gateway)
    })?;
    Ok(())
}

fn bring_up(
    netlink: &mut Rtnetlink,
    name: &str,
    address: Option<IpAddr>,
) -> anyhow::Result<LinkIndex> {
    let link = netlink.link(name)?.context("a link just made")?.index;
    netlink.change_link(link, &LinkChange::new().up())?;
    if let Some(address) = address {
        netlink.add_address(link, address.into())?;
    }
    Ok(link)
}

/// Listens before it returns; repeats whatever comes, until the process ends.
fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || repeat(stream));
        }
    });
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok((length, peer)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..length], peer);
        }
    });
    Ok(())
}

fn repeat(mut stream: TcpStream) {
    let mut bytes = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..length]).is_err() {
            return;
        }
    }
}

fn service(number: u16) -> Service {
    let is_first = number == 1;
    let port = |name: &str, protocol| ServicePort {
        name: name.into(),
        protocol,
        port: 80,
        target_port: TargetPort::Number(PORT),
        node_port: is_first.then_some(NODE_PORT),
    };
    Service {
        name: name(number),
        revision: 1,
        labels: [].into(),
        created: 0,
        service_type: ServiceType::NodePort,
        cluster_ips: vec![cluster_ip(number)],
        external_ips: if is_first { vec![EXTERNAL] } else { Vec::new() },
        load_balancer: Vec::new(),
        source_ranges: Vec::new(),
        ports: vec![port("tcp", Protocol::Tcp), port("udp", Protocol::Udp)],
        selector: None,
        affinity_seconds: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        publish_not_ready: false,
    }
}

fn slice(number: u16) -> EndpointSlice {
    let endpoint = |address| SliceEndpoint {
        address,
        ready: true,
        serving: true,
        terminating: false,
        node: Some("node1".into()),
        pod: None,
        zone_hints: BTreeSet::new(),
        node_hints: BTreeSet::new(),
    };
    let port = |name: &str, protocol| SlicePort {
        name: name.into(),
        protocol,
        port: PORT,
    };
    EndpointSlice {
        name: name(number),
        revision: 1,
        service: name(number),
        family: IpFamily::V4,
        ports: vec![port("tcp", Protocol::Tcp), port("udp", Protocol::Udp)],
        endpoints: PODS.into_iter().map(endpoint).collect(),
        weight: None,
        triggered: None,
    }
}

fn name(number: u16) -> ObjectName {
    ObjectName::new("bench", format!("s{number}"))
}
