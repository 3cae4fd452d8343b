//! Interfaces, addresses, routes, neighbours and rules in namespaces of the
//! test's own.

use std::net::IpAddr;
use std::time::Duration;

use podway_kernel::netns::NetNs;
use podway_kernel::route::{
    Address, BridgePort, Bucket, ErrorKind, FdbEntry, Group, LinkChange, LinkDetail, LinkIndex,
    Mac, Monitor, Neighbour, NewLink, Notification, Route, RouteFilter, RouteKind, Rtnetlink, Rule,
    VethPeer, Vxlan,
};

use crate::namespace;

const WAIT: Option<Duration> = Some(Duration::from_secs(10));

fn socket() -> (NetNs, Rtnetlink) {
    let namespace = namespace();
    let socket = Rtnetlink::open_in(&namespace).expect("open rtnetlink");
    (namespace, socket)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

#[test]
fn veth_peer_appears_in_the_other_namespace_under_its_own_name() {
    let (_here, mut here) = socket();
    let (there_ns, mut there) = socket();
    let bridge = here
        .create_link(&NewLink::bridge("podway0").mtu(1450).up())
        .unwrap();
    let peer = VethPeer::new("eth0")
        .in_namespace(&there_ns)
        .mtu(1400)
        .mac(Mac([2, 0, 0, 0, 0, 9]));
    let host = here
        .create_link(&NewLink::veth("veth1", peer).mtu(1400).master(bridge))
        .unwrap();
    let port = BridgePort {
        isolated: true,
        hairpin: true,
    };
    here.change_link(host, &LinkChange::new().port(port).alias("x/a").up())
        .unwrap();

    let link = here.link("veth1").unwrap().expect("veth1");
    assert_eq!(
        (
            link.index,
            link.mtu,
            link.up,
            link.master,
            link.port,
            link.alias.as_deref()
        ),
        (host, 1400, true, Some(bridge), Some(port), Some("x/a")),
        "{link:#?}"
    );
    assert_eq!(link.detail, LinkDetail::Veth);
    assert_eq!(here.link("eth0").unwrap(), None, "the peer is not here");
    let eth0 = there.link("eth0").unwrap().expect("eth0");
    assert_eq!(
        (eth0.mtu, eth0.mac, eth0.up),
        (1400, Some(Mac([2, 0, 0, 0, 0, 9])), false)
    );

    there.delete_link(eth0.index).unwrap();
    assert_eq!(
        here.link("veth1").unwrap(),
        None,
        "both ends go at the same time"
    );
}

#[test]
fn both_ends_of_a_pair_can_be_brought_up_at_once() {
    let (_ns, mut socket) = socket();
    let (there_ns, mut there) = self::socket();
    let far = VethPeer::new("eth0").in_namespace(&there_ns).up();
    socket.create_link(&NewLink::veth("far", far).up()).unwrap();
    let near = VethPeer::new("b").up();
    socket.create_link(&NewLink::veth("a", near).up()).unwrap();
    assert!(there.link("eth0").unwrap().unwrap().up);
    for name in ["far", "a", "b"] {
        assert!(socket.link(name).unwrap().unwrap().up, "{name}");
    }
}

#[test]
fn a_taken_name_is_kind_exists_and_names_the_interface() {
    let (_ns, mut socket) = socket();
    socket.create_link(&NewLink::bridge("br")).unwrap();
    let error = socket.create_link(&NewLink::bridge("br")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "{error}");
    assert!(
        error.to_string().starts_with("cannot create interface br"),
        "{error}"
    );

    let (other, mut there) = self::socket();
    there.create_link(&NewLink::bridge("eth0")).unwrap();
    let peer = VethPeer::new("eth0").in_namespace(&other);
    let error = socket.create_link(&NewLink::veth("v", peer)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "{error}");
    assert_eq!(
        socket.link("v").unwrap(),
        None,
        "nothing is left of the pair"
    );
}

#[test]
fn what_is_not_there_is_kind_not_found_or_none() {
    let (_ns, mut socket) = socket();
    assert_eq!(socket.link("nothing").unwrap(), None);
    assert_eq!(socket.link_at(LinkIndex(4711)).unwrap(), None);
    let error = socket.delete_link(LinkIndex(4711)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let error = socket
        .change_link(LinkIndex(4711), &LinkChange::new().up())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(!socket.delete_group(77).unwrap());
    assert!(
        !socket
            .delete_route(&Route::new(net("10.9.0.0/16")))
            .unwrap()
    );
    assert_eq!(
        socket
            .routes(RouteFilter {
                table: Some(9999),
                ..RouteFilter::default()
            })
            .unwrap(),
        []
    );
    assert_eq!(socket.fdb(LinkIndex(4711)).unwrap(), []);
    assert_eq!(socket.neighbours(LinkIndex(4711)).unwrap(), []);
    assert_eq!(socket.addresses(Some(LinkIndex(4711))).unwrap(), []);
}

#[test]
fn interface_names_are_checked_before_the_kernel_is_asked() {
    let (_ns, mut socket) = socket();
    for name in ["", ".", "..", "a/b", "a b", "a:b", "sixteen-bytes-lo"] {
        let error = socket.create_link(&NewLink::bridge(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name:?}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn an_interface_that_is_left_to_the_kernel_is_out_of_sight_at_once() {
    let (namespace, mut socket) = socket();
    let other = NetNs::anonymous().unwrap();
    let peer = VethPeer::new("eth0").in_namespace(&other);
    let veth = NewLink::veth("veth0", peer).up();
    let index = socket.create_link(&veth).unwrap();
    socket.add_address(index, net("10.1.0.1/24")).unwrap();
    let stays = socket.create_link(&NewLink::bridge("br")).unwrap();
    namespace
        .run(|| socket.delete_link_and_leave(index).unwrap())
        .unwrap();
    assert_eq!(socket.link_at(index).unwrap(), None);
    assert!(!socket.is_local(ip("10.1.0.1")).unwrap());
    let mut there = Rtnetlink::open_in(&other).unwrap();
    assert_eq!(there.link("eth0").unwrap(), None);
    assert!(socket.link_at(stays).unwrap().is_some());
    let again = namespace
        .run(|| socket.delete_link_and_leave(index))
        .unwrap();
    assert_eq!(again.unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_group_goes_in_one_message() {
    let (_ns, mut socket) = socket();
    for i in 0..10 {
        let peer = VethPeer::new(format!("p{i}"));
        socket
            .create_link(&NewLink::veth(format!("v{i}"), peer).group(42))
            .unwrap();
    }
    let before = socket.writes();
    assert!(socket.delete_group(42).unwrap());
    assert_eq!(socket.writes(), before + 1);
    let names: Vec<String> = socket
        .links()
        .unwrap()
        .into_iter()
        .map(|link| link.name)
        .collect();
    assert_eq!(names, ["lo"]);
    let error = socket.delete_group(0).unwrap_err();
    assert!(error.to_string().contains("every interface"), "{error}");
}

#[test]
fn ipv6_addresses_are_usable_at_once() {
    let (_ns, mut socket) = socket();
    let bridge = socket.create_link(&NewLink::bridge("br").up()).unwrap();
    for address in [
        "10.1.0.1/24",
        "fd00:1::1/64",
        "10.2.0.1/32",
        "fd00:2::1/128",
    ] {
        socket.add_address(bridge, net(address)).unwrap();
        socket
            .add_address(bridge, net(address))
            .unwrap_or_else(|error| panic!("again {address}: {error}"));
    }
    let mut own: Vec<Address> = socket.addresses(Some(bridge)).unwrap();
    own.retain(|address| !address.scope_link);
    own.sort();
    let addresses: Vec<String> = own
        .iter()
        .map(|address| address.address.to_string())
        .collect();
    assert_eq!(
        addresses,
        [
            "10.1.0.1/24",
            "10.2.0.1/32",
            "fd00:1::1/64",
            "fd00:2::1/128"
        ]
    );
    assert!(socket.delete_address(bridge, net("10.2.0.1/32")).unwrap());
    assert!(!socket.delete_address(bridge, net("10.2.0.1/32")).unwrap());
}

#[test]
fn routes_come_back_as_they_were_written() {
    let (_ns, mut socket) = socket();
    let link = socket.create_link(&NewLink::bridge("br").up()).unwrap();
    socket.add_address(link, net("10.1.0.1/24")).unwrap();
    socket.add_address(link, net("fd00:1::1/64")).unwrap();
    let routes = [
        Route::new(net("10.244.2.0/24"))
            .via(ip("10.244.2.0"))
            .dev(link)
            .onlink()
            .protocol(112),
        Route::new(net("fd00:244:2::/64"))
            .via(ip("fd00:244:2::"))
            .dev(link)
            .onlink()
            .protocol(112),
        Route::new(net("10.7.0.1/32"))
            .dev(link)
            .scope_link()
            .protocol(112),
        Route::new(net("fd00:7::1/128"))
            .dev(link)
            .scope_link()
            .protocol(112),
        Route::default_via(ip("10.1.0.2"))
            .dev(link)
            .table(1000)
            .protocol(112),
        Route::default_via(ip("fd00:1::2"))
            .dev(link)
            .table(1000)
            .protocol(112),
        Route::new(net("10.8.0.0/16"))
            .kind(RouteKind::Blackhole)
            .protocol(112),
    ];
    for route in &routes {
        socket.add_route(route).unwrap();
        let error = socket.add_route(route).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists, "{error}");
        socket.replace_route(route).unwrap();
    }
    let filter = RouteFilter {
        protocol: Some(112),
        ..RouteFilter::default()
    };
    let mut listed = socket.routes(filter).unwrap();
    let mut expected = routes.to_vec();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    for route in &routes {
        assert!(socket.delete_route(route).unwrap(), "{route}");
    }
    assert_eq!(socket.routes(filter).unwrap(), []);
}

#[test]
fn limits_come_back_as_they_were_written() {
    let (_ns, mut socket) = socket();
    let peer = VethPeer::new("veth1");
    let veth = socket.create_link(&NewLink::veth("veth0", peer)).unwrap();
    let ifb = socket.create_link(&NewLink::ifb("ifb0").up()).unwrap();
    assert_eq!(socket.sending_limit(veth).unwrap(), None);
    // From a slow modem's to 400 Gbit/s.
    for (rate, burst) in [(1000, 1600), (1_250_000, 65_536), (50_000_000_000, 1 << 30)] {
        let bucket = Bucket { rate, burst };
        socket.limit_sending(veth, bucket).unwrap();
        let held = socket.sending_limit(veth).unwrap().unwrap();
        assert_eq!(held.rate, rate);
        // The kernel counts in time.
        let tolerance = (burst / 1000).max(u32::try_from(rate / 1_000_000).unwrap());
        assert!(
            held.burst.abs_diff(burst) <= tolerance,
            "{held:?} for {bucket:?}"
        );
    }
    assert_eq!(socket.sending_limit(ifb).unwrap(), None);
    socket.redirect_received(veth, ifb).unwrap();
    let error = socket.redirect_received(veth, ifb).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "{error}");
    socket.delete_link(veth).unwrap();
    let error = socket
        .limit_sending(
            veth,
            Bucket {
                rate: 1000,
                burst: 1600,
            },
        )
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn packets_to_own_addresses_end_here() {
    let (_ns, mut socket) = socket();
    let link = socket.create_link(&NewLink::bridge("br").up()).unwrap();
    for address in ["10.1.0.1", "fd00:1::1"] {
        assert!(!socket.is_local(ip(address)).unwrap(), "{address}: before");
        socket.add_address(link, ip(address).into()).unwrap();
        // The kernel makes IPv6's local routes a moment later.
        while !socket.is_local(ip(address)).unwrap() {
            std::thread::yield_now();
        }
    }
    socket
        .add_route(&Route::new(net("10.2.0.0/24")).dev(link).scope_link())
        .unwrap();
    assert!(!socket.is_local(ip("10.2.0.1")).unwrap(), "elsewhere");
    let routes = socket.routes(RouteFilter::default()).unwrap();
    let networks: Vec<_> = routes
        .iter()
        .filter(|route| {
            route.destination == net("fd00:1::1/128") && route.kind == RouteKind::Unicast
        })
        .collect();
    assert!(
        networks.is_empty(),
        "an address alone has no network: {networks:?}"
    );
}

#[test]
fn a_gateway_that_no_route_leads_to_is_unreachable_unless_onlink() {
    let (_ns, mut socket) = socket();
    let link = socket.create_link(&NewLink::bridge("br").up()).unwrap();
    let error = socket
        .add_route(&Route::default_via(ip("192.0.2.1")).dev(link))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(
        error.to_string().contains("0.0.0.0/0 via 192.0.2.1"),
        "{error}"
    );
}

#[test]
fn vxlan_devices_neighbours_and_forwarding_entries_in_both_families() {
    let (_ns, mut socket) = socket();
    let lower = socket.create_link(&NewLink::bridge("br").up()).unwrap();
    for (name, local, remote, gateway) in [
        ("vx4", "172.16.0.11", "172.16.0.12", "10.244.2.0"),
        ("vx6", "fd00:172::11", "fd00:172::12", "fd00:244:2::"),
    ] {
        let vxlan = Vxlan {
            vni: 1,
            port: 8472,
            local: ip(local),
            lower: Some(lower),
            learning: false,
        };
        let mac = Mac([0x12, 0xc6, 0x65, 0x89, 0xb4, 0xe3]);
        let index = socket
            .create_link(&NewLink::vxlan(name, vxlan.clone()).mac(mac).mtu(1400).up())
            .unwrap();
        let link = socket.link_at(index).unwrap().expect("vxlan device");
        assert_eq!(
            (link.detail, link.mac, link.mtu, link.up),
            (LinkDetail::Vxlan(vxlan), Some(mac), 1400, true)
        );

        let peer = Mac([2, 0, 0, 0, 0, 7]);
        let neighbour = Neighbour {
            link: index,
            address: ip(gateway),
            mac: peer,
        };
        let entry = FdbEntry {
            link: index,
            mac: peer,
            remote: ip(remote),
        };
        socket.replace_neighbour(&neighbour).unwrap();
        socket.replace_neighbour(&neighbour).unwrap();
        socket.replace_fdb(&entry).unwrap();
        socket.replace_fdb(&entry).unwrap();
        assert_eq!(socket.neighbours(index).unwrap(), [neighbour]);
        assert_eq!(socket.fdb(index).unwrap(), [entry]);
        assert!(socket.delete_neighbour(&neighbour).unwrap());
        assert!(socket.delete_fdb(&entry).unwrap());
        assert!(!socket.delete_neighbour(&neighbour).unwrap());
        assert!(!socket.delete_fdb(&entry).unwrap());
        assert_eq!(socket.neighbours(index).unwrap(), []);
        assert_eq!(socket.fdb(index).unwrap(), []);
    }
}

#[test]
fn rules_come_back_as_they_were_written() {
    let (_ns, mut socket) = socket();
    let mut marked = Rule::new(false, 100, 1000);
    marked.mark = Some((0x4000, 0x4000));
    marked.source = Some(net("10.244.0.0/16"));
    let mut input = Rule::new(true, 101, 1001);
    input.input = Some("podway0".into());
    input.destination = Some(net("fd00::/8"));
    for rule in [&marked, &input] {
        socket.add_rule(rule).unwrap();
        assert!(socket.rules().unwrap().contains(rule), "{rule:?}");
        assert!(socket.delete_rule(rule).unwrap());
        assert!(!socket.delete_rule(rule).unwrap());
    }
}

#[test]
fn notifications_tell_what_happened() {
    let (namespace, mut socket) = socket();
    let groups = [Group::Link, Group::Address, Group::Route, Group::Neighbour];
    let mut monitor = namespace.run(|| Monitor::open(&groups)).unwrap().unwrap();
    assert_eq!(monitor.next(Some(Duration::ZERO)).unwrap(), None);

    let link = socket.create_link(&NewLink::bridge("br").up()).unwrap();
    socket.add_address(link, net("10.1.0.1/24")).unwrap();
    let neighbour = Neighbour {
        link,
        address: ip("10.1.0.9"),
        mac: Mac([2, 0, 0, 0, 0, 7]),
    };
    socket.replace_neighbour(&neighbour).unwrap();
    socket.delete_neighbour(&neighbour).unwrap();
    socket.delete_link(link).unwrap();

    let mut seen = Vec::new();
    loop {
        let notification = monitor
            .next(WAIT)
            .unwrap()
            .unwrap_or_else(|| panic!("no more after {seen:#?}"));
        let last = matches!(&notification, Notification::Link(false, link) if link.name == "br");
        seen.push(notification);
        if last {
            break;
        }
    }
    let address = |n: &Notification| matches!(n, Notification::Address(true, a) if a.address == net("10.1.0.1/24"));
    let route = |n: &Notification| matches!(n, Notification::Route(true, r) if r.destination == net("10.1.0.0/24"));
    assert!(seen.iter().any(address), "{seen:#?}");
    assert!(seen.iter().any(route), "{seen:#?}");
    for exists in [true, false] {
        let expected = Notification::Neighbour(exists, link, neighbour.address);
        assert!(seen.contains(&expected), "{expected:?} in {seen:#?}");
    }
}

#[test]
fn notifications_of_routes_name_the_socket_that_caused_them() {
    let (namespace, mut one) = socket();
    let link = one.create_link(&NewLink::bridge("br").up()).unwrap();
    let mut other = Rtnetlink::open_in(&namespace).unwrap();
    let monitor = || Monitor::open(&[Group::Route]);
    let mut monitor = namespace.run(monitor).unwrap().unwrap();
    for (socket, destination) in [(&mut one, "10.1.0.0/24"), (&mut other, "10.2.0.0/24")] {
        let route = Route::new(net(destination)).dev(link).scope_link();
        socket.add_route(&route).unwrap();
        let origin = loop {
            let told = monitor.next_with_origin(WAIT).unwrap();
            match told.expect("a notification") {
                (Notification::Route(true, told), origin)
                    if told.destination == route.destination =>
                {
                    break origin;
                }
                _ => {}
            }
        };
        assert_eq!(origin, socket.port(), "{destination}");
    }
}
