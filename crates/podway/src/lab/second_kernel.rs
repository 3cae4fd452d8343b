//! A lab in an emulated machine, for modes that this kernel does not have.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use podway_dataplane::service;
use podway_kernel::netns::NetNs;

/// Says what the kernel lacks for a proxy mode, and where it can be tried, before
/// anything is made.
pub(super) fn require(mode: &str) -> anyhow::Result<()> {
    let Some(spec) = service::backend(mode) else {
        return Ok(());
    };
    // Without root there is no namespace to try it in, which `up` says better.
    let Ok(namespace) = NetNs::anonymous() else {
        return Ok(());
    };
    let probed = namespace.run(|| (spec.probe)())?;
    probed.map_err(anyhow::Error::from).with_context(|| {
        format!(
            "this machine's kernel cannot run a lab in mode {mode}; a second one can: \
             add --second-kernel (docs/second-kernel.md)"
        )
    })
}

/// Becomes the machine: the same command there, without the flag, then a shell.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    let program = super::own_program()?;
    let script = script()?;
    let arguments = std::env::args_os().skip(1);
    let mut command = Command::new(script);
    command
        .arg("--shell")
        .arg(program)
        .args(arguments.filter(|argument| argument != "--second-kernel"));
    super::become_(command)
}

/// `vm/run` of the source tree that one stands in, or that this program was built
/// from.
fn script() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    let built = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    for folder in here.ancestors().map(PathBuf::from).chain([built]) {
        let script = folder.join("vm/run");
        if script.is_file() {
            return Ok(script);
        }
    }
    bail!("--second-kernel needs vm/run of Podway's source tree: run it from there")
}
