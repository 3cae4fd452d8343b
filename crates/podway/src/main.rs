//! Podway: the whole network of a Kubernetes node in one binary.

#![forbid(unsafe_code)]

mod agent;
mod apiserver;
mod bench;
mod cli;
mod cluster;
mod controller;
mod explain;
mod install;
mod kube_proxy;
mod lab;
mod status;
mod switch;
mod terminal;
mod tour;

use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser};

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.command.only_prints() {
        podway_kernel::terminal::end_with_the_pipe();
    }
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            terminal::report(&error);
            ExitCode::from(2)
        }
    }
}

/// Exit codes: 0 done, 1 a check failed or the answer is no, 2 wrong usage,
/// bad input or a failure.
fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Lab(command) => lab::run(command),
        Command::Agent { config } => agent::run(&config),
        Command::KubeProxy(args) => kube_proxy::run(*args),
        Command::Controller(args) => controller::run(args),
        Command::Apiserver(args) => apiserver::run(args),
        Command::Status { cluster, output } => status::run(&cluster, output),
        Command::Explain(command) => explain::run(command),
        Command::Bench(args) => bench::run(&args),
        Command::Install(args) => install::run(args),
        Command::Switch(args) => switch::run(&args),
        Command::Cleanup { kube_proxy: true } => agent::remove_kube_proxy(),
        Command::Cleanup { kube_proxy: false } => agent::cleanup(),
        Command::Toolbox(command) => Ok(command.run()?),
        Command::Man { folder } => {
            clap_mangen::generate_to(Cli::command(), &folder)
                .with_context(|| format!("cannot write manual pages to {}", folder.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "podway", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}
