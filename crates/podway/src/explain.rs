//! `podway explain`: answers from the running cluster or from files.

mod programmed;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use podway_model::{ClusterState, Object, ObjectName, Protocol};
use podway_plan::explain::{Explainer, Question};
use podway_watch::manifest;

use crate::cli::{
    ExplainCommand, ExplainConnectArgs, ExplainObjectArgs, ExplainPolicyArgs, Output, StateArgs,
};
use crate::{cluster, status};
use programmed::programmed;

pub(crate) fn run(command: ExplainCommand) -> anyhow::Result<ExitCode> {
    match command {
        ExplainCommand::Connect(args) => match &args.flows {
            Some(path) => flows(path, &args.source),
            None => connect(args),
        },
        ExplainCommand::Service(args) => service(&args),
        ExplainCommand::Policy(args) => policy(&args),
        ExplainCommand::Pod(args) => object(&args, |explainer, name, _| Ok(explainer.pod(name)?)),
    }
}

/// The state to ask: files where some are named, else the cluster.
fn state(source: &StateArgs) -> anyhow::Result<ClusterState> {
    if source.state.is_empty() {
        return cluster::block_on(cluster::state(&source.cluster));
    }
    Ok(manifest::load_state(&manifest::read(&source.state)?))
}

fn connect(args: ExplainConnectArgs) -> anyhow::Result<ExitCode> {
    let protocol = Protocol::parse(&args.protocol)
        .with_context(|| format!("--protocol {}: use tcp, udp or sctp", args.protocol))?;
    let question = Question {
        from: args.from.context("--from is missing")?,
        to: args.to.context("--to is missing")?,
        port: args.port.context("--port is missing")?,
        protocol,
        node: args.node,
    };
    let answer = Explainer::new(state(&args.source)?).connect(&question)?;
    match args.output {
        Output::Json => println!("{}", serde_json::to_string(&answer)?),
        Output::Text => print!("{answer}"),
    }
    Ok(ExitCode::from(u8::from(!answer.verdict.is_yes())))
}

/// Answers each line in order. A line that cannot be answered gets an object
/// with its error, so that lines stay in step, and the exit code says so.
fn flows(path: &Path, source: &StateArgs) -> anyhow::Result<ExitCode> {
    let questions = open(path)?;
    let mut explainer = Explainer::new(state(source)?);
    let mut out = std::io::stdout().lock();
    let mut unanswered = 0usize;
    for (index, line) in questions.lines().enumerate() {
        let line = line.with_context(|| format!("{}: cannot be read", path.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        match answer(&mut explainer, &line) {
            Ok(answer) => writeln!(out, "{answer}")?,
            Err(error) => {
                unanswered += 1;
                let error = format!("{error:#}");
                eprintln!("{}:{}:1: {error}", path.display(), index + 1);
                writeln!(out, "{}", serde_json::json!({ "error": error }))?;
            }
        }
    }
    Ok(ExitCode::from(if unanswered == 0 { 0 } else { 2 }))
}

fn answer(explainer: &mut Explainer, line: &str) -> anyhow::Result<String> {
    let question: Question = serde_json::from_str(line)?;
    Ok(serde_json::to_string(&explainer.connect(&question)?)?)
}

fn open(path: &Path) -> anyhow::Result<BufReader<Box<dyn Read>>> {
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let file = std::fs::File::open(path);
        Box::new(file.with_context(|| format!("{}: cannot be opened", path.display()))?)
    };
    Ok(BufReader::new(source))
}

/// What a node makes of a Service; of a running cluster also which nodes have
/// it in force.
fn service(args: &ExplainObjectArgs) -> anyhow::Result<ExitCode> {
    if !args.source.state.is_empty() {
        return object(args, |explainer, name, node| {
            Ok(explainer.service(name, node)?)
        });
    }
    let (state, statuses) = cluster::block_on(async {
        let state = cluster::state(&args.source.cluster).await?;
        Ok((state, status::statuses(&args.source.cluster).await?))
    })?;
    let mut explainer = Explainer::new(state.clone());
    let view = explainer.service(&args.object, args.node.as_deref())?;
    let name = args
        .object
        .split_once('/')
        .unwrap_or(("default", &args.object));
    let nodes = programmed(&state, &ObjectName::new(name.0, name.1), &statuses);
    match args.output {
        Output::Json => {
            let mut view = serde_json::to_value(&view)?;
            view["nodes"] = serde_json::to_value(&nodes)?;
            println!("{}", serde_json::to_string_pretty(&view)?);
        }
        Output::Text => {
            print!("{view}");
            println!("nodes:");
            nodes.iter().for_each(|node| println!("{node}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A policy that there is, or the effect of those in files.
fn policy(args: &ExplainPolicyArgs) -> anyhow::Result<ExitCode> {
    if let Some(name) = &args.policy {
        let view = Explainer::new(state(&args.source)?).policy(name)?;
        return show(&view, args.output);
    }
    let new = manifest::load_state(&manifest::read(&args.file)?);
    let network = new.policies().cloned().map(Object::NetworkPolicy);
    let cluster = new.cluster_policies().cloned();
    let policies: Vec<Object> = network
        .chain(cluster.map(Object::ClusterNetworkPolicy))
        .collect();
    anyhow::ensure!(
        !policies.is_empty(),
        "no NetworkPolicy or ClusterNetworkPolicy in {}",
        args.file
            .iter()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
            .join(", "),
    );
    let effect = Explainer::new(state(&args.source)?).effect_of_applying(policies);
    show(&effect, args.output)
}

fn show<T: serde::Serialize + std::fmt::Display>(
    view: &T,
    output: Output,
) -> anyhow::Result<ExitCode> {
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(view)?),
        Output::Text => print!("{view}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn object<T: serde::Serialize + std::fmt::Display>(
    args: &ExplainObjectArgs,
    ask: impl FnOnce(&mut Explainer, &str, Option<&str>) -> anyhow::Result<T>,
) -> anyhow::Result<ExitCode> {
    let mut explainer = Explainer::new(state(&args.source)?);
    let view = ask(&mut explainer, &args.object, args.node.as_deref())?;
    show(&view, args.output)
}
