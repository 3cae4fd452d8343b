//! STATUS: whether the next ADD could succeed.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::agent_protocol::AgentClient;
use crate::config::Config;
use crate::error::Error;
use crate::ipam::Ipam;

/// How long the agent may take for an answer.
const ANSWER: Duration = Duration::from_secs(2);
/// How often an agent that is not ready is asked again.
const RETRY: Duration = Duration::from_millis(100);

pub(crate) fn status(config: &Config) -> Result<(), Error> {
    let room = Ipam::open(&config.network).and_then(|ipam| ipam.check_room(&config.request()));
    room.map_err(|error| not_ready(&error))?;
    match &config.network.agent_socket {
        // A pod would start without its policies: it would start.
        Some(socket) if !config.fail_open => await_agent(socket, config.policy_wait),
        _ => Ok(()),
    }
}

/// ADD would wait for an agent that is just starting, so this does too: a
/// runtime that is told that the network is not ready makes the whole node
/// unready, and every pod on it.
fn await_agent(socket: &Path, limit: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + limit;
    loop {
        let failed = match AgentClient::new(socket, ANSWER).status() {
            Ok(agent) if agent.ready => return Ok(()),
            Ok(agent) => Error::NotReady {
                reason: agent.message,
            },
            Err(error) => not_ready(&error),
        };
        if Instant::now() + RETRY > deadline {
            return Err(failed);
        }
        thread::sleep(RETRY);
    }
}

fn not_ready(error: &dyn std::error::Error) -> Error {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    Error::NotReady { reason }
}
