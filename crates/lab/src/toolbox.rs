//! `podway toolbox`: what runs in pods whose image is `podway/toolbox` or one
//! of the names that agnhost is known by.

mod answer;
mod batch;
mod connect;
mod datagrams;
mod fetch;
mod pause;
mod ports;
mod sctp;
mod serve;

use std::process::ExitCode;
use std::time::Duration;

use podway_model::Protocol;

use crate::Error;
use crate::runtime::block_on;

pub use connect::Outcome;
pub use ports::Ports;

/// The verbs of `podway toolbox`.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Serve the given ports; each answer is one line: the pod's host name and
    /// the client's address as seen here
    Serve(Ports),
    /// agnhost's spelling of a server: one HTTP port, and UDP and SCTP ones
    Netexec {
        /// Port of the HTTP server
        #[arg(long, default_value_t = 8080)]
        http_port: u16,
        /// Port of the UDP server
        #[arg(long, default_value_t = 8081)]
        udp_port: u16,
        /// Port of the SCTP server; 0 for none
        #[arg(long, default_value_t = 0)]
        sctp_port: u16,
    },
    /// agnhost's spelling of many servers: a TCP (HTTP) port for each variable
    /// SERVE_PORT_*, an SCTP port for each SERVE_SCTP_PORT_*; the port is the rest of the name
    Porter,
    /// agnhost's spelling of a server that answers with its host name only
    ServeHostname {
        /// The port
        #[arg(long, default_value_t = 9376)]
        port: u16,
        /// Serve HTTP (the default when no protocol is named)
        #[arg(long)]
        http: bool,
        /// Serve plain TCP
        #[arg(long)]
        tcp: bool,
        /// Serve UDP
        #[arg(long)]
        udp: bool,
    },
    /// Try one connection: prints OK, TIMEOUT, REFUSED or OTHER; exit code 0 for OK, else 1
    Connect {
        /// HOST:PORT; an IPv6 address in brackets
        target: String,
        /// tcp, udp or sctp
        #[arg(long, default_value = "tcp", value_parser = parse_protocol)]
        protocol: Protocol,
        /// How long to try: 500ms, 2s
        #[arg(long, default_value = "2s", value_parser = parse_duration)]
        timeout: Duration,
    },
    /// Try many connections at once: a line `PROTOCOL HOST:PORT [TIMEOUT]` on standard input for
    /// each, and a line `PROTOCOL HOST:PORT OUTCOME` on standard output as each one ends
    Batch {
        /// How long to try where a line does not say: 500ms, 2s
        #[arg(long, default_value = "2s", value_parser = parse_duration)]
        timeout: Duration,
    },
    /// Ask an HTTP server for / and print its answer, or TIMEOUT, REFUSED or OTHER
    Fetch {
        /// HOST:PORT; an IPv6 address in brackets
        target: String,
        /// How long to try: 500ms, 2s
        #[arg(long, default_value = "2s", value_parser = parse_duration)]
        timeout: Duration,
    },
    /// Own the namespaces of a sandbox until SIGTERM
    Pause,
}

impl Command {
    /// Runs the verb to its end and returns the process's exit code.
    ///
    /// # Errors
    /// When a port cannot be listened on or a signal not be received.
    pub fn run(self) -> Result<ExitCode, Error> {
        let ports = match self {
            Self::Pause => return pause::run(),
            Self::Connect {
                target,
                protocol,
                timeout,
            } => return block_on(try_connection(&target, protocol, timeout)),
            Self::Batch { timeout } => return block_on(batch::run(timeout)),
            Self::Fetch { target, timeout } => return block_on(fetch::run(target, timeout)),
            Self::Serve(ports) => ports,
            Self::Netexec {
                http_port,
                udp_port,
                sctp_port,
            } => Ports::netexec(http_port, udp_port, sctp_port),
            Self::Porter => Ports::porter(std::env::vars())?,
            Self::ServeHostname {
                port,
                http,
                tcp,
                udp,
            } => Ports::hostname(port, http, tcp, udp),
        };
        block_on(serve::serve(&ports))
    }
}

async fn try_connection(
    target: &str,
    protocol: Protocol,
    timeout: Duration,
) -> Result<ExitCode, Error> {
    let (outcome, error) = connect::connect(target, protocol, timeout).await;
    println!("{outcome}");
    if let Some(error) = error {
        eprintln!("{error}");
    }
    Ok(match outcome {
        Outcome::Ok => ExitCode::SUCCESS,
        Outcome::Timeout | Outcome::Refused | Outcome::Other => ExitCode::FAILURE,
    })
}

fn parse_protocol(text: &str) -> Result<Protocol, String> {
    Protocol::parse(text).ok_or_else(|| format!("{text:?} is no protocol: use tcp, udp or sctp"))
}

/// Reads the durations that agnhost's flags take: `250ms`, `2s`, `1.5s`, `1m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write 500ms, 2s or 1m");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let seconds = match &text[digits.len()..] {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, milliseconds) in [("250ms", 250), ("2s", 2000), ("1.5s", 1500), ("1m", 60_000)] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["", "2", "s", "-1s", "2h3m", "NaNs", "1e999s"] {
            assert!(parse_duration(text).is_err(), "{text:?} was accepted");
        }
    }
}
