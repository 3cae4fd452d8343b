//! The decisions of `plan`, from outside: data in text, and properties.

mod explain;
mod flows;
mod policy;
mod service_properties;
mod truth_table;
