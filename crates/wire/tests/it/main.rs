//! The protocols as their callers see them.

mod layer2;
mod mesh;
