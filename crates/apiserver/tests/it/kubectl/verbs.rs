//! One test for each verb, with every kubectl, and the table of what came of it.
//!
//! Each test leaves its outcomes in a file; `write_the_table` makes
//! docs/kubectl.md of them.

mod change;
mod look;
mod table;
mod workloads;

use std::panic::{AssertUnwindSafe, catch_unwind};

use podway_apiserver::User;

use super::{Kubectl, installed};
use crate::client::Client;
use crate::crew;
use crate::fixture::Server;

/// A verb: what docs/kubectl.md calls it, and what it has to do.
pub(super) struct Verb {
    pub(super) name: &'static str,
    run: fn(&Kubectl),
}

/// Makes a test of each verb, and the list of all.
macro_rules! verbs {
    ($($test:ident: $name:literal => $run:path;)*) => {
        pub(super) const VERBS: &[Verb] = &[$(Verb { name: $name, run: $run }),*];
        $(
            #[test]
            fn $test() {
                try_with_each_version(&Verb { name: $name, run: $run });
            }
        )*
    };
}

verbs! {
    annotate: "annotate" => change::annotate;
    api_resources: "api-resources" => look::api_resources;
    api_versions: "api-versions" => look::api_versions;
    apply: "apply" => change::apply;
    apply_server_side: "apply --server-side" => change::apply_server_side;
    apply_prune: "apply --prune" => change::apply_prune;
    cluster_info: "cluster-info" => look::cluster_info;
    cordon: "cordon, uncordon" => change::cordon;
    create_configmap: "create configmap" => change::create_configmap;
    create_deployment: "create deployment" => workloads::create_deployment;
    create_ingress: "create ingress" => change::create_ingress;
    create_job: "create job" => workloads::create_job;
    create_namespace: "create namespace" => change::create_namespace;
    create_secret: "create secret" => change::create_secret;
    create_service: "create service" => change::create_service;
    delete: "delete" => workloads::delete;
    delete_cascade: "delete --cascade" => workloads::delete_cascade;
    describe: "describe" => look::describe;
    diff: "diff" => change::diff;
    edit: "edit" => change::edit;
    events: "events" => workloads::events;
    explain: "explain" => look::explain;
    expose: "expose" => workloads::expose;
    get: "get" => look::get;
    get_watch: "get --watch" => look::watch;
    label: "label" => change::label;
    patch: "patch" => change::patch;
    replace: "replace" => change::replace;
    rollout_history: "rollout history" => workloads::rollout_history;
    rollout_pause: "rollout pause, resume" => workloads::rollout_pause;
    rollout_restart: "rollout restart" => workloads::rollout_restart;
    rollout_status: "rollout status" => workloads::rollout_status;
    rollout_undo: "rollout undo" => workloads::rollout_undo;
    run: "run" => workloads::run;
    scale: "scale" => workloads::scale;
    set_env: "set env" => workloads::set_env;
    set_image: "set image" => workloads::set_image;
    taint: "taint" => change::taint;
    version: "version" => look::version;
    wait: "wait" => workloads::wait;
}

/// Tries a verb with each kubectl, against one server with nodes and a crew, each
/// in a namespace of its own, and notes what came of it.
fn try_with_each_version(verb: &Verb) {
    let server = Server::start();
    let client = server
        .runtime
        .block_on(Client::new(&server, User::Admin, None));
    server.runtime.spawn(crew::run(client.0));
    let mut outcomes = Vec::new();
    for program in installed() {
        let version = program.file_name().unwrap().to_string_lossy();
        let namespace = version.replace('.', "-");
        let kubectl = Kubectl::new(&server, program.clone());
        let context = ["config", "set-context", "--current", "--namespace"];
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            kubectl.run(&["create", "namespace", &namespace]);
            kubectl.run(&[&context[..], &[&namespace]].concat());
            (verb.run)(&kubectl);
        }));
        outcomes.push((version.into_owned(), attempt.is_ok()));
    }
    table::note(verb.name, &outcomes);
    let failed: Vec<_> = outcomes.iter().filter(|(_, well)| !well).collect();
    assert!(failed.is_empty(), "{}: {failed:?}", verb.name);
}
