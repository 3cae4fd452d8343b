//! The overlay's section of the configuration, and what the agent tells others
//! about the overlay.

use std::fs;

use podway_kernel::route::{Route, RouteFilter};

use super::*;
use crate::config;

fn with(overlay: config::Overlay) -> Configuration {
    Configuration {
        overlay,
        ..Configuration::default()
    }
}

fn backend(name: &str) -> config::Overlay {
    config::Overlay {
        backend: name.to_owned(),
        ..config::Overlay::default()
    }
}

/// The routes to node2's pods, as `10.244.2.0/24 via 172.16.0.12`.
fn routes() -> Vec<String> {
    let mut socket = Rtnetlink::open().unwrap();
    let routes = socket.routes(RouteFilter::default()).unwrap().into_iter();
    let to_peer = |route: &Route| route.destination == prefix("10.244.2.0/24");
    let text = |route: Route| format!("{} via {}", route.destination, route.gateway.unwrap());
    routes.filter(to_peer).map(text).collect()
}

/// node2 as it is with host-gw, taking vxlan or not.
fn moved(also: Option<&str>) -> Object {
    let mut annotations = vec![
        ("flannel.alpha.coreos.com/kube-subnet-manager", "true"),
        ("flannel.alpha.coreos.com/backend-type", "host-gw"),
        ("flannel.alpha.coreos.com/public-ip", "172.16.0.12"),
        ("flannel.alpha.coreos.com/backend-data", "null"),
    ];
    annotations.extend(also.map(|also| ("podway.dev/overlay-also", also)));
    let peer = Node {
        annotations: labels(&annotations),
        ..node("node2", &["172.16.0.12"], &["10.244.2.0/24"])
    };
    peer.object()
}

#[test]
fn net_conf_and_subnet_env_are_flannels() {
    let folder = tempfile::tempdir().unwrap();
    let (conf, env) = (
        folder.path().join("net-conf.json"),
        folder.path().join("run/flannel/subnet.env"),
    );
    let text = r#"{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:10:244::/48",
                   "Backend":{"Type":"vxlan","MTU":1400}}"#;
    fs::write(&conf, text).unwrap();
    let config = with(config::Overlay {
        net_conf: Some(conf),
        subnet_file: Some(env.clone()),
        ..backend("host-gw")
    });
    in_node(|| {
        let agent = Agent::start_with(&config, &folder, &cluster());
        let overlay = agent.status().overlay.unwrap();
        assert_eq!((&*overlay.backend, overlay.mtu), ("vxlan", 1330));
        assert_eq!(
            fs::read_to_string(&env).unwrap(),
            "FLANNEL_NETWORK=10.244.0.0/16\n\
             FLANNEL_SUBNET=10.244.1.1/24\n\
             FLANNEL_IPV6_NETWORK=fd00:10:244::/48\n\
             FLANNEL_IPV6_SUBNET=fd00:10:244:1::1/64\n\
             FLANNEL_MTU=1330\n\
             FLANNEL_IPMASQ=true\n"
        );
    });
}

#[test]
fn a_net_conf_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net-conf.json");
    let config = with(config::Overlay {
        net_conf: Some(path.clone()),
        ..config::Overlay::default()
    });
    let open = || {
        let opened = Features::open(&config, &"node1".into(), &Counters::default());
        let error = opened.map(drop).unwrap_err();
        crate::feature::chain(&error)
    };
    let name = path.display();
    in_node(|| {
        assert_eq!(
            open(),
            format!(
                "open overlay: read {name} (overlay.netConf): No such file or directory (os error 2)"
            )
        );
        fs::write(
            &path,
            r#"{"Network":"10.244.0.0/16","Backend":{"Type":"ipsec"}}"#,
        )
        .unwrap();
        let error = open();
        let expected = format!("open overlay: {name} (overlay.netConf): Backend.Type is \"ipsec\"");
        assert!(error.starts_with(&expected), "{error}");
    });
}

#[test]
fn the_node_is_told_once_that_its_network_is_there() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        let mut agent = Agent::start(&folder, &cluster());
        let is_unannounced = |agent: &Agent| agent.latest.0.lock().network_is_unannounced;
        assert!(is_unannounced(&agent));
        let own = node("node1", &["172.16.0.11"], &["10.244.1.0/24"]);
        let told = Node {
            network_unavailable: Some(false),
            ..own.clone()
        };
        agent.tell(told.object());
        agent.turn();
        assert!(!is_unannounced(&agent));
        // A node made anew, with the same name.
        agent.tell(own.object());
        agent.turn();
        assert!(is_unannounced(&agent));
    });
    in_node(|| {
        let config = with(backend("none"));
        let agent = Agent::start_with(&config, &folder, &cluster());
        let report = agent.latest.0.lock().clone();
        assert!(!report.network_is_unannounced, "somebody else's to say");
        assert!(report.annotations.is_empty(), "{:?}", report.annotations);
        assert_eq!(report.mtu, Some(1500));
    });
}

#[test]
fn who_is_left_out_is_in_the_status_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        let agent = Agent::start_with(&with(backend("host-gw")), &folder, &cluster());
        let overlay = agent.status().overlay.unwrap();
        let said: Vec<String> = overlay
            .left_out
            .iter()
            .map(|left_out| format!("{} {}: {}", left_out.node, left_out.family, left_out.reason))
            .collect();
        assert_eq!(
            said,
            [
                "node2 IPv4: the node's overlay is \"vxlan\", this node's is \"host-gw\"",
                "node2 IPv6: the node has no podCIDR of this family (yet)",
            ]
        );
        assert_eq!(overlay.left_out_count, 2);
    });
}

#[test]
fn a_node_moves_from_one_overlay_to_another_without_a_moment_without_a_route() {
    let folder = tempfile::tempdir().unwrap();
    in_node(|| {
        let devices = || {
            let links = Rtnetlink::open().unwrap().links().unwrap();
            links
                .iter()
                .filter(|link| link.name.starts_with("podway-"))
                .count()
        };
        drop(Agent::start(&folder, &cluster()));
        assert_eq!(routes(), ["10.244.2.0/24 via 10.244.2.0"]);
        // Both are taken, vxlan is what is sent by.
        let config = with(config::Overlay {
            also: vec!["host-gw".to_owned()],
            ..backend("vxlan")
        });
        let agent = Agent::start_with(&config, &folder, &cluster());
        let annotations = agent.latest.0.lock().annotations.clone();
        assert_eq!(
            annotations["podway.dev/overlay-also"].as_deref(),
            Some(r#"{"host-gw":{"IPv4":null,"IPv6":null}}"#)
        );
        assert_eq!(agent.counters.total(), Writes::default());
        drop(agent);
        // Both are taken, host-gw is what is sent by.
        let config = with(config::Overlay {
            also: vec!["vxlan".to_owned()],
            ..backend("host-gw")
        });
        let mut objects = cluster();
        objects.push(moved(Some(
            r#"{"vxlan":{"IPv4":{"VNI":1,"VtepMAC":"0e:00:00:00:00:02"}}}"#,
        )));
        let agent = Agent::start_with(&config, &folder, &objects);
        assert_eq!(routes(), ["10.244.2.0/24 via 172.16.0.12"]);
        assert_eq!(devices(), 2, "vxlan is taken still");
        let status = agent.status().overlay.unwrap();
        assert_eq!(
            (&*status.backend, status.also, status.mtu),
            ("host-gw", vec!["vxlan".to_owned()], 1430)
        );
        drop(agent);
        // Only host-gw is.
        objects.push(moved(None));
        let agent = Agent::start_with(&with(backend("host-gw")), &folder, &objects);
        assert_eq!(routes(), ["10.244.2.0/24 via 172.16.0.12"]);
        assert_eq!(devices(), 0);
        assert_eq!(agent.status().overlay.unwrap().mtu, 1500);
    });
}
