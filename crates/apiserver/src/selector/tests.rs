use serde_json::json;

use super::*;
use crate::kinds;

#[test]
fn label_selectors_match_as_kubernetes_does() {
    let object =
        json!({"metadata": {"labels": {"app": "web", "tier": "", "n": "5", "x.io/y": "z"}}});
    let cases: &[(&str, bool)] = &[
        ("", true),
        ("app=web", true),
        ("app==web", true),
        ("app = web , n=5", true),
        ("app!=web", false),
        ("missing!=web", true),
        ("app in (web, api)", true),
        ("app notin (web,api)", false),
        ("missing notin (a)", true),
        ("missing in (a)", false),
        ("app", true),
        ("!app", false),
        ("!missing,app", true),
        ("! missing", true),
        ("tier=", true),
        ("tier", true),
        ("missing=", false),
        ("tier in ()", true),
        ("n>4", true),
        ("n>5", false),
        ("n<6,n>4", true),
        ("app>1", false),
        ("x.io/y=z", true),
        ("in in (in)", false),
    ];
    for (text, expected) in cases {
        let selector = LabelSelector::parse(text).unwrap();
        assert_eq!(
            selector.matches(&object),
            *expected,
            "{text:?}: {selector:?}"
        );
    }
}

#[test]
fn malformed_label_selectors_are_named() {
    let cases: &[(&str, &str)] = &[
        (
            ",",
            "found ',', expected: !, identifier, or 'end of string'",
        ),
        ("a,", "found '', expected: identifier after ','"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        (
            "a b",
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
        ),
        (
            "a in b",
            "unable to parse requirement: found 'b' expected: '('",
        ),
        (
            "a in (b",
            "unable to parse requirement: found '', expected: ',', or ')'",
        ),
        (
            "a=(",
            "unable to parse requirement: found '(', expected: identifier",
        ),
        (
            "a>b",
            "unable to parse requirement: values[0][a]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ];
    for (text, expected) in cases {
        let error = LabelSelector::parse(text).unwrap_err();
        assert_eq!(error.to_string(), *expected, "{text:?}");
    }
    let error = LabelSelector::parse("-a=b").unwrap_err().to_string();
    assert!(
        error.starts_with("unable to parse requirement: key: Invalid value: \"-a\""),
        "{error}"
    );
}

#[test]
fn field_selectors_match_as_kubernetes_does() {
    let pod = json!({
        "metadata": {"name": "a", "namespace": "x"},
        "spec": {"nodeName": "node1"},
        "status": {"phase": "Running"},
    });
    let event = json!({"metadata": {"name": "e"}, "source": {"component": "kubelet"},
        "involvedObject": {"kind": "Pod", "name": "a,b"}});
    let node = json!({"metadata": {"name": "n"}, "spec": {"unschedulable": true}});
    let cases = [
        ("pods", &pod, "", true),
        ("pods", &pod, "metadata.name=a", true),
        ("pods", &pod, "metadata.name==a,metadata.namespace=x", true),
        ("pods", &pod, "metadata.name!=a", false),
        (
            "pods",
            &pod,
            "spec.nodeName=node1,status.phase!=Succeeded",
            true,
        ),
        ("pods", &pod, "status.podIP=", true),
        ("pods", &pod, "spec.hostNetwork=false", true),
        (
            "events",
            &event,
            "involvedObject.kind=Pod,source=kubelet",
            true,
        ),
        ("events", &event, "involvedObject.name=a\\,b", true),
        ("nodes", &node, "spec.unschedulable=true", true),
    ];
    for (plural, object, text, expected) in cases {
        let kind = kinds::builtin().by_resource("", "v1", plural).unwrap();
        let selector = FieldSelector::parse(kind, text).unwrap();
        assert_eq!(selector.matches(object), expected, "{plural} {text:?}");
    }
    let pods = kinds::builtin().by_resource("", "v1", "pods").unwrap();
    let selector = FieldSelector::parse(pods, "status.phase=a,metadata.name=b").unwrap();
    assert_eq!(selector.name(), Some("b"));
}

#[test]
fn unusable_field_selectors_are_named() {
    let cases = [
        ("pods", "spec.foo=a", "field label not supported: spec.foo"),
        (
            "configmaps",
            "data=a",
            "\"data\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        ),
        (
            "pods",
            "metadata.name",
            "invalid selector: 'metadata.name'; can't understand 'metadata.name'",
        ),
        (
            "pods",
            "metadata.name=a=b",
            "invalid selector: 'metadata.name=a=b'; can't understand 'metadata.name=a=b'",
        ),
        (
            "namespaces",
            "metadata.namespace=a",
            "field label not supported: metadata.namespace",
        ),
    ];
    for (plural, text, expected) in cases {
        let kind = kinds::builtin().by_resource("", "v1", plural).unwrap();
        let error = FieldSelector::parse(kind, text).unwrap_err();
        assert_eq!(error.to_string(), expected, "{plural} {text:?}");
    }
}
