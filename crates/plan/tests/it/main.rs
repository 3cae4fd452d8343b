//! The decisions of `plan`, from outside: data in text, and properties.

#![allow(
    clippy::disallowed_methods,
    reason = "planning is pure, its tests may read corpora and look at a clock"
)]

mod explain;
mod flows;
mod policy;
mod service_properties;
mod truth_table;
