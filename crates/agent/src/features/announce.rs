use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;

use kube::Client;
use parking_lot::Mutex;
use podway_dataplane::announce::layer2::{Error, Handle, Plan, Settings, Task, View};
use podway_model::{ClusterState, Node, Object, ObjectName, Service, ServiceType, Update};
use podway_plan::announce::{AnnouncedService, Announcements, Speaker, plan_announcements};
use podway_watch::address_config::Place;
use podway_wire::mesh::Key;

use crate::address_config::{self, AddressConfig};
use crate::config::LoadBalancer;
use crate::feature::{Feature, Report, Scope, WriteError};
use crate::mailbox::Mailbox;
use crate::status::LoadBalancerStatus;

const NAME: &str = "loadBalancer";

/// Addresses of Services of type LoadBalancer, told to the network.
pub(crate) struct Announce {
    node: Arc<str>,
    port: u16,
    shared: Arc<Mutex<Shared>>,
    services: BTreeMap<ObjectName, AnnouncedService>,
    speakers: Vec<Speaker>,
    voters: BTreeMap<Arc<str>, IpAddr>,
    announcements: Announcements,
    running: Option<Running>,
}

/// What comes from elsewhere: the configuration from its watch, the rest from
/// the thread that announces.
#[derive(Default)]
struct Shared {
    config: AddressConfig,
    view: View,
    failure: Option<Error>,
    mailbox: Option<Arc<Mailbox>>,
}

/// The thread that announces. It ends when this is dropped.
struct Running {
    handle: Handle,
    key: Arc<Key>,
    plan: Plan,
}

/// The feature's end towards the API server.
pub(crate) struct Announcing(Arc<Mutex<Shared>>);

/// Watches the configuration until the future is dropped, and wakes the feature,
/// where there is one, after each change of that or of what the node holds.
pub(crate) async fn follow_addresses(
    announcing: Option<Announcing>,
    client: &Client,
    config: &LoadBalancer,
    mailbox: &Arc<Mailbox>,
) {
    let Some(Announcing(shared)) = announcing else {
        return;
    };
    shared.lock().mailbox = Some(mailbox.clone());
    let place = Place {
        namespace: config.namespace.clone(),
        secret: config.secret.clone(),
    };
    let tell = |config| {
        shared.lock().config = config;
        mailbox.disturb_feature(NAME);
    };
    address_config::watch(client, &place, tell).await;
}

impl Announce {
    pub(crate) fn new(config: &LoadBalancer, node: Arc<str>) -> Self {
        Self {
            node,
            port: config.port.get(),
            shared: Arc::default(),
            services: BTreeMap::new(),
            speakers: Vec::new(),
            voters: BTreeMap::new(),
            announcements: Announcements::default(),
            running: None,
        }
    }

    pub(crate) fn announcing(&self) -> Announcing {
        Announcing(self.shared.clone())
    }

    fn plan_nodes(&mut self, state: &ClusterState) {
        self.speakers = state.nodes().map(|node| speaker(node)).collect();
        let reached = |node: &Arc<Node>| Some((node.name.clone(), *node.addresses.first()?));
        self.voters = state.nodes().filter_map(reached).collect();
    }

    fn plan_service(&mut self, state: &ClusterState, name: &ObjectName) {
        match state.service(name).and_then(|s| announced(state, s)) {
            Some(service) => self.services.insert(name.clone(), service),
            None => self.services.remove(name),
        };
    }

    /// What the node may hold, by the configuration as it is now.
    fn layer2(&mut self, config: &AddressConfig) -> Plan {
        let services: Vec<AnnouncedService> = self.services.values().cloned().collect();
        self.announcements =
            plan_announcements(&config.config, &services, &self.speakers, &self.node);
        Plan {
            voters: self.voters.clone(),
            addresses: self.announcements.layer2.clone(),
            ready: true,
        }
    }

    /// The thread that announces, with this key.
    fn running(&mut self, key: &Arc<Key>) -> Result<&mut Running, Error> {
        let is_same = |running: &Running| Arc::ptr_eq(&running.key, key);
        if !self.running.as_ref().is_some_and(is_same) {
            // The former thread gives the port back.
            self.running = None;
            let handle = self.start(key)?;
            self.running = Some(Running {
                handle,
                key: key.clone(),
                plan: Plan::default(),
            });
        }
        Ok(self.running.as_mut().expect("it was started just now"))
    }

    /// Starts it in the calling thread's network namespace.
    fn start(&self, key: &Key) -> Result<Handle, Error> {
        let settings = Settings {
            node: self.node.clone(),
            key: key.clone(),
            port: self.port,
            pod_group: Some(podway_cni::LINK_GROUP),
        };
        let shared = self.shared.clone();
        let observer = Box::new(move |view: View, _: bool| {
            let mut shared = shared.lock();
            shared.view = view;
            shared.wake();
        });
        let (task, handle) = Task::open(settings, observer)?;
        let shared = self.shared.clone();
        let work = move || {
            let outcome = task.run();
            let mut shared = shared.lock();
            shared.view = View::default();
            shared.failure = outcome.err();
            shared.wake();
        };
        let thread = thread::Builder::new().name("podway-announce".to_owned());
        thread.spawn(work).map_err(Error::Wait)?;
        Ok(handle)
    }
}

impl Shared {
    fn wake(&self) {
        if let Some(mailbox) = &self.mailbox {
            mailbox.disturb_feature(NAME);
        }
    }
}

impl Feature for Announce {
    fn name(&self) -> &'static str {
        NAME
    }

    fn plan_all(&mut self, state: &ClusterState) {
        self.plan_nodes(state);
        let services = state.services();
        let services = services.filter_map(|s| Some((s.name.clone(), announced(state, s)?)));
        self.services = services.collect();
    }

    fn plan(&mut self, state: &ClusterState, updates: &[Update]) {
        let mut services = BTreeSet::new();
        let mut nodes = false;
        for object in updates.iter().flat_map(|u| u.before.iter().chain(&u.after)) {
            match object {
                Object::Node(_) => nodes = true,
                Object::Service(service) => {
                    services.insert(&service.name);
                }
                Object::EndpointSlice(slice) => {
                    services.insert(&slice.service);
                }
                _ => {}
            }
        }
        if nodes {
            self.plan_nodes(state);
        }
        for name in services {
            self.plan_service(state, name);
        }
    }

    fn write(&mut self, _: Scope) -> Result<(), WriteError> {
        let (config, failure) = {
            let mut shared = self.shared.lock();
            (shared.config.clone(), shared.failure.take())
        };
        if let Some(failure) = failure {
            self.running = None;
            return Err(Box::new(failure));
        }
        let plan = self.layer2(&config);
        // Nodes vote also where they hold nothing, as long as there is something
        // to vote on.
        let is_used = !config.config.layer2.is_empty();
        match config.key.filter(|_| is_used) {
            Some(key) => {
                let running = self.running(&key)?;
                if running.plan != plan {
                    running.handle.set_plan(plan.clone());
                    running.plan = plan;
                }
            }
            None => self.running = None,
        }
        Ok(())
    }

    fn describe(&self, report: &mut Report) {
        let shared = self.shared.lock();
        let missing = shared.config.key.is_none() && !self.announcements.layer2.is_empty();
        let missing = missing.then(|| {
            "nothing is announced: the Secret that nodes share is missing \
             (podway controller makes it, or: kubectl create secret generic)"
                .to_owned()
        });
        let unreachable = shared.view.peers.iter().filter(|(_, answers)| !**answers);
        report.status.load_balancer = Some(LoadBalancerStatus {
            candidates: self.announcements.layer2.len(),
            held: shared.view.held.iter().copied().collect(),
            unreachable: unreachable.map(|(node, _)| node.to_string()).collect(),
            problem: shared.config.problem.clone().or(missing),
        });
    }
}

fn speaker(node: &Node) -> Speaker {
    Speaker {
        node: node.name.clone(),
        labels: node.labels.clone(),
        network_unavailable: node.network_unavailable == Some(true),
        leaving: node.leaving,
    }
}

/// A Service of type LoadBalancer that has addresses.
fn announced(state: &ClusterState, service: &Service) -> Option<AnnouncedService> {
    if service.service_type != ServiceType::LoadBalancer || service.load_balancer.is_empty() {
        return None;
    }
    let endpoints = state.slices_of(&service.name).flat_map(|s| &s.endpoints);
    // Those that terminate are better than none.
    let taking = endpoints.filter(|endpoint| endpoint.ready || endpoint.serving);
    Some(AnnouncedService {
        name: service.name.clone(),
        labels: service.labels.clone(),
        addresses: service.load_balancer.iter().map(|a| a.address).collect(),
        external_policy: service.external_policy,
        endpoint_nodes: taking.map(|endpoint| endpoint.node.clone()).collect(),
    })
}

#[cfg(test)]
mod tests;
