//! One call of the plugin: environment and standard input in, one JSON value
//! and an exit code out.

use std::io::Read;

use serde_json::{Value, json};

use crate::add::add;
use crate::config::{self, Config};
use crate::del::del;
use crate::environment::{self, Command, Target, Variables};
use crate::error::Error;
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
    match dispatch(variables, input, &mut configuration) {
        Ok(output) => Outcome { output, code: 0 },
        Err(error) => Outcome {
            output: Some(failure(&error, &configuration)),
            code: 1,
        },
    }
}

fn dispatch(
    variables: &Variables,
    input: &mut dyn Read,
    configuration: &mut Vec<u8>,
) -> Result<Option<Value>, Error> {
    let command = environment::command(variables)?;
    if command == Command::Version {
        return Ok(Some(version::answer()));
    }
    let target = environment::target(command, variables)?;
    input.read_to_end(configuration).map_err(Error::Input)?;
    execute(command, &target, configuration)
}

fn execute(command: Command, target: &Target, input: &[u8]) -> Result<Option<Value>, Error> {
    match command {
        Command::Version => Ok(Some(version::answer())),
        Command::Add => add(target, &Config::for_add(input)?).map(Some),
        Command::Del => del(target, &Config::for_del(input)?).map(|()| None),
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
