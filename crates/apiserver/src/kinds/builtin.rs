//! The kinds of Kubernetes itself. A new one is an entry of [`all`], a [`Rules`]
//! implementation for its type and its fields in `schema/kubernetes.txt`.

mod core;
mod workloads;

use std::sync::{Arc, LazyLock};

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, Namespace, Node, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, NetworkPolicy};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::typed::Typed;
use super::{Kind, Kinds, Rules, ScalePaths, Subresource};
use crate::schema::{self, ObjectType};

/// The kinds that every server serves.
pub fn builtin() -> &'static Kinds {
    static ALL: LazyLock<Kinds> = LazyLock::new(|| all().into_iter().map(Arc::new).collect());
    &ALL
}

/// A kind that this crate's own code names.
pub(crate) fn known(api_version: &str, kind: &str) -> &'static Arc<Kind> {
    builtin()
        .by_kind(api_version, kind)
        .expect("the code names kinds of the list below")
}

/// What `/scale` reads and writes: no kind with a path of its own.
pub(crate) fn scale() -> &'static Kind {
    static SCALE: LazyLock<Kind> = LazyLock::new(namespaced::<Scale>);
    &SCALE
}

const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// In the order of discovery.
fn all() -> Vec<Kind> {
    vec![
        cluster::<Namespace>()
            .short("ns")
            .with_status()
            .selectable(&["status.phase"]),
        cluster::<Node>()
            .short("no")
            .with_status()
            .selectable(&["spec.unschedulable"]),
        namespaced::<ConfigMap>().short("cm"),
        namespaced::<Endpoints>().short("ep"),
        namespaced::<Event>().short("ev").selectable(EVENT_FIELDS),
        namespaced::<Pod>()
            .short("po")
            .in_all()
            .below("binding", "Binding", &["create"])
            .below("exec", "PodExecOptions", &["create", "get"])
            .below("log", "Pod", &["get"])
            .with_status()
            .selectable(POD_FIELDS),
        namespaced::<Secret>().selectable(&["type"]),
        namespaced::<ServiceAccount>().short("sa"),
        namespaced::<Service>()
            .short("svc")
            .in_all()
            .with_status()
            .selectable(&["spec.clusterIP", "spec.type"]),
        namespaced::<ControllerRevision>(),
        namespaced::<DaemonSet>().short("ds").in_all().with_status(),
        namespaced::<Deployment>()
            .short("deploy")
            .in_all()
            .with_scale()
            .with_status(),
        namespaced::<ReplicaSet>()
            .short("rs")
            .in_all()
            .with_scale()
            .with_status(),
        namespaced::<Job>()
            .in_all()
            .with_status()
            .selectable(&["status.successful"]),
        cluster::<CustomResourceDefinition>()
            .short("crd")
            .short("crds")
            .with_status(),
        namespaced::<Lease>(),
        namespaced::<EndpointSlice>(),
        cluster::<IngressClass>(),
        namespaced::<Ingress>().short("ing").with_status(),
        namespaced::<NetworkPolicy>().short("netpol"),
    ]
}

fn cluster<T: Rules>() -> Kind {
    Kind {
        namespaced: false,
        ..namespaced::<T>()
    }
}

fn namespaced<T: Rules>() -> Kind {
    Kind {
        group: T::GROUP.to_owned(),
        version: T::VERSION.to_owned(),
        kind: T::KIND.to_owned(),
        plural: T::URL_PATH_SEGMENT.to_owned(),
        singular: T::KIND.to_ascii_lowercase(),
        list_kind: format!("{}List", T::KIND),
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced: true,
        subresources: Vec::new(),
        selectable_fields: Vec::new(),
        scale: None,
        printer: None,
        fields: fields(T::GROUP, T::KIND),
        open_api: None,
        behaviour: Box::new(Typed::<T>::default()),
    }
}

/// The fields of a type are in the table under the first part of its group.
fn fields(group: &str, kind: &str) -> Option<Arc<ObjectType>> {
    let group = match group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    schema::builtin(&format!("{group}.{kind}"))
}

impl Kind {
    fn short(mut self, name: &str) -> Kind {
        self.short_names.push(name.to_owned());
        self
    }

    /// `kubectl get all` lists it.
    fn in_all(mut self) -> Kind {
        self.categories.push("all".to_owned());
        self
    }

    fn below(mut self, name: &'static str, kind: &str, verbs: &'static [&'static str]) -> Kind {
        self.subresources.push(Subresource {
            name,
            kind: kind.to_owned(),
            other_group: None,
            verbs,
        });
        self
    }

    fn with_status(mut self) -> Kind {
        self.subresources.push(Subresource::status(&self.kind));
        self
    }

    fn with_scale(mut self) -> Kind {
        self.subresources.push(Subresource::scale());
        self.scale = Some(ScalePaths {
            replicas: "/spec/replicas".to_owned(),
            observed: "/status/replicas".to_owned(),
            selector: Some("/spec/selector".to_owned()),
        });
        self
    }

    fn selectable(mut self, fields: &[&str]) -> Kind {
        self.selectable_fields = fields.iter().map(|&field| field.to_owned()).collect();
        self
    }
}
