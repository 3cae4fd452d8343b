//! Many connections from inside a pod: one `podway toolbox batch` for each pod,
//! which stays for as long as the test needs it.

use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use podway_lab::LabName;
use podway_model::Protocol;

/// One connection to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol, self.address)
    }
}

/// A process in a pod that tries connections.
pub(crate) struct Prober {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Prober {
    /// Starts it in a running pod.
    pub(crate) fn start(lab: &LabName, namespace: &str, pod: &str) -> Self {
        let words = ["podway", "toolbox", "batch"].map(Into::into);
        let mut command = podway_lab::exec(lab, namespace, pod, None, &words)
            .unwrap_or_else(|error| panic!("enter {namespace}/{pod}: {error:?}"));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("podway runs");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self {
            input: child.stdin.take(),
            child,
            output,
        }
    }

    /// Tries all of these at once, each for so long, and returns the word for
    /// each: OK, TIMEOUT, REFUSED or OTHER.
    pub(crate) fn ask(&mut self, targets: &[(Target, Duration)]) -> HashMap<Target, String> {
        let lines: String = targets
            .iter()
            .map(|(target, limit)| format!("{target} {}ms\n", limit.as_millis()))
            .collect();
        let input = self.input.as_mut().expect("open until it is dropped");
        input.write_all(lines.as_bytes()).expect("the prober reads");
        let mut outcomes = HashMap::new();
        for _ in targets {
            let mut line = String::new();
            self.output.read_line(&mut line).expect("the prober writes");
            let words: Vec<_> = line.split_whitespace().collect();
            let [protocol, address, outcome] = words[..] else {
                panic!("the prober answered {line:?}");
            };
            let target = Target {
                protocol: Protocol::parse(protocol).expect("a protocol"),
                address: address.parse().expect("an address"),
            };
            outcomes.insert(target, outcome.to_owned());
        }
        outcomes
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.input.take());
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
