//! Two and more nodes, each a network namespace with its own backend, on one
//! underlay; pods that send through the tunnels.

mod nodes;
mod sync;
mod traffic;
