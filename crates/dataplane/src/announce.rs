//! Load balancer addresses, told to the network.

pub mod layer2;
