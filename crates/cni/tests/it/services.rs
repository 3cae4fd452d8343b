//! Connections to an address that the node translates, as service addresses are,
//! with the bridge parameters that Kubernetes' installers ask for.

use std::net::IpAddr;
use std::sync::Arc;

use podway_kernel::nft::{
    Chain, ChainType, Data, Element, Family, Field, Hook, Nft, Nftables, Rule, Ruleset, Set, Value,
    reconcile,
};
use podway_kernel::sysctl;

use crate::connectivity::{LIMIT, attached, connect, serve};
use crate::node::Node;

const SERVICE: [&str; 2] = ["10.96.0.10", "fd00:10:96::10"];

/// Sends what is for a service address to a pod, and masquerades the pod's
/// connections to itself, without which the answers would not come back.
fn translate(to: &[IpAddr]) {
    let mut table = Ruleset::new("test-services");
    let destination = Chain::base("destination", ChainType::Nat, Hook::Prerouting, -100);
    let source = Chain::base("source", ChainType::Nat, Hook::Postrouting, 100);
    let (mut destinations, mut sources) = (Vec::new(), Vec::new());
    for (pod, service) in to.iter().zip(SERVICE) {
        let service: IpAddr = service.parse().unwrap();
        let (family, daddr, saddr) = match pod {
            IpAddr::V4(_) => (Family::Ip, Field::IpDaddr, Field::IpSaddr),
            IpAddr::V6(_) => (Family::Ip6, Field::Ip6Daddr, Field::Ip6Saddr),
        };
        let name = format!("pods{}", family.number());
        let data = vec![daddr, Field::ThDport];
        let map = Set::map(name.as_str(), [daddr, Field::ThDport], data);
        let port = Value::Port(80);
        let element = Element::new(&[service.into(), port.clone()])
            .to(Data::values(&[(*pod).into(), port.clone()]));
        table.sets.push((Arc::new(map), vec![element]));
        let tcp = Rule::new().is(Field::L4Proto, Value::Protocol(6));
        destinations.push(tcp.dnat(family, [daddr, Field::ThDport], &name));
        let to_itself = Rule::new()
            .is(saddr, (*pod).into())
            .is(daddr, (*pod).into());
        sources.push(to_itself.masquerade());
    }
    table.chains = vec![(destination, destinations), (source, sources)];
    let mut nft = Nft::open().unwrap();
    nft.apply(&reconcile(&table, None)).unwrap();
}

#[test]
fn an_endpoint_on_the_clients_node_and_the_client_itself_answer() {
    for switch in ["0", "1"] {
        let node = Node::new();
        node.namespace
            .run(|| switch_bridge_filters(switch))
            .unwrap();
        let (server, addresses) = attached(&node, "server");
        serve(&server.namespace);
        let client = node.pod("client");
        let sources = node.add(&client, &node.config()).addresses();
        node.namespace.run(|| translate(&addresses)).unwrap();
        for (i, service) in SERVICE.iter().enumerate() {
            let service = service.parse().unwrap();
            let gateway = node.config()["podCIDRs"][i]
                .as_str()
                .map(|prefix| prefix.replace("0/24", "1").replace("::/64", "::1"));
            for (from, seen) in [
                (&client.namespace, Some(sources[i].to_string())),
                // Through the service to itself.
                (&server.namespace, gateway),
            ] {
                let answer = connect(from, service, LIMIT);
                let answer = answer.unwrap_or_else(|error| {
                    panic!("{service} from {:?} with {switch}: {error}", from.path())
                });
                assert_eq!(Some(answer), seen, "{service} with {switch}");
            }
        }
    }
}

/// A kernel without br_netfilter has no such parameters.
fn switch_bridge_filters(value: &str) {
    for protocol in ["iptables", "ip6tables"] {
        let key = format!("net/bridge/bridge-nf-call-{protocol}");
        match sysctl::ensure(&key, value) {
            Ok(_) | Err(sysctl::Error::Unknown { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
