use std::io;

use crate::netns;

/// Why rules could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is not there.
    #[error("iptables: there is no program {program}; install the package {PACKAGE}")]
    Missing {
        /// The program.
        program: String,
    },
    /// A program could not be run.
    #[error("iptables: {program} cannot be run")]
    Run {
        /// The program.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The network namespace could not be entered.
    #[error("iptables: the node's network namespace cannot be entered")]
    Namespace(#[from] netns::Error),
    /// A program failed.
    #[error("iptables: {program} failed: {message}")]
    Failed {
        /// The program.
        program: String,
        /// What it said.
        message: String,
    },
    /// A line was refused.
    #[error("iptables: {program} refused `{line}`: {message}")]
    Refused {
        /// The program.
        program: String,
        /// The line at fault.
        line: String,
        /// What the program said.
        message: String,
    },
}

/// What the programs are in, on Debian, Fedora, Alpine and Arch alike.
const PACKAGE: &str = "iptables";
