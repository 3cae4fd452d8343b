//! Many connections from one process: a matrix of hundreds of them is tried in
//! the time of its slowest.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use podway_model::Protocol;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Stdout};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::Error;
use crate::toolbox::connect::connect;
use crate::toolbox::{parse_duration, parse_protocol};

/// One line of standard input: `PROTOCOL HOST:PORT [TIMEOUT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attempt {
    protocol: Protocol,
    target: String,
    limit: Duration,
}

impl Attempt {
    fn parse(line: &str, limit: Duration) -> Result<Self, String> {
        let words: Vec<_> = line.split_whitespace().collect();
        let (protocol, target, limit) = match words[..] {
            [protocol, target] => (protocol, target, limit),
            [protocol, target, limit] => (protocol, target, parse_duration(limit)?),
            _ => return Err("write PROTOCOL HOST:PORT [TIMEOUT]".to_owned()),
        };
        Ok(Self {
            protocol: parse_protocol(protocol)?,
            target: target.to_owned(),
            limit,
        })
    }
}

/// Tries what each line of standard input says as soon as it is read, and
/// answers `PROTOCOL HOST:PORT OUTCOME` as soon as that is known; ends once
/// standard input has and everything is answered.
pub(super) async fn run(limit: Duration) -> Result<ExitCode, Error> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let output = Arc::new(Mutex::new(tokio::io::stdout()));
    let mut attempts = JoinSet::new();
    let mut code = ExitCode::SUCCESS;
    while let Some(line) = lines.next_line().await.map_err(Error::io("read a line"))? {
        match Attempt::parse(&line, limit) {
            Ok(attempt) => {
                attempts.spawn(answer(attempt, Arc::clone(&output)));
            }
            Err(reason) => {
                eprintln!("{line:?}: {reason}");
                code = ExitCode::from(2);
            }
        }
        while attempts.try_join_next().is_some() {}
    }
    while attempts.join_next().await.is_some() {}
    Ok(code)
}

async fn answer(attempt: Attempt, output: Arc<Mutex<Stdout>>) {
    let Attempt {
        protocol,
        target,
        limit,
    } = attempt;
    let (outcome, _) = connect(&target, protocol, limit).await;
    let line = format!("{protocol} {target} {outcome}\n");
    let mut output = output.lock().await;
    // Whoever asked may be gone; then nobody misses the answer.
    let _ = output.write_all(line.as_bytes()).await;
    let _ = output.flush().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_protocol_a_target_and_perhaps_a_limit() {
        let limit = Duration::from_secs(2);
        let attempt = |protocol, milliseconds| Attempt {
            protocol,
            target: "[fd00::1]:80".to_owned(),
            limit: Duration::from_millis(milliseconds),
        };
        for (line, expected) in [
            ("tcp [fd00::1]:80", attempt(Protocol::Tcp, 2000)),
            ("  udp  [fd00::1]:80 500ms", attempt(Protocol::Udp, 500)),
            ("SCTP [fd00::1]:80 1s", attempt(Protocol::Sctp, 1000)),
        ] {
            assert_eq!(Attempt::parse(line, limit), Ok(expected), "{line:?}");
        }
        for line in ["", "tcp", "icmp a:1", "tcp a:1 soon", "tcp a:1 1s 1s"] {
            assert!(Attempt::parse(line, limit).is_err(), "{line:?}");
        }
    }
}
