//! Endpoints and EndpointSlice.

use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::{TCP, absent};

pub(crate) fn endpoints(endpoints: &mut Endpoints) {
    for port in endpoints
        .subsets
        .iter_mut()
        .flatten()
        .flat_map(|s| s.ports.iter_mut().flatten())
    {
        absent(&mut port.protocol, TCP);
    }
}

/// The name of a port is a pointer in Kubernetes: without the empty string in
/// it consumers would skip the port.
pub(crate) fn slice(slice: &mut EndpointSlice) {
    for port in slice.ports.iter_mut().flatten() {
        absent(&mut port.name, "");
        absent(&mut port.protocol, TCP);
    }
}
