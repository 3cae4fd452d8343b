//! One call of the plugin: environment and standard input in, one JSON value
//! and an exit code out.

use std::io::Read;

use serde_json::{Value, json};

use crate::add::add;
use crate::check::check;
use crate::config::{self, Config, Network, valid_attachments};
use crate::del::del;
use crate::environment::{self, Args, Command, Variables};
use crate::error::Error;
use crate::gc::gc;
use crate::status::status;
use crate::version;

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What goes to standard output: a result, an error, or nothing.
    pub output: Option<Value>,
    /// The process's exit code.
    pub code: u8,
}

/// Does what the environment asks for.
pub fn run(variables: &Variables, input: &mut dyn Read) -> Outcome {
    let mut configuration = Vec::new();
    match execute(variables, input, &mut configuration) {
        Ok(output) => Outcome { output, code: 0 },
        Err(error) => Outcome {
            output: Some(failure(&error, &configuration)),
            code: 1,
        },
    }
}

fn execute(
    variables: &Variables,
    input: &mut dyn Read,
    configuration: &mut Vec<u8>,
) -> Result<Option<Value>, Error> {
    let command = environment::command(variables)?;
    // VERSION needs no configuration: a person may ask without one.
    if command != Command::Version {
        input.read_to_end(configuration).map_err(Error::Input)?;
    }
    let input = configuration.as_slice();
    match command {
        Command::Add(target) => add(&target, &Config::read(input, &target.args)?).map(Some),
        Command::Del(target) => del(&target, &Network::read(input)?).map(|()| None),
        Command::Check(target) => {
            version::require(&Network::read(input)?, "CHECK", "0.4.0")?;
            check(&target, &Config::read(input, &target.args)?).map(|()| None)
        }
        Command::Gc => {
            let network = Network::read(input)?;
            version::require(&network, "GC", "1.1.0")?;
            gc(&network, &valid_attachments(input)?).map(|()| None)
        }
        Command::Status => {
            version::require(&Network::read(input)?, "STATUS", "1.1.0")?;
            status(&Config::read(input, &Args::default())?).map(|()| None)
        }
        Command::Version => Ok(Some(version::answer())),
    }
}

/// The specification's error object.
fn failure(error: &Error, configuration: &[u8]) -> Value {
    let version = config::version_of(configuration);
    let (message, causes) = error.chain();
    let mut object = json!({
        "cniVersion": version.as_deref().unwrap_or(version::NEWEST),
        "code": error.code(),
        "msg": message,
    });
    if !causes.is_empty() {
        object["details"] = json!(causes);
    }
    object
}
