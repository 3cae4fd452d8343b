//! Two and more nodes, each a network namespace with its own backend, on one
//! underlay of two segments; pods that send from node to node.

mod direct;
mod faults;
mod nodes;
mod sync;
mod traffic;
mod udp;
