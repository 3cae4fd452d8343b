//! `podway agent` and `podway cleanup`.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use podway_agent::Source;
use podway_agent::config::Configuration;
use podway_dataplane::service::Removal;
use tracing_subscriber::EnvFilter;

pub(crate) fn run(config: &Path) -> anyhow::Result<ExitCode> {
    // Before the log: what is wrong with the file is all that there is to say.
    Configuration::read(config)?;
    log_to_stderr();
    podway_agent::run(Source::agent(config))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn cleanup() -> anyhow::Result<ExitCode> {
    Ok(told(&podway_agent::cleanup()?))
}

/// Of Services alone.
pub(crate) fn cleanup_proxy() -> anyhow::Result<ExitCode> {
    Ok(told(&podway_agent::cleanup_proxy()?))
}

fn told(removed: &[String]) -> ExitCode {
    if removed.is_empty() {
        println!("nothing of Podway is in this node's kernel");
    }
    for object in removed {
        println!("{object} removed");
    }
    ExitCode::SUCCESS
}

/// Exit code 1 where something of it has to stay.
pub(crate) fn remove_kube_proxy() -> anyhow::Result<ExitCode> {
    let done = podway_agent::remove_kube_proxy()?;
    if done.is_empty() {
        println!("nothing of kube-proxy is in this node's kernel");
    }
    let mut code = ExitCode::SUCCESS;
    for removal in done {
        match removal {
            Removal::Removed(object) => println!("{object} removed"),
            Removal::Kept(reason) => {
                println!("kept: {reason}");
                code = ExitCode::from(1);
            }
        }
    }
    Ok(code)
}

/// Logs of a daemon: to standard error, `info` unless `PODWAY_LOG` says
/// otherwise (`PODWAY_LOG=podway_kernel=trace`).
pub(crate) fn log_to_stderr() {
    log_at(0);
}

/// The same; from verbosity 4 on, everything that is done.
pub(crate) fn log_at(verbosity: u8) {
    let usual = match verbosity {
        0..4 => "info,kube_client=off",
        4.. => "debug,kube_client=off,hyper_util=info,tower=info",
    };
    // kube logs an error for each refused connection; the watch says it once.
    let filter = EnvFilter::try_from_env("PODWAY_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
