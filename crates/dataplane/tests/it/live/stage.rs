//! The hosts that a scenario names: a namespace for the node, one for each
//! other address, and one that has every address that is nobody's, so that what
//! the node lets pass is heard as well.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use podway_kernel::netns::NetNs;
use podway_kernel::route::{LinkChange, LinkIndex, NewLink, Route, Rtnetlink, VethPeer};
use podway_kernel::sysctl;
use podway_model::Protocol;
use podway_plan::service::Source;
use podway_testkit::builders::ip;
use podway_testkit::scenario::Case;

use super::wire;

/// The node's addresses on every wire: what masquerading makes of a source.
const GATEWAY: [&str; 2] = ["198.18.0.1", "2001:db8:ffff::1"];

pub(super) struct Stage {
    pub(super) node: NetNs,
    pub(super) hosts: BTreeMap<IpAddr, NetNs>,
    /// What has the addresses that are nobody's; the node's way out.
    _world: NetNs,
    port: AtomicU16,
}

/// What listens where.
#[derive(Default)]
struct Cast {
    /// The node's own addresses.
    node: BTreeSet<IpAddr>,
    /// Addresses of clients and endpoints.
    hosts: BTreeSet<IpAddr>,
    listeners: BTreeSet<(SocketAddr, Protocol)>,
    /// Everything that flows are sent to.
    destinations: BTreeSet<IpAddr>,
}

impl Cast {
    fn of<'c>(cases: impl Iterator<Item = &'c Case>) -> Self {
        let mut cast = Self::default();
        for case in cases {
            for context in case.contexts.values() {
                let node = case.state.node(&context.node);
                cast.node
                    .extend(node.into_iter().flat_map(|node| &node.addresses));
            }
            for flow in &case.flows {
                let packet = &flow.packet;
                match packet.source {
                    Source::Node => cast.node.insert(packet.source_address),
                    Source::Pod | Source::Outside => cast.hosts.insert(packet.source_address),
                };
                cast.destinations.insert(packet.destination.ip());
                cast.listeners.insert((packet.destination, packet.protocol));
                let endpoints = flow.outcome.split_whitespace();
                let endpoints =
                    endpoints.filter_map(|word| word.trim_end_matches('*').parse().ok());
                for endpoint in endpoints {
                    let endpoint: SocketAddr = endpoint;
                    cast.hosts.insert(endpoint.ip());
                    cast.listeners.insert((endpoint, packet.protocol));
                }
            }
        }
        cast
    }

    fn listeners(&self, address: IpAddr) -> impl Iterator<Item = (SocketAddr, Protocol)> {
        let mine = self
            .listeners
            .iter()
            .filter(move |(at, _)| at.ip() == address);
        mine.copied()
    }
}

impl Stage {
    pub(super) fn new<'c>(cases: impl Iterator<Item = &'c Case>) -> Self {
        let cast = Cast::of(cases);
        let node = space();
        node.run(|| {
            for (key, value) in [
                ("net/ipv4/ip_forward", "1"),
                ("net/ipv6/conf/all/forwarding", "1"),
                ("net/ipv4/conf/all/send_redirects", "0"),
                ("net/ipv4/conf/default/send_redirects", "0"),
                // Refusals are limited to one a second for each host.
                ("net/ipv4/icmp_ratelimit", "0"),
                ("net/ipv6/icmp/ratelimit", "0"),
            ] {
                sysctl::write(key, value).expect("a kernel parameter");
            }
            let mut netlink = Rtnetlink::open().expect("rtnetlink");
            bring_up(&mut netlink, "lo", cast.node.iter().copied());
        })
        .expect("the node's namespace");
        let loopback = cast.destinations.iter().filter(|a| a.is_loopback());
        let nodes = cast.node.iter().chain(loopback).copied().collect();
        serve(&node, &cast, &nodes);

        let known: BTreeSet<IpAddr> = cast.node.union(&cast.hosts).copied().collect();
        let nobodys = cast.destinations.difference(&known).copied();
        let nobodys: BTreeSet<IpAddr> = nobodys.filter(|address| !address.is_loopback()).collect();
        let world = space();
        plug(&node, "world", &world, &nobodys);
        serve(&world, &cast, &nobodys);
        let mut netlink = Rtnetlink::open_in(&node).expect("rtnetlink");
        let link = netlink.link("world").expect("links").map(|link| link.index);
        for prefix in ["0.0.0.0/0", "::/0"] {
            let out = Route {
                link,
                ..Route::new(prefix.parse().expect("a prefix"))
            };
            netlink.add_route(&out).expect("a way out");
        }

        let mut hosts = BTreeMap::new();
        for (index, address) in cast.hosts.difference(&cast.node).enumerate() {
            let host = space();
            let mine = BTreeSet::from([*address]);
            plug(&node, &format!("host{index}"), &host, &mine);
            serve(&host, &cast, &mine);
            hosts.insert(*address, host);
        }
        Self {
            node,
            hosts,
            _world: world,
            port: AtomicU16::new(FIRST_PORT),
        }
    }

    /// A source port that no connection has had, so that nothing that the node
    /// remembers of an earlier one is met again.
    pub(super) fn next_port(&self) -> u16 {
        let next = |port: u16| {
            Some(if port == u16::MAX {
                FIRST_PORT
            } else {
                port + 1
            })
        };
        let port = self
            .port
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        port.unwrap_or(FIRST_PORT)
    }

    /// What the node holds, for messages.
    pub(super) fn rules(&self, mode: &str) -> String {
        let commands: &[&str] = match mode {
            "nftables" | "userspace" => &["nft list ruleset"],
            "iptables (legacy)" => &["iptables-legacy-save", "ip6tables-legacy-save"],
            _ => &["iptables-save", "ip6tables-save"],
        };
        let outputs = commands.iter().map(|command| {
            let run = || Command::new("sh").args(["-c", command]).output();
            let output = self.node.run(run).expect("the node's namespace");
            String::from_utf8_lossy(&output.expect("a shell").stdout).into_owned()
        });
        outputs.collect()
    }
}

/// Above the services' ports, which a listener on the node must not meet.
const FIRST_PORT: u16 = 10_000;

fn space() -> NetNs {
    NetNs::anonymous().expect("tests with packets need root (CAP_SYS_ADMIN)")
}

fn serve(namespace: &NetNs, cast: &Cast, addresses: &BTreeSet<IpAddr>) {
    let listeners: Vec<_> = addresses.iter().flat_map(|a| cast.listeners(*a)).collect();
    let listen = || {
        for (at, protocol) in listeners {
            wire::listen(at, protocol);
        }
    };
    namespace.run(listen).expect("a host's namespace");
}

/// A wire from the node to another namespace, whose way out it is.
fn plug(node: &NetNs, name: &str, end: &NetNs, addresses: &BTreeSet<IpAddr>) {
    let mut netlink = Rtnetlink::open_in(node).expect("rtnetlink");
    let peer = VethPeer::new("eth0").in_namespace(end);
    let pair = NewLink::veth(name, peer);
    netlink.create_link(&pair).expect("a pair of interfaces");
    let link = bring_up(&mut netlink, name, GATEWAY.map(ip));
    let mut inside = Rtnetlink::open_in(end).expect("rtnetlink");
    bring_up(&mut inside, "lo", []);
    let eth0 = bring_up(&mut inside, "eth0", addresses.iter().copied());
    if name != "world" {
        for address in addresses {
            let route = Route {
                link: Some(link),
                ..Route::new((*address).into())
            };
            netlink.add_route(&route).expect("a route to it");
        }
    }
    for gateway in GATEWAY {
        let out = Route {
            link: Some(eth0),
            onlink: true,
            ..Route::default_via(ip(gateway))
        };
        inside.add_route(&out).expect("a way out");
    }
}

fn bring_up(
    netlink: &mut Rtnetlink,
    name: &str,
    addresses: impl IntoIterator<Item = IpAddr>,
) -> LinkIndex {
    let link = netlink.link(name).expect("links").expect("the link").index;
    let up = LinkChange::new().up();
    netlink.change_link(link, &up).expect("it comes up");
    for address in addresses {
        // Loopback has its own.
        if !address.is_loopback() {
            netlink
                .add_address(link, address.into())
                .expect("an address");
        }
    }
    link
}
