//! The rules of the core and network kinds: which function does what.

use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use crate::kinds::Rules;
use crate::validate::{self, FieldErrors, NameRule, names};
use crate::{defaults, definitions};

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

    /// The name and the metadata are all there is.
    fn validate(&self, _errors: &mut FieldErrors) {}
}

impl Rules for Node {
    fn default(&mut self) {
        defaults::node(self);
    }

    fn validate(&self, errors: &mut FieldErrors) {
        validate::node::validate(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        validate::node::validate_update(self, old, errors);
    }

    fn validate_status(&self, _old: &Self, errors: &mut FieldErrors) {
        validate::node::validate(self, errors);
    }
}

impl Rules for ConfigMap {
    fn validate(&self, errors: &mut FieldErrors) {
        validate::config_map::validate(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        validate::config_map::validate_update(self, old, errors);
    }
}

impl Rules for Endpoints {
    fn default(&mut self) {
        defaults::endpoints::endpoints(self);
    }

    fn validate(&self, errors: &mut FieldErrors) {
        validate::endpoints::validate(self, errors);
    }
}

impl Rules for Event {
    fn validate(&self, errors: &mut FieldErrors) {
        validate::event::validate(self, errors);
    }
}

impl Rules for Pod {
    fn default(&mut self) {
        defaults::pod::default(self);
    }

    fn prepare_create(&mut self) {
        defaults::pod::prepare_create(self);
    }

    fn validate(&self, errors: &mut FieldErrors) {
        validate::pod::validate(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        validate::pod::validate_update(self, old, errors);
    }

    fn validate_status(&self, _old: &Self, errors: &mut FieldErrors) {
        validate::pod::validate_status(self, errors);
    }
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

    fn validate(&self, errors: &mut FieldErrors) {
        validate::service::validate(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        validate::service::validate_update(self, old, errors);
    }

    fn validate_status(&self, _old: &Self, errors: &mut FieldErrors) {
        validate::service::validate_status(self, errors);
    }
}

impl Rules for EndpointSlice {
    const GENERATION: bool = true;

    fn default(&mut self) {
        defaults::endpoints::slice(self);
    }

    fn validate(&self, errors: &mut FieldErrors) {
        validate::endpoints::validate_slice(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        validate::endpoints::validate_slice_update(self, old, errors);
    }
}

impl Rules for CustomResourceDefinition {
    const GENERATION: bool = true;

    fn default(&mut self) {
        definitions::default(self);
    }

    fn prepare_create(&mut self) {
        self.status = None;
    }

    fn validate(&self, errors: &mut FieldErrors) {
        definitions::validate(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        definitions::validate_update(self, old, errors);
    }
}

impl Rules for NetworkPolicy {
    const GENERATION: bool = true;

    fn default(&mut self) {
        defaults::network_policy::network_policy(self);
    }

    fn validate(&self, errors: &mut FieldErrors) {
        validate::network_policy::validate(self, errors);
    }
}
