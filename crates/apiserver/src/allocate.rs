//! Cluster IPs and node ports of Services.
//!
//! Allocation is planned before a write and committed after it: a write that
//! fails in between, or a dry run, leaves nothing claimed.
//!
//! What a service does not ask for is chosen from the hash of its name, then
//! the next free one upwards: the same services in the same order get the same
//! addresses, and a freed address is not given to the very next service, whose
//! clients would meet the old one's cached connections. As in Kubernetes the
//! lower part of a range is used only when the rest is full, so that explicit
//! requests find it free.

mod families;
mod pool;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use serde_json::Value;
use thiserror::Error;

use crate::defaults::service::{list, needs_cluster_ip, needs_health_check_port, needs_node_port};
use crate::kinds::{self, Kind};
use crate::validate::{FieldErrors, Invalid, Path};
use pool::{AddressPool, PortPool, Refusal};

/// What may be given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    /// The service prefixes, one or one of each family. The first one's family
    /// is that of single-stack services which do not say.
    pub services: Vec<IpNet>,
    /// Ports of `NodePort` and `LoadBalancer` services.
    pub node_ports: RangeInclusive<u16>,
}

/// Ranges that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RangesError {
    /// Neither one prefix nor two of different families.
    #[error("service prefixes must be one, or one of each IP family, not {0:?}")]
    Families(Vec<IpNet>),
    /// A prefix without room for a single service.
    #[error("service prefix {0} is too small: a /30 (IPv4) or /126 (IPv6) is the least")]
    TooSmall(IpNet),
    /// No port at all, or port 0.
    #[error("node port range {}-{} is empty or begins with 0", .0.start(), .0.end())]
    Ports(RangeInclusive<u16>),
}

/// Why a service got nothing.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum AllocateError {
    /// What the service asks for cannot be had: 422.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Nothing is left: 500 `InternalError`.
    #[error("Internal error occurred: {0}")]
    Exhausted(String),
}

/// What a write would claim and release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a claim that is not committed has no effect"]
pub struct Claim {
    owner: String,
    released: Held,
    claimed: Held,
}

/// The addresses and node ports of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Held {
    addresses: BTreeSet<IpAddr>,
    ports: BTreeSet<u16>,
}

/// Who holds what.
#[derive(Debug, Clone)]
pub struct Allocator {
    ranges: Ranges,
    addresses: Vec<AddressPool>,
    ports: PortPool,
}

/// The one service whose addresses are fixed: the first of each prefix.
const KUBERNETES: &str = "default/kubernetes";

impl Allocator {
    /// An allocator with everything free but the first address of each prefix,
    /// which is `default/kubernetes`'s.
    ///
    /// # Errors
    /// Ranges that cannot be used.
    pub fn new(ranges: Ranges) -> Result<Self, RangesError> {
        let two_of_one_family = || {
            let [first, second] = ranges.services[..] else {
                return true;
            };
            first.addr().is_ipv4() == second.addr().is_ipv4()
        };
        if ranges.services.len() != 1 && two_of_one_family() {
            return Err(RangesError::Families(ranges.services));
        }
        if ranges.node_ports.is_empty() || *ranges.node_ports.start() == 0 {
            return Err(RangesError::Ports(ranges.node_ports));
        }
        let addresses = ranges
            .services
            .iter()
            .map(|prefix| AddressPool::new(*prefix).ok_or(RangesError::TooSmall(*prefix)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            addresses,
            ports: PortPool::new(ranges.node_ports.clone()),
            ranges,
        })
    }

    /// The ranges.
    #[must_use]
    pub fn ranges(&self) -> &Ranges {
        &self.ranges
    }

    /// Forgets everything and claims what these services hold. Returns what two
    /// of them hold at once, or what is outside the ranges, as sentences: such
    /// services stay as they are.
    pub fn rebuild<'a>(&mut self, services: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
        self.addresses.iter_mut().for_each(AddressPool::clear);
        self.ports.clear();
        let mut problems = Vec::new();
        for service in services.into_iter().filter_map(parse) {
            let (owner, held) = (owner(&service), held_by(&service));
            for address in held.addresses {
                if let Err(why) = self.claim_address(address, &owner) {
                    problems.push(format!("service {owner} holds cluster IP {address}: {why}"));
                }
            }
            for port in held.ports {
                if let Err(why) = self.ports.claim(port, &owner) {
                    problems.push(format!("service {owner} holds node port {port}: {why}"));
                }
            }
        }
        problems
    }

    /// Fills in what a new, admitted service still needs.
    ///
    /// # Errors
    /// See [`AllocateError`]; the service is then as it was.
    pub fn plan_create(&self, service: &mut Value) -> Result<Claim, AllocateError> {
        self.plan(service, None)
    }

    /// Fills in what the next value of a service needs.
    ///
    /// # Errors
    /// See [`AllocateError`]; the service is then as it was.
    pub fn plan_update(&self, service: &mut Value, old: &Value) -> Result<Claim, AllocateError> {
        self.plan(service, Some(old))
    }

    /// What the end of a service gives back.
    pub fn plan_delete(&self, service: &Value) -> Claim {
        parse(service).map_or_else(Claim::default, |service| Claim {
            owner: owner(&service),
            released: held_by(&service),
            claimed: Held::default(),
        })
    }

    /// Makes a planned claim true. Nothing else may have been committed since
    /// it was planned.
    pub fn commit(&mut self, claim: Claim) {
        for pool in &mut self.addresses {
            pool.release(&claim.released.addresses, &claim.owner);
        }
        self.ports.release(&claim.released.ports, &claim.owner);
        // The plan found these free, or held by the service itself.
        for address in claim.claimed.addresses {
            let _ = self.claim_address(address, &claim.owner);
        }
        for port in claim.claimed.ports {
            let _ = self.ports.claim(port, &claim.owner);
        }
    }

    fn claim_address(&mut self, address: IpAddr, owner: &str) -> Result<(), Refusal> {
        match self
            .addresses
            .iter_mut()
            .find(|pool| pool.is_family_of(address))
        {
            Some(pool) => pool.claim(address, owner),
            None => Err(Refusal::NoFamily(address)),
        }
    }

    fn plan(&self, value: &mut Value, old: Option<&Value>) -> Result<Claim, AllocateError> {
        let kind = service_kind();
        let decoded = serde_json::from_value::<Service>(value.clone());
        let mut service = decoded.map_err(|error| Invalid::internal(kind, &error))?;
        let old = old.and_then(parse);
        let mut plan = Plan {
            allocator: self,
            owner: owner(&service),
            name: service.metadata.name.clone().unwrap_or_default(),
            held: old.as_ref().map(held_by).unwrap_or_default(),
            ports: BTreeSet::new(),
        };
        let old_spec = old.as_ref().and_then(|service| service.spec.as_ref());
        let spec = service.spec.get_or_insert_default();
        plan.families(spec, old_spec)?;
        plan.cluster_ips(spec)?;
        plan.node_ports(spec)?;
        plan.health_check_port(spec)?;
        let claimed = held_by(&service);
        *value = serde_json::to_value(&service).map_err(|error| Invalid::internal(kind, &error))?;
        Ok(Claim {
            owner: plan.owner,
            released: plan.held,
            claimed,
        })
    }
}

/// One service's way through the pools. Nothing is written to them.
struct Plan<'a> {
    allocator: &'a Allocator,
    /// `namespace/name`.
    owner: String,
    name: String,
    /// What the service has now and may therefore keep.
    held: Held,
    /// Node ports that it will have.
    ports: BTreeSet<u16>,
}

impl Plan<'_> {
    fn families(
        &self,
        spec: &mut ServiceSpec,
        old: Option<&ServiceSpec>,
    ) -> Result<(), AllocateError> {
        let available: Vec<&str> = self
            .allocator
            .addresses
            .iter()
            .map(AddressPool::family)
            .collect();
        let mut errors = FieldErrors::default();
        families::settle(spec, old, &available, &mut errors);
        self.check(errors)
    }

    /// An address of each family. Asked-for addresses must be free.
    fn cluster_ips(&self, spec: &mut ServiceSpec) -> Result<(), AllocateError> {
        let asked = list(&spec.cluster_ips).to_vec();
        if !needs_cluster_ip(spec) || asked.first().is_some_and(|ip| ip == "None") {
            return Ok(());
        }
        let mut errors = FieldErrors::default();
        let mut addresses = Vec::new();
        for (index, family) in list(&spec.ip_families).iter().enumerate() {
            let pool = self
                .allocator
                .addresses
                .iter()
                .find(|pool| pool.family() == family);
            let Some(pool) = pool else { continue };
            let asked_for = asked.get(index).and_then(|ip| ip.parse::<IpAddr>().ok());
            let Some(address) = asked_for else {
                addresses.push(self.free_address(pool)?.to_string());
                continue;
            };
            if let Err(why) = pool.check(address, &self.owner) {
                let detail = format!("failed to allocate IP {address}: {why}");
                errors.invalid(&Path::from("spec.clusterIPs"), asked.clone(), &detail);
            }
            addresses.push(asked[index].clone());
        }
        self.check(errors)?;
        spec.cluster_ip = addresses.first().cloned();
        spec.cluster_ips = Some(addresses);
        Ok(())
    }

    fn free_address(&self, pool: &AddressPool) -> Result<IpAddr, AllocateError> {
        if self.owner == KUBERNETES {
            return Ok(pool.first());
        }
        pool.free(&self.owner).ok_or_else(|| {
            AllocateError::Exhausted("failed to allocate a serviceIP: range is full".to_owned())
        })
    }

    /// Ports asked for in any service, and one for each port of a service that
    /// needs them. Ports of one service that differ only in the protocol share
    /// a number.
    fn node_ports(&mut self, spec: &mut ServiceSpec) -> Result<(), AllocateError> {
        let mut errors = FieldErrors::default();
        let needed = needs_node_port(spec);
        let ports = spec.ports.as_deref_mut().unwrap_or_default();
        for (index, port) in ports.iter().enumerate() {
            let Some(asked) = port.node_port.filter(|number| *number != 0) else {
                continue;
            };
            let path = Path::from("spec.ports").index(index).child("nodePort");
            self.ask_port(asked, &path, &mut errors);
        }
        self.check(errors)?;
        if !needed {
            return Ok(());
        }
        for index in 0..ports.len() {
            if ports[index].node_port.is_none_or(|number| number == 0) {
                let number = match shared_port(ports, index) {
                    Some(number) => number,
                    None => i32::from(self.free_port(index)?),
                };
                ports[index].node_port = Some(number);
            }
        }
        Ok(())
    }

    fn ask_port(&mut self, asked: i32, path: &Path, errors: &mut FieldErrors) {
        match self.allocator.ports.check(asked, &self.owner) {
            Ok(port) => {
                self.ports.insert(port);
            }
            Err(why) => errors.invalid(path, asked, &why.to_string()),
        }
    }

    fn free_port(&mut self, index: usize) -> Result<u16, AllocateError> {
        let seed = format!("{}/{index}", self.owner);
        let port = self
            .allocator
            .ports
            .free(&seed, &self.ports)
            .ok_or_else(|| {
                AllocateError::Exhausted("failed to allocate a nodePort: range is full".to_owned())
            })?;
        self.ports.insert(port);
        Ok(port)
    }

    fn health_check_port(&mut self, spec: &mut ServiceSpec) -> Result<(), AllocateError> {
        if !needs_health_check_port(spec) {
            return Ok(());
        }
        match spec.health_check_node_port {
            None | Some(0) => {
                let port = self.free_port(list(&spec.ports).len())?;
                spec.health_check_node_port = Some(i32::from(port));
                Ok(())
            }
            Some(asked) => {
                let mut errors = FieldErrors::default();
                self.ask_port(asked, &Path::from("spec.healthCheckNodePort"), &mut errors);
                self.check(errors)
            }
        }
    }

    fn check(&self, errors: FieldErrors) -> Result<(), AllocateError> {
        Ok(errors.into_result(service_kind(), &self.name)?)
    }
}

/// The node port of another port with the same number and another protocol,
/// such as DNS over TCP and UDP.
fn shared_port(ports: &[ServicePort], index: usize) -> Option<i32> {
    let port = &ports[index];
    ports
        .iter()
        .filter(|other| other.port == port.port && other.protocol != port.protocol)
        .find_map(|other| other.node_port.filter(|number| *number != 0))
}

fn service_kind() -> &'static Kind {
    kinds::known("v1", "Service")
}

fn parse(service: &Value) -> Option<Service> {
    serde_json::from_value(service.clone()).ok()
}

fn owner(service: &Service) -> String {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let name = service.metadata.name.as_deref().unwrap_or_default();
    format!("{namespace}/{name}")
}

fn held_by(service: &Service) -> Held {
    let Some(spec) = &service.spec else {
        return Held::default();
    };
    let addresses = if needs_cluster_ip(spec) {
        list(&spec.cluster_ips)
    } else {
        &[]
    };
    let numbers = list(&spec.ports)
        .iter()
        .map(|port| port.node_port)
        .chain([spec.health_check_node_port]);
    Held {
        addresses: addresses.iter().filter_map(|ip| ip.parse().ok()).collect(),
        ports: numbers
            .flatten()
            .filter_map(|number| u16::try_from(number).ok())
            .filter(|number| *number != 0)
            .collect(),
    }
}

#[cfg(test)]
mod tests;
