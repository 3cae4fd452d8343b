#![allow(clippy::too_many_lines, reason = "tables of cases")]

mod allocation;
mod announcements;
mod configuration;
mod resources;

use std::collections::BTreeSet;
use std::net::IpAddr;

use podway_model::{IpFamily, Labels, ObjectName, Protocol, Selector};

use super::objects::IpAddressPool;
use super::{Config, DualStack, Layer2Advertisement, Objects, PortUse, Request, Sharing};

fn labels(text: &str) -> Labels {
    text.split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn selector(text: &str) -> Selector {
    Selector::of(labels(text))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn ips(text: &str) -> Vec<IpAddr> {
    text.split_whitespace().map(ip).collect()
}

fn pool(name: &str, addresses: &str) -> IpAddressPool {
    IpAddressPool {
        name: name.to_owned(),
        addresses: addresses.split_whitespace().map(str::to_owned).collect(),
        ..IpAddressPool::default()
    }
}

fn config(pools: Vec<IpAddressPool>) -> Config {
    let objects = Objects {
        pools,
        layer2: vec![Layer2Advertisement::default()],
        ..Objects::default()
    };
    objects.read().expect("a valid configuration")
}

/// A Service `default/NAME` with TCP port 80, of one family.
fn request(name: &str) -> Request {
    Request {
        name: ObjectName::new("default", name),
        created: 0,
        labels: Labels::new(),
        namespace_labels: Labels::new(),
        families: vec![IpFamily::V4],
        dual_stack: DualStack::Single,
        current: Vec::new(),
        addresses: Vec::new(),
        pool: None,
        sharing: None,
        ports: BTreeSet::from([port(80)]),
    }
}

const fn port(port: u16) -> PortUse {
    PortUse {
        protocol: Protocol::Tcp,
        port,
    }
}

fn sharing(key: &str, backend: &str) -> Option<Sharing> {
    Some(Sharing {
        key: key.to_owned(),
        backend: backend.to_owned(),
    })
}
