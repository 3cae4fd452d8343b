//! CHECK: what ADD made is still there. What others have added is theirs.

use std::net::IpAddr;

use ipnet::IpNet;
use podway_kernel::netns::NetNs;
use podway_kernel::route::{Link, RouteFilter, Rtnetlink};
use serde_json::Value;

use crate::add::pod_namespace;
use crate::bandwidth;
use crate::config::Config;
use crate::environment::Target;
use crate::error::Error;
use crate::host_ports;
use crate::interface::{belongs_to, host_name};
use crate::ipam::Ipam;

/// Compares with the final result, which the runtime hands over.
pub(crate) fn check(target: &Target, config: &Config) -> Result<(), Error> {
    let Some(result) = &config.previous else {
        return Err(Error::Config {
            field: "prevResult",
            reason: "CHECK needs the result of ADD".into(),
        });
    };
    let namespace = pod_namespace(target)?;
    let leased = Ipam::open(&config.network)?.addresses(&target.owner);
    let mut check = Check {
        target,
        result,
        leased,
        problems: Vec::new(),
    };
    check.addresses();
    check.node_end(&mut Rtnetlink::open()?, config)?;
    check.pod_end(&namespace)?;
    let in_force = host_ports::are_in_force(&config.network.data_dir, &target.owner)?;
    check.require(in_force, || "its host ports are not in force".into());
    if check.problems.is_empty() {
        return Ok(());
    }
    Err(Error::Changed {
        owner: target.owner.clone(),
        problems: check.problems,
    })
}

struct Check<'a> {
    target: &'a Target,
    result: &'a Value,
    /// Its addresses as the address management knows them.
    leased: Vec<IpAddr>,
    problems: Vec<String>,
}

impl Check<'_> {
    fn require(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }

    fn addresses(&mut self) {
        self.require(!self.leased.is_empty(), || {
            "it has no address any more".into()
        });
        let said = list(self.result, "ips", |ip| address(&ip["address"]));
        for address in self.leased.clone() {
            self.require(said.contains(&address), || {
                format!("its address is {address}, which the result does not say")
            });
        }
    }

    fn node_end(&mut self, socket: &mut Rtnetlink, config: &Config) -> Result<(), Error> {
        let name = host_name(&self.target.owner);
        let link = socket.link(&name)?;
        let Some(link) = link.filter(|link| belongs_to(link, &self.target.owner)) else {
            self.problems.push(format!("{name} is gone from the node"));
            return Ok(());
        };
        self.require(link.running, || format!("{name} carries no packets"));
        let limits = &config.bandwidth;
        let owner = &self.target.owner;
        let limited = bandwidth::is_in_force(socket, link.index, owner, limits, config.mtu)?;
        self.require(limited, || "its bandwidth is not limited".into());
        self.has_addresses(socket, &link, &self.gateways())?;
        let filter = RouteFilter {
            link: Some(link.index),
            ..RouteFilter::default()
        };
        let routes = socket.routes(filter)?;
        for address in self.leased.clone() {
            let to_pod = IpNet::from(address);
            let found = routes.iter().any(|route| route.destination == to_pod);
            self.require(found, || format!("the node has no route to {address}"));
        }
        Ok(())
    }

    fn pod_end(&mut self, namespace: &NetNs) -> Result<(), Error> {
        let name = &self.target.owner.ifname;
        let mut socket = Rtnetlink::open_in(namespace)?;
        let Some(link) = socket.link(name)? else {
            self.problems.push(format!("{name} is gone from the pod"));
            return Ok(());
        };
        self.require(link.running, || format!("{name} carries no packets"));
        self.has_mac(&link);
        let leased = self.leased.clone();
        self.has_addresses(&mut socket, &link, &leased)?;
        let filter = RouteFilter {
            link: Some(link.index),
            ..RouteFilter::default()
        };
        // In any table: a plugin behind this one may move them.
        let routes = socket.routes(filter)?;
        for gateway in self.gateways() {
            let default = |route: &podway_kernel::route::Route| {
                route.gateway == Some(gateway) && route.destination.prefix_len() == 0
            };
            let found = routes.iter().any(default);
            self.require(found, || format!("the pod has no route through {gateway}"));
        }
        Ok(())
    }

    fn has_addresses(
        &mut self,
        socket: &mut Rtnetlink,
        link: &Link,
        wanted: &[IpAddr],
    ) -> Result<(), Error> {
        let held = socket.addresses(Some(link.index))?;
        for address in wanted {
            let found = held.iter().any(|held| held.address.addr() == *address);
            self.require(found, || format!("{} has lost {address}", link.name));
        }
        Ok(())
    }

    /// As the result says: a plugin behind this one may have changed it.
    fn has_mac(&mut self, link: &Link) {
        let said = list(self.result, "interfaces", |interface| {
            let is_pods = interface["name"] == *link.name && interface["sandbox"] != "";
            let mac = interface["mac"].as_str().filter(|_| is_pods)?;
            interface.get("sandbox").map(|_| mac.to_owned())
        });
        let mac = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
        for said in said {
            self.require(said.eq_ignore_ascii_case(&mac), || {
                format!("{} has the Ethernet address {mac}, not {said}", link.name)
            });
        }
    }

    /// The gateways of our addresses.
    fn gateways(&self) -> Vec<IpAddr> {
        list(self.result, "ips", |ip| {
            let ours = address(&ip["address"]).is_some_and(|ip| self.leased.contains(&ip));
            ip["gateway"].as_str()?.parse().ok().filter(|_| ours)
        })
    }
}

fn list<T>(result: &Value, key: &str, pick: impl Fn(&Value) -> Option<T>) -> Vec<T> {
    let entries = result[key].as_array();
    entries.into_iter().flatten().filter_map(pick).collect()
}

fn address(text: &Value) -> Option<IpAddr> {
    let net: IpNet = text.as_str()?.parse().ok()?;
    Some(net.addr())
}
