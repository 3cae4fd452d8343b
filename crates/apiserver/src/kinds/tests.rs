#![allow(
    clippy::too_many_lines,
    reason = "a table of cases is read line by line, not as logic"
)]

use serde_json::json;

use super::*;

#[test]
fn every_kind_is_found_by_its_path_and_by_its_type() {
    let kinds = builtin();
    for kind in kinds.iter() {
        assert_eq!(
            kinds.by_resource(&kind.group, &kind.version, &kind.plural),
            Some(kind)
        );
        assert_eq!(kinds.by_kind(&kind.api_version(), &kind.kind), Some(kind));
    }
    let names = kinds.iter().map(|kind| kind.qualified_plural());
    let names: Vec<String> = names.collect();
    assert_eq!(
        names,
        [
            "namespaces",
            "nodes",
            "configmaps",
            "endpoints",
            "events",
            "pods",
            "secrets",
            "serviceaccounts",
            "services",
            "controllerrevisions.apps",
            "daemonsets.apps",
            "deployments.apps",
            "replicasets.apps",
            "jobs.batch",
            "customresourcedefinitions.apiextensions.k8s.io",
            "leases.coordination.k8s.io",
            "endpointslices.discovery.k8s.io",
            "ingressclasses.networking.k8s.io",
            "ingresses.networking.k8s.io",
            "networkpolicies.networking.k8s.io"
        ]
    );
    assert_eq!(kinds.by_resource("apps", "v1", "nothing"), None);
}

fn decode(plural: &str, body: &str) -> Result<Decoded, DecodeError> {
    builtin()
        .by_resource("", "v1", plural)
        .unwrap()
        .decode(body.as_bytes())
}

#[test]
fn what_a_strict_client_wants_refused_is_named() {
    let cases: &[(&str, &[&str])] = &[
        (r#"{"spec":{"ports":[{"port":80}]}}"#, &[]),
        (r#"{"spec":{"foo":1}}"#, &["unknown field \"spec.foo\""]),
        (
            r#"{"spec":{"ports":[{"port":80},{"prot":"TCP"}]},"metdata":{}}"#,
            &[
                "unknown field \"metdata\"",
                "unknown field \"spec.ports[1].prot\"",
            ],
        ),
        (
            r#"{"spec":{"type":"ClusterIP","type":"NodePort"}}"#,
            &["duplicate field \"spec.type\""],
        ),
        (
            r#"{"metadata":{"labels":{"a":"1","a":"2"},"anotations":{}},"spec":{"ports":[{"port":1,"port":2}]}}"#,
            &[
                "unknown field \"metadata.anotations\"",
                "duplicate field \"metadata.labels.a\"",
                "duplicate field \"spec.ports[0].port\"",
            ],
        ),
    ];
    for (body, expected) in cases {
        let mut strict = decode("services", body).unwrap().strict;
        strict.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(strict, expected, "{body}");
    }
    let kind = known("v1", "Service");
    let strict = [
        "unknown field \"spec.foo\"".to_owned(),
        "duplicate field \"spec.type\"".to_owned(),
    ];
    assert_eq!(
        kind.strict_error(&strict).to_string(),
        "Service in version \"v1\" cannot be handled as a Service: strict decoding error: unknown field \"spec.foo\", duplicate field \"spec.type\""
    );
}

#[test]
fn the_last_of_two_values_counts_and_unknown_fields_are_dropped() {
    let body = r#"{"spec":{"type":"ClusterIP","type":"NodePort","foo":{"bar":[1]}}}"#;
    assert_eq!(
        decode("services", body).unwrap().object,
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": {"type": "NodePort"}})
    );
}

#[test]
fn wrong_types_are_refused_with_their_field() {
    let cases = [
        (
            "services",
            r#"{"spec":{"ports":[{"port":"abc"}]}}"#,
            Some("spec.ports[0].port"),
            "Service in version \"v1\" cannot be handled as a Service: json: cannot unmarshal string into Go struct field Service.spec.ports.port of type int32",
        ),
        (
            "services",
            r#"{"spec":{"ports":[{"port":99999999999}]}}"#,
            Some("spec.ports[0].port"),
            "Service in version \"v1\" cannot be handled as a Service: json: cannot unmarshal number 99999999999 into Go struct field Service.spec.ports.port of type int32",
        ),
        (
            "services",
            r#"{"spec":{"ports":{"port":1}}}"#,
            Some("spec.ports"),
            "Service in version \"v1\" cannot be handled as a Service: json: cannot unmarshal object into Go struct field Service.spec.ports of type []interface {}",
        ),
        (
            "pods",
            r#"{"spec":{"hostNetwork":"yes"}}"#,
            Some("spec.hostNetwork"),
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field Pod.spec.hostNetwork of type bool",
        ),
        (
            "configmaps",
            r#"{"data":{"a":1}}"#,
            Some("data.a"),
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number 1 into Go struct field ConfigMap.data.a of type string",
        ),
        (
            "services",
            r#"{"apiVersion":"v2"}"#,
            Some("apiVersion"),
            "the API version in the data (v2) does not match the expected API version (v1)",
        ),
        (
            "services",
            r#"{"apiVersion":"v1","kind":"Pod"}"#,
            Some("kind"),
            "Pod in version \"v1\" cannot be handled as a Service: the kind in the data is not the kind of the path",
        ),
        (
            "services",
            r#"{"kind":7}"#,
            None,
            "the object provided is unrecognized (must be of type Service): couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string",
        ),
        (
            "services",
            "[]",
            None,
            "the object provided is unrecognized (must be of type Service): couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { apiVersion, kind }",
        ),
        (
            "services",
            "{",
            None,
            "the object provided is unrecognized (must be of type Service): couldn't get version/kind; json parse error: EOF while parsing an object at line 1 column 1",
        ),
        (
            "services",
            "{} {}",
            None,
            "the object provided is unrecognized (must be of type Service): couldn't get version/kind; json parse error: trailing characters at line 1 column 4",
        ),
    ];
    for (plural, body, field, message) in cases {
        let error = decode(plural, body).unwrap_err();
        assert_eq!(error.message, message, "{body}");
        assert_eq!(error.field.as_deref(), field, "{body}");
    }
    let deep = "[".repeat(100_000);
    assert!(
        decode("services", &deep).is_err(),
        "deep nesting is an error, not a crash"
    );
}

#[test]
fn empty_is_absent_except_where_it_means_something() {
    let cases = [
        (
            "services",
            r#"{"metadata":{"name":"","labels":{"a":""}},"spec":{"clusterIP":"","ports":[],"selector":{"b":""}}}"#,
            json!({"metadata": {"labels": {"a": ""}}, "spec": {"selector": {"b": ""}}}),
        ),
        (
            "configmaps",
            r#"{"metadata":{"annotations":{"a":null}},"data":{"k":"","l":"v"}}"#,
            json!({"metadata": {"annotations": {"a": ""}}, "data": {"k": "", "l": "v"}}),
        ),
        (
            "pods",
            r#"{"spec":{"containers":[{"name":"c","args":["",""],"env":[{"name":"E","value":""}]}],"volumes":[{"name":"v","emptyDir":{}}]}}"#,
            json!({"metadata": {}, "spec": {"containers": [{"name": "c", "args": ["", ""], "env": [{"name": "E"}]}], "volumes": [{"name": "v", "emptyDir": {}}]}}),
        ),
    ];
    for (plural, body, expected) in cases {
        let mut object = decode(plural, body).unwrap().object;
        let fields = object.as_object_mut().unwrap();
        fields.remove("apiVersion");
        fields.remove("kind");
        assert_eq!(object, expected, "{body}");
    }
}

#[test]
fn a_status_is_written_at_its_own_path_only() {
    let kind = known("v1", "Service");
    let object = json!({"metadata": {"name": "s", "namespace": "d", "uid": "u"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}});
    let created = kind
        .admit_create(kind.decode_value(object.clone()).unwrap().object)
        .unwrap();
    assert_eq!(created["status"], json!({"loadBalancer": {}}));
    let mut next = kind.decode_value(object).unwrap().object;
    next["spec"]["ports"][0]["port"] = 81.into();
    let spec = kind
        .admit_update(next.clone(), &created, Part::Object)
        .unwrap();
    assert_eq!(
        (&spec["spec"]["ports"][0]["port"], &spec["status"]),
        (&json!(81), &json!({"loadBalancer": {}}))
    );
    let status = kind.admit_update(next, &created, Part::Status).unwrap();
    assert_eq!(status["spec"], created["spec"]);
    assert_eq!(
        status["status"],
        json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4", "ipMode": "VIP"}]}})
    );
}

#[test]
fn a_generation_counts_the_changes_of_the_specification() {
    let kind = known("networking.k8s.io/v1", "NetworkPolicy");
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "p", "namespace": "d"}, "spec": {"podSelector": {}}});
    let first = kind.admit_create(object).unwrap();
    assert_eq!(first["metadata"]["generation"], 1);
    let mut labelled = first.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    labelled["metadata"]["generation"] = 7.into();
    let second = kind.admit_update(labelled, &first, Part::Object).unwrap();
    assert_eq!(second["metadata"]["generation"], 1);
    let mut opened = second.clone();
    opened["spec"]["ingress"] = json!([{}]);
    let third = kind.admit_update(opened, &second, Part::Object).unwrap();
    assert_eq!(third["metadata"]["generation"], 2);
}
