//! DEL: what ADD made is gone, whatever was left of it.

use std::net::IpAddr;
use std::time::Duration;

use podway_kernel::netns::NetNs;
use podway_kernel::route::Rtnetlink;

use crate::agent_protocol::{AgentClient, Detachment};
use crate::config::Network;
use crate::environment::{PodName, Target};
use crate::error::Error;
use crate::ipam::HostLocal;
use crate::owner::Owner;
use crate::teardown::tear_down;

/// How long the agent is listened to: nothing depends on its answer.
const DETACH_WAIT: Duration = Duration::from_secs(2);

/// Takes the interface away and tells the agent.
pub(crate) fn del(target: &Target, network: &Network) -> Result<(), Error> {
    let mut addresses = tear_down(&mut Rtnetlink::open()?, &target.owner, network)?;
    if addresses.is_empty() {
        addresses = del_of_another_plugin(target, network)?;
    }
    tell_agent(&target.owner, target.args.pod.as_ref(), addresses, network);
    Ok(())
}

/// A pod that another plugin had made before the node changed over: runtimes
/// call the plugin of today.
fn del_of_another_plugin(target: &Target, network: &Network) -> Result<Vec<IpAddr>, Error> {
    let host_local = HostLocal::open(&network.host_local_dir);
    if !host_local.knows(&target.owner) {
        return Ok(Vec::new());
    }
    // Gone with its namespace, where that is gone.
    let namespace = target.netns.clone().and_then(|path| NetNs::open(path).ok());
    if let Some(namespace) = namespace.filter(is_a_pods) {
        let mut inside = Rtnetlink::open_in(&namespace)?;
        if let Some(link) = inside.link(&target.owner.ifname)? {
            inside.delete_link(link.index)?;
        }
    }
    host_local.release(&target.owner)
}

fn is_a_pods(namespace: &NetNs) -> bool {
    let here = NetNs::current().and_then(|here| here.id());
    here.is_ok_and(|here| namespace.id().is_ok_and(|id| id != here))
}

/// An agent that is away finds the pod gone when it comes back.
pub(crate) fn tell_agent(
    owner: &Owner,
    pod: Option<&PodName>,
    addresses: Vec<IpAddr>,
    network: &Network,
) {
    let Some(agent) = &network.agent_socket else {
        return;
    };
    let (namespace, name) = pod.map_or_else(Default::default, |pod| {
        (pod.namespace.clone(), pod.name.clone())
    });
    let detachment = Detachment {
        container_id: owner.container.clone(),
        ifname: owner.ifname.clone(),
        namespace,
        name,
        addresses,
    };
    if let Err(error) = AgentClient::new(agent, DETACH_WAIT).detach(&detachment) {
        eprintln!("podway-cni: {error}");
    }
}
