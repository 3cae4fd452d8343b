use std::time::Duration;

use podway_model::Protocol;

/// How an attempt to connect ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Ok,
    /// Nothing came back in time.
    Timeout,
    /// It was refused: a TCP reset or an ICMP error that says so.
    Refused,
    /// Something else: no route, an unknown host, no such protocol here.
    Other,
}

pub(super) fn run(target: &str, protocol: Protocol, timeout: Duration) -> u8 {
    let _ = (target, protocol, timeout);
    1
}
