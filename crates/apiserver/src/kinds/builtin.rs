//! The rules of the kinds that the server serves: which function does what.

use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::Rules;
use crate::validate::{FieldErrors, NameRule, names};

impl Rules for Namespace {
    const NAME: NameRule = names::dns_label;

    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for Node {
    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for ConfigMap {
    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for Endpoints {
    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for Event {
    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for Pod {
    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for Service {
    const NAME: NameRule = names::dns_1035_label;

    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for EndpointSlice {
    const GENERATION: bool = true;

    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for NetworkPolicy {
    const GENERATION: bool = true;

    fn validate(&self, _errors: &mut FieldErrors) {}
}
