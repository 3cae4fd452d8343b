//! What a container's process will be. Pure: a pod's specification in, a
//! program with its environment out.

mod environment;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};

use environment::environment;
pub(crate) use environment::{Sources, named};

/// The process of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerPlan {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) folder: PathBuf,
}

/// What the plan of a container is made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// The binary `podway`.
    pub(crate) program: &'a Path,
    /// Variables that every container of the pod has.
    pub(crate) environment: &'a BTreeMap<String, String>,
    /// What its variables may be taken from.
    pub(crate) sources: &'a Sources,
    /// The pod's addresses, and the node's.
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) host: &'a [IpAddr],
}

/// Names of the image whose entry point is `podway toolbox`, without registry,
/// tag and digest.
const TOOLBOX_IMAGES: [&str; 2] = ["podway/toolbox", "agnhost"];
/// The pause image of every registry.
const PAUSE_IMAGE: &str = "pause";
/// How manifests call the entry point of agnhost.
const TOOLBOX_COMMANDS: [&str; 2] = ["/agnhost", "agnhost"];

const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Plans a container.
///
/// # Errors
/// With a sentence for the container's status, when it asks for something that
/// the lab does not have.
pub(crate) fn plan(
    pod: &Pod,
    container: &Container,
    around: Surroundings<'_>,
) -> Result<ContainerPlan, String> {
    refuse_unknown(container)?;
    let environment = environment(pod, container, around)?;
    let mut line = command_line(container, around.program)?;
    for word in &mut line {
        *word = expand(word, &environment);
    }
    let mut words = line.into_iter();
    let program = words.next().ok_or("its command is empty")?;
    Ok(ContainerPlan {
        program: program.into(),
        arguments: words.collect(),
        environment,
        folder: container
            .working_dir
            .as_deref()
            .filter(|folder| !folder.is_empty())
            .unwrap_or("/")
            .into(),
    })
}

/// What the lab cannot do is refused: a container that started without it
/// would not be the container that was asked for.
fn refuse_unknown(container: &Container) -> Result<(), String> {
    if container.volume_mounts.iter().flatten().next().is_some() {
        return Err("volume mounts are not supported by the lab".to_owned());
    }
    Ok(())
}

fn command_line(container: &Container, toolbox: &Path) -> Result<Vec<String>, String> {
    let image = container.image.as_deref().unwrap_or_default();
    let name = image_name(image);
    let entry = || vec![toolbox.display().to_string(), "toolbox".to_owned()];
    let toolbox_image = TOOLBOX_IMAGES.contains(&name);
    let mut line = match container.command.as_deref().unwrap_or_default() {
        [first, rest @ ..] if toolbox_image && TOOLBOX_COMMANDS.contains(&first.as_str()) => {
            let mut line = entry();
            line.extend(rest.iter().cloned());
            line
        }
        [] if toolbox_image => entry(),
        [] if name == PAUSE_IMAGE => entry(),
        [] => {
            return Err(format!(
                "image {image:?} is not there: the lab has no images but podway/toolbox and agnhost; \
                 give the container a `command`, a program of this machine"
            ));
        }
        command => command.to_vec(),
    };
    line.extend(container.args.iter().flatten().cloned());
    if line.len() == 2 && line == entry() {
        line.push("pause".to_owned());
    }
    Ok(line)
}

/// An image's name as the lab compares it: agnhost and pause come from many
/// registries, so their last path segment is enough.
fn image_name(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    let last = image.rfind('/').map_or(0, |slash| slash + 1);
    let end = image[last..]
        .find(':')
        .map_or(image.len(), |colon| last + colon);
    match &image[last..end] {
        name @ ("agnhost" | PAUSE_IMAGE) => name,
        _ => image[..end].trim_start_matches("docker.io/"),
    }
}

/// Replaces `$(NAME)` by the variable's value and `$$` by `$`; a reference to
/// an unknown variable stays as it is (the rule of Kubernetes' `command`,
/// `args` and `env`).
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let reference = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'));
        match reference.and_then(|(name, after)| Some((environment.get(name)?, after))) {
            Some((value, after)) => {
                expanded.push_str(value);
                rest = after;
            }
            None => expanded.push('$'),
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests;
