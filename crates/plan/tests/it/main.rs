//! The decisions of `plan`, from outside: data in text, and properties.

mod flows;
mod service_properties;
mod truth_table;
