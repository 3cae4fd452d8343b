//! The `labelSelector` and `fieldSelector` of list, watch and delete requests.

mod fields;
mod labels;
mod text;

use thiserror::Error;

pub use fields::FieldSelector;
pub use labels::LabelSelector;
pub(crate) use text::text;

/// A selector that cannot be used: 400 `BadRequest`. Its text is Kubernetes'.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SelectorError(String);

#[cfg(test)]
mod tests;
