//! The translations: against fakes, and against the real kernel as root, each
//! test in network namespaces of its own.

mod masquerade;
mod overlay;
mod policy;
mod service;
