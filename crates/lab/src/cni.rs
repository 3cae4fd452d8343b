//! The runtime's side of CNI: a list of plugins run through the real protocol
//! (program, standard input, environment), spec 1.1.0.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::Error;

/// The name that a pod's interface has.
const INTERFACE: &str = "eth0";

/// How long a plugin may take. Podway's own waits up to 10 s for the policies
/// of a pod; nothing reasonable takes longer than a minute.
const PLUGIN_LIMIT: Duration = Duration::from_secs(60);

/// A network configuration list: what a `.conflist` file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Network {
    #[serde(rename = "cniVersion", default = "oldest_version")]
    version: String,
    name: String,
    plugins: Vec<Map<String, Value>>,
}

/// The spec's default for a configuration without a version.
fn oldest_version() -> String {
    "0.1.0".to_owned()
}

/// What is attached to a network: one sandbox's interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attachment {
    /// The sandbox, a new id for each one.
    pub(crate) container: String,
    /// The path of its network namespace.
    pub(crate) namespace: PathBuf,
    /// `CNI_ARGS`.
    pub(crate) args: String,
}

/// An attachment as it was made, kept for DEL: the configuration may have
/// changed by then, and a plugin wants back the result that it gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attached {
    pub(crate) network: Network,
    pub(crate) attachment: Attachment,
    pub(crate) result: Option<Value>,
}

impl Network {
    /// The first configuration of a folder, by file name; `None` where there
    /// is none yet.
    pub(crate) fn first_in(folder: &Path) -> Result<Option<Self>, Error> {
        let failed = || Error::io(format!("read folder {}", folder.display()));
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed()(error)),
        };
        let mut files: Vec<PathBuf> = entries
            .map(|entry| Ok(entry.map_err(failed())?.path()))
            .collect::<Result<_, Error>>()?;
        files.retain(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            matches!(extension, Some("conflist" | "conf" | "json"))
        });
        files.sort();
        let Some(path) = files.first() else {
            return Ok(None);
        };
        let text = fs::read_to_string(path).map_err(failed())?;
        let network = Self::parse(&text).map_err(|reason| Error::Network {
            path: path.clone(),
            reason,
        })?;
        Ok(Some(network))
    }

    /// Reads a list, or a single plugin's configuration as a list of one.
    fn parse(text: &str) -> Result<Self, String> {
        let mut value: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !value.contains_key("plugins") {
            let plugin = Value::Object(value.clone());
            value.insert("plugins".to_owned(), json!([plugin]));
        }
        let network: Self =
            serde_json::from_value(Value::Object(value)).map_err(|error| error.to_string())?;
        for plugin in &network.plugins {
            match plugin.get("type").and_then(Value::as_str) {
                Some(name) if !name.is_empty() && !name.contains('/') => {}
                _ => return Err("plugins: each needs `type`, a program's name".to_owned()),
            }
        }
        Ok(network)
    }

    /// What a plugin reads on standard input.
    fn input(&self, plugin: &Map<String, Value>, previous: Option<&Value>) -> Value {
        let mut input = plugin.clone();
        input.remove("capabilities");
        input.insert("cniVersion".to_owned(), json!(self.version));
        input.insert("name".to_owned(), json!(self.name));
        if let Some(previous) = previous {
            input.insert("prevResult".to_owned(), previous.clone());
        }
        Value::Object(input)
    }
}

/// ADD: every plugin in order, each with the result of the one before. When one
/// fails, DEL of all has run before this returns.
pub(crate) async fn add(
    network: Network,
    attachment: Attachment,
    programs: &[PathBuf],
) -> Result<Attached, Error> {
    let mut attached = Attached {
        network,
        attachment,
        result: None,
    };
    for plugin in &attached.network.plugins {
        let input = attached.network.input(plugin, attached.result.as_ref());
        match run("ADD", plugin, &input, &attached.attachment, programs).await {
            Ok(result) => attached.result = Some(result),
            Err(error) => {
                if let Err(cleanup) = delete(&attached, programs).await {
                    tracing::warn!(
                        error = &cleanup as &dyn std::error::Error,
                        "a failed ADD could not be undone"
                    );
                }
                return Err(error);
            }
        }
    }
    Ok(attached)
}

/// DEL: every plugin in the opposite order with the final result. Goes on past
/// a failing plugin and returns the first error.
pub(crate) async fn delete(attached: &Attached, programs: &[PathBuf]) -> Result<(), Error> {
    let mut outcome = Ok(());
    for plugin in attached.network.plugins.iter().rev() {
        let input = attached.network.input(plugin, attached.result.as_ref());
        let deleted = run("DEL", plugin, &input, &attached.attachment, programs).await;
        outcome = outcome.and(deleted.map(drop));
    }
    outcome
}

impl Attached {
    /// The pod's addresses, the first of each family, in the result's order.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let ips = self
            .result
            .as_ref()
            .and_then(|result| result["ips"].as_array());
        let mut addresses: Vec<IpAddr> = Vec::new();
        for ip in ips.into_iter().flatten() {
            let address = ip["address"].as_str().and_then(|text| text.parse().ok());
            let Some(address) = address.map(|network: IpNet| network.addr()) else {
                continue;
            };
            if addresses
                .iter()
                .all(|other| other.is_ipv4() != address.is_ipv4())
            {
                addresses.push(address);
            }
        }
        addresses
    }
}

async fn run(
    command: &'static str,
    plugin: &Map<String, Value>,
    input: &Value,
    attachment: &Attachment,
    programs: &[PathBuf],
) -> Result<Value, Error> {
    let name = plugin
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let failed = |code, reason: String| Error::Plugin {
        plugin: name.to_owned(),
        command,
        code,
        reason,
    };
    let found = programs
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    let Some(program) = found else {
        let folders: Vec<_> = programs
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        return Err(failed(
            None,
            format!("there is no such program in {}", folders.join(", ")),
        ));
    };
    let path = std::env::join_paths(programs).map_err(|error| failed(None, error.to_string()))?;
    let mut child = Command::new(program);
    child
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", &attachment.container)
        .env("CNI_NETNS", &attachment.namespace)
        .env("CNI_IFNAME", INTERFACE)
        .env("CNI_ARGS", &attachment.args)
        .env("CNI_PATH", path);
    let output = timeout(PLUGIN_LIMIT, converse(child, input.to_string()))
        .await
        .map_err(|_| failed(None, format!("no answer in {} s", PLUGIN_LIMIT.as_secs())))?
        .map_err(|error| failed(None, error.to_string()))?;
    understand(command, &output).map_err(|(code, reason)| failed(code, reason))
}

/// Gives a program its standard input and collects what it says. It ends when
/// the future is dropped.
async fn converse(mut command: Command, input: String) -> io::Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input.as_bytes()).await {
            // A plugin that ends without reading has more to say than EPIPE.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    child.wait_with_output().await
}

/// Reads a plugin's answer: a result, or code and text of its error, which it
/// prints on standard output as JSON.
fn understand(command: &str, output: &Output) -> Result<Value, (Option<u64>, String)> {
    let answer: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    if output.status.success() {
        return match answer {
            Some(result) if result.is_object() => Ok(result),
            // DEL says nothing when it succeeds.
            _ if command != "ADD" => Ok(Value::Null),
            _ => Err((None, "it printed no result".to_owned())),
        };
    }
    let text = |name: &str| {
        let text = answer.as_ref().and_then(|answer| answer[name].as_str());
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let code = answer.as_ref().and_then(|answer| answer["code"].as_u64());
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let message = text("msg").unwrap_or_else(|| format!("{}: {said}", output.status));
    let reason = match text("details") {
        Some(details) => format!("{message}: {details}"),
        None => message,
    };
    Err((code, reason))
}

#[cfg(test)]
mod tests;
