//! The rules of the kinds that the server serves: which function does what.

use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::Rules;
use crate::defaults;
use crate::validate::{FieldErrors, NameRule, names};

impl Rules for Namespace {
    const NAME: NameRule = names::dns_label;

    fn default(&mut self) {
        defaults::namespace(self);
    }

    fn prepare_create(&mut self) {
        defaults::new_namespace(self);
    }

    /// Finalizers of the specification are removed at `/finalize` only.
    fn prepare_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
    }

    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for Node {
    fn default(&mut self) {
        defaults::node(self);
    }

    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for ConfigMap {
    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for Endpoints {
    fn default(&mut self) {
        defaults::endpoints::endpoints(self);
    }

    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for Event {
    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for Pod {
    fn default(&mut self) {
        defaults::pod::default(self);
    }

    fn prepare_create(&mut self) {
        defaults::pod::prepare_create(self);
    }

    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for Service {
    const NAME: NameRule = names::dns_1035_label;

    fn default(&mut self) {
        defaults::service::default(self);
    }

    fn prepare_create(&mut self) {
        defaults::service::prepare_create(self);
    }

    fn prepare_update(&mut self, old: &Self) {
        defaults::service::prepare_update(self, old);
    }

    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for EndpointSlice {
    const GENERATION: bool = true;

    fn default(&mut self) {
        defaults::endpoints::slice(self);
    }

    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for NetworkPolicy {
    const GENERATION: bool = true;

    fn default(&mut self) {
        defaults::network_policy::network_policy(self);
    }

    fn validate(&self, _errors: &mut FieldErrors) {}
}
