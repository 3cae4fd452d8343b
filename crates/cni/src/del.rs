//! DEL: what ADD made is gone, whatever was left of it.

use std::net::IpAddr;
use std::time::Duration;

use podway_kernel::route::Rtnetlink;

use crate::agent_protocol::{AgentClient, Detachment};
use crate::config::Network;
use crate::environment::{PodName, Target};
use crate::error::Error;
use crate::owner::Owner;
use crate::teardown::tear_down;

/// How long the agent is listened to: nothing depends on its answer.
const DETACH_WAIT: Duration = Duration::from_secs(2);

/// Takes the interface away and tells the agent.
pub(crate) fn del(target: &Target, network: &Network) -> Result<(), Error> {
    let addresses = tear_down(&mut Rtnetlink::open()?, &target.owner, network)?;
    tell_agent(&target.owner, target.args.pod.as_ref(), addresses, network);
    Ok(())
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
