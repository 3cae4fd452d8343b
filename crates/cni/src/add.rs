//! ADD: an interface for a pod, or nothing at all.

use podway_kernel::netns::{self, NetNs};
use podway_kernel::route::{LinkIndex, Rtnetlink};
use serde_json::Value;

use crate::agent_protocol::{AgentClient, Attachment};
use crate::config::Config;
use crate::environment::Target;
use crate::error::Error;
use crate::interface::{self, PodInterface};
use crate::ipam::{Ipam, Owner, Range};
use crate::result::{self, Attached};

/// Makes the interface and returns the result, in the configuration's version.
pub(crate) fn add(target: &Target, config: &Config) -> Result<Value, Error> {
    let namespace = pod_namespace(target)?;
    let mut socket = Rtnetlink::open()?;
    let owner = Owner::of(target);
    let addresses =
        Ipam::open(&config.data_dir, &config.network)?.allocate(&owner, &config.ranges)?;
    let gateways: Vec<_> = config.ranges.iter().map(Range::gateway).collect();
    let pod = PodInterface {
        target,
        namespace: &namespace,
        mtu: config.mtu,
        addresses: &addresses,
        gateways: &gateways,
    };
    let end = pod
        .create(&mut socket)
        .inspect_err(|_| release(config, &owner))?;
    if let Err(error) = finish(&mut socket, end, &pod, config) {
        undo(&mut socket, target, config, &owner);
        return Err(error);
    }
    Ok(result::of(&attached(&pod), config))
}

fn finish(
    socket: &mut Rtnetlink,
    end: LinkIndex,
    pod: &PodInterface<'_>,
    config: &Config,
) -> Result<(), Error> {
    pod.connect(socket, end)?;
    pod.configure()?;
    interface::await_running(socket, end)?;
    await_policies(pod, config)
}

/// Takes back what this call made. The addresses only once the interface is
/// gone: nobody else may get them while it answers for them.
fn undo(socket: &mut Rtnetlink, target: &Target, config: &Config, owner: &Owner) {
    match interface::remove(socket, target) {
        Ok(_) => release(config, owner),
        Err(error) => eprintln!("podway-cni: after a failed ADD: {error}"),
    }
}

/// Returns once the agent says that the pod's policies are in force. A pod that
/// no agent vouches for gets no network.
fn await_policies(pod: &PodInterface<'_>, config: &Config) -> Result<(), Error> {
    let (Some(socket), Some(name)) = (&config.agent_socket, &pod.target.pod) else {
        return Ok(());
    };
    let attachment = Attachment {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        uid: name.uid.clone(),
        container_id: pod.target.container.clone(),
        ifname: pod.target.ifname.clone(),
        addresses: pod.addresses.to_vec(),
    };
    AgentClient::new(socket, config.policy_wait)
        .attach(&attachment)
        .map_err(|source| Error::Policies {
            pod: format!("{}/{}", name.namespace, name.name),
            source,
        })
}

fn release(config: &Config, owner: &Owner) {
    let released =
        Ipam::open(&config.data_dir, &config.network).and_then(|mut ipam| ipam.release(owner));
    // The runtime sends a DEL after a failed ADD, which tries again.
    if let Err(error) = released {
        eprintln!("podway-cni: after a failed ADD: {error}");
    }
}

fn pod_namespace(target: &Target) -> Result<NetNs, Error> {
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

fn attached<'a>(pod: &'a PodInterface<'a>) -> Attached<'a> {
    Attached {
        host: interface::host_name(pod.target),
        host_mac: pod.gateway_mac(),
        ifname: &pod.target.ifname,
        mac: pod.mac(),
        namespace: pod.namespace.path(),
        addresses: pod.addresses,
        gateways: pod.gateways,
    }
}

impl Owner {
    /// The owner of a target's addresses.
    pub(crate) fn of(target: &Target) -> Self {
        Self {
            container: target.container.clone(),
            ifname: target.ifname.clone(),
        }
    }
}
