//! `podway kube-proxy`: a drop-in for kube-proxy.

mod flags;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use podway_agent::kube_proxy::KubeProxyConfiguration;
use podway_agent::{Role, Source};

use crate::agent;
pub(crate) use flags::KubeProxyArgs;

pub(crate) fn run(args: KubeProxyArgs) -> anyhow::Result<ExitCode> {
    agent::log_at(args.verbosity());
    for (flag, why) in args.without_effect() {
        tracing::warn!(flag, why, "flag without effect");
    }
    if args.cleanup {
        return agent::cleanup_proxy();
    }
    if let Some(file) = &args.write_config_to {
        return write(&args, file);
    }
    if let Some(file) = &args.config {
        let ignored = args.ignored_with_a_file();
        if !ignored.is_empty() {
            let (flags, file) = (ignored.join(", "), file.display());
            tracing::warn!(flags, %file, "flags ignored: the file has the word");
        }
    }
    if args.init_only {
        let loaded = load(&args).map_err(anyhow::Error::msg)?;
        podway_agent::set_sysctls(&loaded.config);
        return Ok(ExitCode::SUCCESS);
    }
    let config = configuration(&args).map_err(anyhow::Error::msg)?;
    adjust_oom_score(config.oom_score_adj.unwrap_or(-999));
    let file = args.config.clone();
    let server = args.master.clone().filter(|server| !server.is_empty());
    podway_agent::run(Source {
        role: Role::Proxy,
        file,
        server,
        read: Box::new(move || load(&args)),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn load(args: &KubeProxyArgs) -> Result<podway_agent::Loaded, String> {
    configuration(args).map(|config| config.loaded())
}

/// The file's, or the flags'.
fn configuration(args: &KubeProxyArgs) -> Result<KubeProxyConfiguration, String> {
    if let Some(file) = &args.config {
        let mut config =
            KubeProxyConfiguration::read(file).map_err(|mistakes| mistakes.to_string())?;
        args.override_name(&mut config);
        return Ok(config);
    }
    let config = args.configuration();
    let mistakes: Vec<String> = config
        .mistakes()
        .into_iter()
        .map(|(field, reason)| format!("{}: {reason}", flags::of_field(field)))
        .collect();
    match mistakes.is_empty() {
        true => Ok(config),
        false => Err(mistakes.join("\n")),
    }
}

/// Writes what the flags mean as a file, every default included.
fn write(args: &KubeProxyArgs, file: &Path) -> anyhow::Result<ExitCode> {
    let config = configuration(args).map_err(anyhow::Error::msg)?;
    let text = config
        .to_yaml()
        .context("the configuration cannot be written")?;
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    tracing::info!(file = %file.display(), "configuration written");
    Ok(ExitCode::SUCCESS)
}

/// As kube-proxy asks: a node that is out of memory should lose other
/// processes first.
fn adjust_oom_score(score: i32) {
    let file = PathBuf::from("/proc/self/oom_score_adj");
    if let Err(error) = fs::write(&file, score.to_string()) {
        tracing::info!(%error, score, "the kernel's order of killing stays as it is");
    }
}
