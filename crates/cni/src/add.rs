//! ADD: an interface for a pod, or nothing at all.

use podway_kernel::netns::{self, NetNs};
use podway_kernel::route::{LinkIndex, Rtnetlink};
use serde_json::Value;

use crate::agent_protocol::{AgentClient, Attachment};
use crate::bandwidth;
use crate::config::Config;
use crate::environment::Target;
use crate::error::Error;
use crate::host_ports;
use crate::interface::{self, PodInterface};
use crate::ipam::{Assigned, Ipam};
use crate::result;
use crate::teardown;

/// Makes the interface and returns the result, in the configuration's version.
pub(crate) fn add(target: &Target, config: &Config) -> Result<Value, Error> {
    let namespace = pod_namespace(target)?;
    let mut socket = Rtnetlink::open()?;
    let ips = Ipam::open(&config.network)?.allocate(&target.owner, &config.request())?;
    let pod = PodInterface {
        target,
        namespace: &namespace,
        mtu: config.mtu,
        mac: config.mac.or_else(|| default_mac(&ips)),
        ips: &ips,
    };
    let end = pod.create(&mut socket).inspect_err(|_| {
        // An interface of that name is not ours: it stays.
        note(teardown::release(&target.owner, &config.network).map(drop));
    })?;
    if let Err(error) = finish(&mut socket, end, &pod, config) {
        note(teardown::tear_down(&mut socket, &target.owner, &config.network).map(drop));
        return Err(error);
    }
    Ok(result::of(&pod, config))
}

fn finish(
    socket: &mut Rtnetlink,
    end: LinkIndex,
    pod: &PodInterface<'_>,
    config: &Config,
) -> Result<(), Error> {
    pod.connect(socket, end)?;
    pod.configure()?;
    interface::await_ready(socket, end, pod.ips.iter().map(|ip| ip.gateway))?;
    let owner = &pod.target.owner;
    bandwidth::apply(socket, end, owner, &config.bandwidth, config.mtu)?;
    host_ports::claim(
        &config.network.data_dir,
        owner,
        &config.port_mappings,
        pod.ips,
    )?;
    await_policies(pod, config)
}

/// The runtime sends a DEL after a failed ADD, which tries again.
fn note(undone: Result<(), Error>) {
    if let Err(error) = undone {
        eprintln!("podway-cni: after a failed ADD: {error}");
    }
}

fn default_mac(ips: &[Assigned]) -> Option<podway_kernel::route::Mac> {
    ips.first().map(|ip| interface::mac_of(ip.address))
}

/// Returns once the agent says that the pod's policies are in force. A pod that
/// no agent vouches for gets no network, unless the configuration says
/// otherwise.
fn await_policies(pod: &PodInterface<'_>, config: &Config) -> Result<(), Error> {
    let Target { owner, args, .. } = pod.target;
    let (Some(socket), Some(name)) = (&config.network.agent_socket, &args.pod) else {
        return Ok(());
    };
    let attachment = Attachment {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        uid: name.uid.clone(),
        container_id: owner.container.clone(),
        ifname: owner.ifname.clone(),
        addresses: pod.ips.iter().map(|ip| ip.address).collect(),
    };
    let answer = AgentClient::new(socket, config.policy_wait).attach(&attachment);
    let failed = answer.map_err(|source| Error::Policies {
        pod: format!("{}/{}", name.namespace, name.name),
        source,
    });
    match failed {
        Err(error) if config.fail_open => {
            let (what, why) = error.chain();
            eprintln!("podway-cni: it starts all the same (failOpen): {what}: {why}");
            Ok(())
        }
        answer => answer,
    }
}

/// The namespace that a runtime names for a pod.
pub(crate) fn pod_namespace(target: &Target) -> Result<NetNs, Error> {
    let path = target.netns.clone().unwrap_or_default();
    let text = path.display().to_string();
    let namespace = NetNs::open(path).map_err(|error| match error {
        netns::Error::NotFound { .. } | netns::Error::NotANamespace { .. } => Error::Namespace {
            path: text.clone(),
            reason: error.to_string(),
        },
        error => error.into(),
    })?;
    if namespace.id()? == NetNs::current()?.id()? {
        return Err(Error::Namespace {
            path: text,
            reason: "it is the namespace that the plugin runs in".into(),
        });
    }
    Ok(namespace)
}
