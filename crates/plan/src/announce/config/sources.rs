//! The texts and objects that a configuration is read from.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Config, ConfigError, Objects, parse_config_map};

/// What administrators wrote, as the cluster holds it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sources {
    /// Key `config` of ConfigMap `config`: the configuration before custom
    /// resources.
    pub text: Option<String>,
    /// Custom resources by kind (see [`super::RESOURCES`]), then by name.
    pub resources: BTreeMap<&'static str, BTreeMap<String, Value>>,
}

impl Sources {
    /// What they mean. Where there are resources the text is left aside, as
    /// after an upgrade.
    ///
    /// # Errors
    /// Everything that is wrong; the caller keeps what was in force.
    pub fn read(&self) -> Result<Config, ConfigError> {
        let has_resources = self.resources.values().any(|objects| !objects.is_empty());
        match &self.text {
            Some(text) if !has_resources => parse_config_map(text),
            _ => self.objects()?.read(),
        }
    }

    fn objects(&self) -> Result<Objects, ConfigError> {
        let mut objects = Objects::default();
        let mut problems = Vec::new();
        for (kind, values) in &self.resources {
            for value in values.values() {
                problems.extend(objects.insert(kind, value).err());
            }
        }
        ConfigError::unless_empty(problems)?;
        Ok(objects)
    }
}
