//! `podway lab`.

mod second_kernel;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::Context;
use podway_lab::{LabName, NodeStatus, Outcome, ProcessStatus, Settings, Step};
use podway_model::IpFamily;

use crate::cli::{IpFamilyName, LabCommand, LabUpArgs, Output};
use crate::terminal::{Palette, columns};
use crate::tour;

pub(crate) fn run(command: LabCommand) -> anyhow::Result<ExitCode> {
    match command {
        LabCommand::Up(args) if args.second_kernel => second_kernel::run(),
        LabCommand::Up(args) => {
            second_kernel::require(&args.modes.proxy_mode)?;
            up(&settings(args)?)
        }
        LabCommand::Down(lab) => down(&lab.name),
        LabCommand::Status { lab, output } => status(&lab.name, output),
        LabCommand::Env(lab) => env(&lab.name),
        LabCommand::Exec {
            lab,
            namespace,
            pod,
            container,
            command,
        } => {
            let container = container.as_deref();
            become_(podway_lab::exec(
                &lab.name, &namespace, &pod, container, &command,
            )?)
        }
        LabCommand::Client { lab, command } => become_(podway_lab::client(&lab.name, &command)?),
        LabCommand::Node { lab, node, command } => {
            become_(podway_lab::node(&lab.name, &node, &command)?)
        }
        LabCommand::KillNode { lab, node } => {
            podway_lab::kill_node(&lab.name, &node, &mut progress())?;
            Ok(ExitCode::SUCCESS)
        }
        LabCommand::StartNode { lab, node } => {
            podway_lab::start_node(&lab.name, &node, &mut progress())?;
            Ok(ExitCode::SUCCESS)
        }
        LabCommand::Tour { name, modes } => tour::run(&Settings {
            proxy_mode: modes.proxy_mode,
            overlay: modes.overlay,
            ..Settings::new(name, own_program()?)
        }),
        LabCommand::ControlPlane(args) => {
            crate::agent::log_to_stderr();
            args.run()?;
            Ok(ExitCode::SUCCESS)
        }
        LabCommand::Kubelet(args) => {
            crate::agent::log_to_stderr();
            args.run()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn settings(args: LabUpArgs) -> anyhow::Result<Settings> {
    let families: Vec<IpFamily> = args.ip_families.into_iter().map(family).collect();
    Ok(Settings {
        nodes: usize::from(args.nodes),
        segments: usize::from(args.segments),
        direct_routing: args.direct_routing,
        proxy_mode: args.modes.proxy_mode,
        overlay: args.modes.overlay,
        ip_families: families,
        apply: args.apply,
        ..Settings::new(args.lab.name, own_program()?)
    })
}

const fn family(name: IpFamilyName) -> IpFamily {
    match name {
        IpFamilyName::Ipv4 => IpFamily::V4,
        IpFamilyName::Ipv6 => IpFamily::V6,
    }
}

/// The binary that runs now: the lab's processes are the same one.
pub(crate) fn own_program() -> anyhow::Result<std::path::PathBuf> {
    std::env::current_exe().context("cannot find the path of this program")
}

fn up(settings: &Settings) -> anyhow::Result<ExitCode> {
    let status = podway_lab::up(settings, &mut progress())?;
    let palette = Palette::stdout();
    let name = &status.name;
    let nodes: Vec<&str> = status.nodes.iter().map(|node| node.name.as_str()).collect();
    println!(
        "{} {name} is up: {}",
        palette.green("lab"),
        nodes.join(", ")
    );
    println!("  kubectl:  eval \"$(podway lab env --name {name})\" && kubectl get nodes");
    println!(
        "  look:     podway status --kubeconfig {}",
        status.kubeconfig.display()
    );
    println!("  stop:     podway lab down --name {name}");
    Ok(ExitCode::SUCCESS)
}

fn down(name: &LabName) -> anyhow::Result<ExitCode> {
    let removed = podway_lab::down(name, &mut progress())?;
    if removed == 0 {
        println!("there is no lab {name}: nothing to remove");
    } else {
        println!("lab {name} is down: {removed} things removed");
    }
    Ok(ExitCode::SUCCESS)
}

/// One line a step, only to a person: in a script the result is what counts.
pub(crate) fn progress() -> impl FnMut(Step) {
    let palette = Palette::stderr();
    let shown = std::io::stderr().is_terminal();
    move |step: Step| {
        if shown && step.outcome != Outcome::Kept {
            eprintln!("{}", palette.dim(&format!("  {step}")));
        }
    }
}

fn status(name: &LabName, output: Output) -> anyhow::Result<ExitCode> {
    let status = podway_lab::status(name)?;
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("lab {} in {}", status.name, status.directory.display());
    println!(
        "API server {}, control plane {}",
        status.server.as_deref().unwrap_or("not started yet"),
        process(status.control_plane)
    );
    let header = [
        "NODE",
        "READY",
        "AGENT",
        "KUBELET",
        "SANDBOXES",
        "ADDRESSES",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(status.nodes.iter().map(row));
    print!("{}", columns(&rows));
    let whole = status.nodes.iter().all(|node| node.ready == Some(true));
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn row(node: &NodeStatus) -> Vec<String> {
    let ready = match node.ready {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
    vec![
        node.name.clone(),
        ready.to_owned(),
        process(node.agent),
        process(node.kubelet),
        node.sandboxes.to_string(),
        addresses.join(","),
    ]
}

fn process(status: ProcessStatus) -> String {
    match status {
        ProcessStatus::Running(pid) => format!("pid {pid}"),
        ProcessStatus::Stopped => "stopped".to_owned(),
    }
}

fn env(name: &LabName) -> anyhow::Result<ExitCode> {
    println!(
        "export KUBECONFIG={}",
        podway_lab::env(name)?.kubeconfig.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// Turns this process into the command, so that signals, the terminal and the
/// exit code are the command's own.
pub(super) fn become_(mut command: std::process::Command) -> anyhow::Result<ExitCode> {
    let program: OsString = command.get_program().to_owned();
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
