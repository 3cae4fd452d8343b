//! The protocols as their callers see them.

mod bfd;
mod bgp;
mod layer2;
mod mesh;
