//! Translations: one file for each backend of each feature.

#![forbid(unsafe_code)]

pub mod announce;
pub mod masquerade;
pub mod names;
pub mod overlay;
pub mod policy;
pub mod service;
