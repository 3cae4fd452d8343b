use std::fmt;

use thiserror::Error;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The object: `IPAddressPool default`, or `line:column` of a text.
    pub object: String,
    /// What is wrong, with the field and the value.
    pub what: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.what)
    }
}

/// Why a configuration was not taken: all that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the load balancer configuration is not valid: {}", list(.0))]
pub struct ConfigError(pub Vec<ConfigProblem>);

impl ConfigError {
    pub(super) fn unless_empty(problems: Vec<ConfigProblem>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self(problems))
        }
    }
}

fn list(problems: &[ConfigProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

/// Collects mistakes, so that all are reported at once.
#[derive(Debug, Default)]
pub(super) struct Problems(pub Vec<ConfigProblem>);

impl Problems {
    pub(super) fn push(&mut self, object: &str, what: impl Into<String>) {
        self.0.push(ConfigProblem {
            object: object.to_owned(),
            what: what.into(),
        });
    }

    /// A value, or the mistake in its place.
    pub(super) fn take<T, E: fmt::Display>(
        &mut self,
        object: &str,
        field: &str,
        value: Result<T, E>,
    ) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(error) => {
                self.push(object, format!("{field}: {error}"));
                None
            }
        }
    }
}
