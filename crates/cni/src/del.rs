//! DEL: what ADD made is gone, whatever was left of it.

use std::time::Duration;

use podway_kernel::route::Rtnetlink;

use crate::agent_protocol::{AgentClient, Detachment};
use crate::config::Config;
use crate::environment::Target;
use crate::error::Error;
use crate::interface;
use crate::ipam::{Ipam, Owner};

/// How long the agent is listened to: DEL does not depend on its answer.
const DETACH_WAIT: Duration = Duration::from_secs(2);

/// Removes the interface and then gives its addresses back: nobody else may
/// get them while the old interface still answers for them.
pub(crate) fn del(target: &Target, config: &Config) -> Result<(), Error> {
    let mut socket = Rtnetlink::open()?;
    interface::remove(&mut socket, target)?;
    let addresses = Ipam::open(&config.data_dir, &config.network)?.release(&Owner::of(target))?;
    let Some(agent) = &config.agent_socket else {
        return Ok(());
    };
    let (namespace, name) = target.pod.as_ref().map_or_else(Default::default, |pod| {
        (pod.namespace.clone(), pod.name.clone())
    });
    let detachment = Detachment {
        container_id: target.container.clone(),
        ifname: target.ifname.clone(),
        namespace,
        name,
        addresses,
    };
    // An agent that is away finds the pod gone when it comes back.
    if let Err(error) = AgentClient::new(agent, DETACH_WAIT).detach(&detachment) {
        eprintln!("podway-cni: {error}");
    }
    Ok(())
}
