//! Test support: builders, packet tracers, namespace topologies.
