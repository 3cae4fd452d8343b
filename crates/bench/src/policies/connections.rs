//! What a new connection costs: between two pods of a node with 1,000 isolated
//! pods, beside the same without a policy, and without any of our rules.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Context as _;
use ipnet::IpNet;
use podway_dataplane::policy::BACKENDS;
use podway_kernel::netns::NetNs;
use podway_kernel::route::{LinkChange, LinkIndex, NewLink, Route, Rtnetlink, VethPeer};
use podway_kernel::sysctl;
use podway_model::ClusterState;

use super::cluster::{self, PORT};
use super::kernel::{Node, SIZE};
use crate::measure::{Contestant, take_turns, time};
use crate::{Bench, Figure, Line, Target};

/// The server is the first application, which lets in the second.
const SERVER: u32 = 0;
const CLIENT: u32 = 1;
const TARGET: Target = Target::RatioAtMost(1.05);

pub(super) fn measure(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    for spec in BACKENDS {
        let places = [(); 3].map(|()| Place::new());
        let [with, without, bare] = places;
        let (with, without, bare) = (with?, without?, bare?);
        let mut full = Node::new(spec, &with.node, SIZE.state())?;
        full.write_all()?;
        let mut empty = Node::new(spec, &without.node, ClusterState::default())?;
        empty.write_all()?;
        for family in 0..2 {
            let connect = |place: &'_ Place| place.connect(family);
            let mut contestants: [Contestant<'_>; 3] = [
                Box::new(|| connect(&with)),
                Box::new(|| connect(&without)),
                Box::new(|| connect(&bare)),
            ];
            // What comes first pays for neighbours and caches.
            take_turns(20, &mut contestants)?;
            let samples = take_turns(bench.rounds(10_000), &mut contestants)?;
            let [with, without, bare] = [0, 1, 2].map(|who| Figure::Time(samples[who].median()));
            let name = format!(
                "{}: connect by IPv{}, 1000 policies on 1000 pods, p50",
                spec.name,
                [4, 6][family]
            );
            bench.add(
                Line::new(name.as_str(), with)
                    .beside("no policy", without)
                    .target(TARGET),
            );
            bench.add(Line::new(name, with).beside("no rules at all", bare));
        }
    }
    Ok(())
}

/// A node with two pods, one of which serves.
struct Place {
    node: NetNs,
    client: NetNs,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        let make = || NetNs::anonymous().context("make a network namespace: are you root?");
        let (node, client, server) = (make()?, make()?, make()?);
        node.run(|| {
            sysctl::write("net/ipv4/ip_forward", "1")?;
            sysctl::write("net/ipv6/conf/all/forwarding", "1")
        })??;
        plug(&node, &client, "client", CLIENT)?;
        plug(&node, &server, "server", SERVER)?;
        for address in cluster::addresses(SERVER) {
            let at = SocketAddr::new(address, PORT);
            let listener = server.run(|| TcpListener::bind(at))??;
            // Ends with the process: a bench is one.
            std::thread::spawn(move || listener.incoming().for_each(drop));
        }
        Ok(Self { node, client })
    }

    /// How long a connection takes to be there.
    fn connect(&self, family: usize) -> anyhow::Result<Duration> {
        let to = SocketAddr::new(cluster::addresses(SERVER)[family], PORT);
        let patience = Duration::from_secs(5);
        let (taken, connected) = self.client.run(|| {
            let (taken, stream) = time(|| TcpStream::connect_timeout(&to, patience));
            (taken, stream.map(drop))
        })?;
        connected.with_context(|| format!("connect to {to}"))?;
        Ok(taken)
    }
}

/// Wires a pod as the CNI plugin does: the node routes.
fn plug(node: &NetNs, pod: &NetNs, name: &str, index: u32) -> anyhow::Result<()> {
    pod.run(|| sysctl::write("net/ipv6/conf/default/accept_dad", "0"))??;
    node.run(|| sysctl::write("net/ipv6/conf/default/accept_dad", "0"))??;
    let mut netlink = Rtnetlink::open_in(node)?;
    let mut inside = Rtnetlink::open_in(pod)?;
    let peer = VethPeer::new("eth0").in_namespace(pod);
    let end = netlink.create_link(&NewLink::veth(name, peer).up())?;
    let eth0 = bring_up(&mut inside, "eth0")?;
    let gateways: [IpAddr; 2] = [
        [10, 255, 255, 1].into(),
        [0xfdff, 0, 0, 0, 0, 0, 0, 1].into(),
    ];
    for (address, gateway) in cluster::addresses(index).into_iter().zip(gateways) {
        let (address, gateway) = (IpNet::from(address), IpNet::from(gateway));
        netlink.add_address(end, gateway)?;
        netlink.add_route(&Route::new(address).dev(end).scope_link())?;
        inside.add_address(eth0, address)?;
        inside.replace_route(&Route::new(gateway).dev(eth0).scope_link())?;
        inside.add_route(&Route::default_via(gateway.addr()).dev(eth0))?;
    }
    Ok(())
}

fn bring_up(netlink: &mut Rtnetlink, name: &str) -> anyhow::Result<LinkIndex> {
    let link = netlink
        .link(name)?
        .with_context(|| format!("no interface {name}"))?;
    netlink.change_link(link.index, &LinkChange::new().up())?;
    Ok(link.index)
}
