//! Validation with Kubernetes' own field errors.

pub(crate) mod address;
mod error;
pub(crate) mod metadata;
pub(crate) mod names;

pub(crate) use error::Path;
pub use error::{Cause, ErrorType, FieldError, FieldErrors, Invalid};
pub use names::NameRule;
