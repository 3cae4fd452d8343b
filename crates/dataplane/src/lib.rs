//! Translations: one file for each backend of each feature.

#![forbid(unsafe_code)]

pub mod overlay;
pub mod policy;
