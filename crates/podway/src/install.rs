//! `podway install`: the CNI plugin onto this node, and away again.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use ipnet::IpNet;
use podway_cni::{Changes, Conflist, Installation, PROGRAM, attached};

#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// Take plugin and configuration away again and put back what others had
    #[arg(long, conflicts_with_all = ["plugin", "keep_others", "pod_cidr", "mtu", "agent_socket", "data_dir"])]
    uninstall: bool,
    /// With --uninstall: although pods of this node still need the plugin
    #[arg(long)]
    force: bool,
    /// Where the container runtime looks for plugins
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    bin_dir: PathBuf,
    /// Where it looks for configurations
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    conf_dir: PathBuf,
    /// The plugin; podway-cni beside this program by default
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// Leave others' configurations in force (Multus, which calls Podway itself)
    #[arg(long)]
    keep_others: bool,
    /// Write the configuration too, for these prefixes of pods, one of each
    /// family; by default the agent writes it when it knows them
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pod_cidr: Vec<IpNet>,
    /// The MTU of the pods' interfaces
    #[arg(long, default_value_t = 1500, requires = "pod_cidr")]
    mtu: u32,
    /// The agent's socket; without it nobody is asked about policies
    #[arg(long, value_name = "FILE", requires = "pod_cidr")]
    agent_socket: Option<PathBuf>,
    /// Where the plugin keeps the addresses that it gave
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/run/podway/cni",
        requires = "pod_cidr"
    )]
    data_dir: PathBuf,
}

pub(crate) fn run(args: InstallArgs) -> anyhow::Result<ExitCode> {
    let installation = Installation {
        program_dir: args.bin_dir.clone(),
        conf_dir: args.conf_dir.clone(),
        keep_others: args.keep_others,
    };
    if args.uninstall {
        return uninstall(&installation, args.force);
    }
    // What clap forgets of `requires` as soon as --plugin is there, too.
    ensure!(!args.force, "--force says nothing without --uninstall");
    let plugin = match &args.plugin {
        Some(plugin) => plugin.clone(),
        None => beside_this_program()?,
    };
    let conflist = conflist(args)?;
    tell(&installation.install(&plugin, conflist.as_ref())?);
    if conflist.is_none() {
        println!("the agent writes the configuration once it knows the node's podCIDRs");
    }
    Ok(ExitCode::SUCCESS)
}

fn uninstall(installation: &Installation, force: bool) -> anyhow::Result<ExitCode> {
    let pods = attached().context("cannot list the pods' interfaces")?;
    if pods > 0 && !force {
        eprintln!(
            "{pods} interfaces of pods are Podway's, and only its plugin can take them away: \
             delete the pods first (kubectl drain NODE), or say --force"
        );
        return Ok(ExitCode::from(1));
    }
    let changes = installation.uninstall()?;
    if changes == Changes::default() {
        let Installation {
            program_dir,
            conf_dir,
            ..
        } = installation;
        let (programs, configurations) = (program_dir.display(), conf_dir.display());
        println!("nothing of Podway is in {programs} and {configurations}");
    }
    tell(&changes);
    Ok(ExitCode::SUCCESS)
}

fn tell(changes: &Changes) {
    for (files, what) in [
        (&changes.backed_up, "is the backup of what was in force"),
        (&changes.written, "written"),
        (&changes.restored, "restored"),
        (&changes.removed, "removed"),
    ] {
        for file in files {
            println!("{} {what}", file.display());
        }
    }
}

fn beside_this_program() -> anyhow::Result<PathBuf> {
    let program = env::current_exe().context("cannot tell where this program is")?;
    let plugin = program.with_file_name(PROGRAM);
    ensure!(
        plugin.exists(),
        "{} does not exist: say where the plugin is with --plugin FILE",
        plugin.display()
    );
    Ok(plugin)
}

fn conflist(args: InstallArgs) -> anyhow::Result<Option<Conflist>> {
    if args.pod_cidr.is_empty() {
        return Ok(None);
    }
    let conflist = Conflist {
        name: "podway".into(),
        mtu: args.mtu,
        pod_prefixes: args.pod_cidr,
        data_dir: args.data_dir,
        agent_socket: args.agent_socket,
        policy_wait_seconds: 10,
        fail_open: false,
        reserved: Vec::new(),
    };
    conflist
        .check()
        .context("the plugin would refuse this configuration")?;
    Ok(Some(conflist))
}
