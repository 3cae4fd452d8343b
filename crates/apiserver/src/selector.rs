//! The `labelSelector` and `fieldSelector` of list, watch and delete requests.

use serde_json::Value;
use thiserror::Error;

use crate::kinds::Kind;

/// A selector that cannot be used: 400 `BadRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SelectorError(String);

/// Follows apimachinery `labels.Parse`: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {}

impl LabelSelector {
    /// Parses the text of a request; empty selects everything.
    ///
    /// # Errors
    /// Text that is not a selector.
    pub fn parse(_text: &str) -> Result<Self, SelectorError> {
        Ok(Self {})
    }

    /// Whether the object's labels match.
    #[must_use]
    pub fn matches(&self, _object: &Value) -> bool {
        true
    }
}

/// Follows apimachinery `fields.ParseSelector`: `metadata.name=a,status.phase!=b`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {}

impl FieldSelector {
    /// Parses the text of a request for objects of a kind; empty selects
    /// everything.
    ///
    /// # Errors
    /// Text that is not a selector, or a field that the kind does not offer.
    pub fn parse(_kind: &Kind, _text: &str) -> Result<Self, SelectorError> {
        Ok(Self {})
    }

    /// Whether the object's fields match.
    #[must_use]
    pub fn matches(&self, _object: &Value) -> bool {
        true
    }

    /// The one name that can match, when the selector asks for one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        None
    }
}
