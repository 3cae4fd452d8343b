//! Files as people have them: whole, broken, or broken in several ways.

use std::path::{Path, PathBuf};

use podway_model::ObjectName;
use podway_watch::manifest::{self, Document};
use podway_watch::yaml::Mistakes;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// Mistakes as `line:column what => meant`.
fn listed(mistakes: &Mistakes) -> Vec<String> {
    let print = |mistake: &podway_watch::yaml::Mistake| {
        let meant = mistake.meant.as_deref().unwrap_or("-");
        format!(
            "{}:{} {} => {meant}",
            mistake.line, mistake.column, mistake.what
        )
    };
    mistakes.list().iter().map(print).collect()
}

fn mistakes(text: &str) -> Vec<String> {
    match manifest::parse("t.yaml", text) {
        Ok(documents) => panic!("no mistake in {text}: {documents:#?}"),
        Err(mistakes) => listed(&mistakes),
    }
}

fn documents(text: &str) -> Vec<Document> {
    manifest::parse("t.yaml", text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn a_missing_colon_and_doubled_dashes_are_found_in_one_go() {
    let mistakes = manifest::read(&[data("allow-myapp-ingress.broken.yaml")]).unwrap_err();
    let dashes = "`--` does not begin an item of a list, `-` does";
    assert_eq!(
        listed(&mistakes),
        [
            "10:5 missing colon after \"policyTypes\" => policyTypes: [\"Ingress\"]".to_owned(),
            format!("12:5 {dashes} => - from:"),
            format!("13:9 {dashes} => - ipBlock:"),
            format!("16:13 {dashes} => - 10.244.3.0/24"),
            format!("17:9 {dashes} => - podSelector:"),
            format!("21:9 {dashes} => - protocol: TCP"),
        ],
        "{mistakes}"
    );
}

#[test]
fn escaped_dashes_are_found_in_one_go() {
    let path = data("httpd-egress.broken.yaml");
    let mistakes = manifest::read(std::slice::from_ref(&path)).unwrap_err();
    let dashes = "`\\-` does not begin an item of a list, `-` does";
    assert_eq!(
        listed(&mistakes),
        [
            format!("11:3 {dashes} => - to:"),
            format!("12:5 {dashes} => - podSelector:"),
            format!("16:5 {dashes} => - protocol: TCP"),
        ],
        "{mistakes}"
    );
    let printed = mistakes.to_string();
    let expected = format!(
        "{}:11:3: {dashes}\n  11 |   \\- to:\n     |   ^\n  probably meant: - to:\n",
        path.display()
    );
    assert!(printed.starts_with(&expected), "{printed}");
}

#[test]
fn what_else_is_wrong_is_found_behind_the_slips() {
    let text = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: a
spec:
  podSelectr: {}
  ingress:
  -- from:
     - ipBlock: {cidr: 10.0.0.0}
     ports:
     - port: 70000
";
    assert_eq!(
        mistakes(text),
        [
            "6:3 unknown field \"podSelectr\" => podSelector",
            "8:3 `--` does not begin an item of a list, `-` does => - from:",
            "9:8 spec.ingress[0].from[0]: ipBlock.cidr: \"10.0.0.0\" is not a prefix: expected address/length, as 10.0.0.0/8 or fd00::/64 => -",
            "11:14 spec.ingress[0].ports[0].port: 70000 is not a port: expected 1-65535 => -",
        ]
    );
}

#[test]
fn kinds_fields_types_and_ranges_are_checked_in_every_document() {
    let text = "\
apiVersion: v1
kind: Servce
metadata: {name: a}
---
apiVersion: networking.k8s.io/v1beta1
kind: NetworkPolicy
metadata: {name: a}
---
apiVersion: v1
kind: Service
metadata: {name: a, lables: {}}
spec:
  ports:
  - port: \"80\"
    nodePort: 70000
  selector: {version: 2}
---
apiVersion: v1
kind: Pod
metadata: {}
---
kind: Pod
---
apiVersion: v1
kind: Pod
metadata: {name: twice}
metadata: {name: again}
";
    assert_eq!(
        mistakes(text),
        [
            "2:7 unknown kind \"Servce\": known are Namespace, Node, Pod, Service, Endpoints, ConfigMap, Event, EndpointSlice, NetworkPolicy, ClusterNetworkPolicy => kind: Service",
            "5:13 NetworkPolicy is not known in apiVersion \"networking.k8s.io/v1beta1\" => apiVersion: networking.k8s.io/v1",
            "11:21 unknown field \"lables\" => labels",
            "14:11 spec.ports[0].port: the text \"80\", where a number is expected => 80, without quotes",
            "16:23 spec.selector.version: a number, where a text is expected => \"2\", in quotes",
            "20:11 Pod: metadata.name is missing => -",
            "22:1 apiVersion is missing: not a Kubernetes object => -",
            "27:1 the key \"metadata\" stands twice in one mapping => -",
        ]
    );
}

#[test]
fn lists_and_documents_hold_the_same_objects() {
    let one = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";
    let two = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: a}\n";
    let list = "\
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: a}}
- {apiVersion: v1, kind: Pod, metadata: {name: p, namespace: a}}
";
    let names = |documents: &[Document]| -> Vec<String> {
        let print = |d: &Document| format!("{} {:?} {}", d.kind, d.namespace, d.name);
        documents.iter().map(print).collect()
    };
    let separate = documents(&format!("{one}---\n{two}"));
    assert_eq!(names(&separate), ["Namespace None a", "Pod Some(\"a\") p"]);
    assert_eq!(names(&documents(list)), names(&separate));
    assert_eq!(separate[1].position.line, 5);
    assert_eq!(separate[1].value["metadata"]["namespace"], "a");
    assert_eq!(documents("apiVersion: v1\nkind: List\nitems: []\n"), []);
    assert_eq!(documents(""), []);
}

#[test]
fn the_state_of_files_has_every_namespace_in_use() {
    let text = "\
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: a, labels: {app: p}}
status: {podIPs: [{ip: 10.0.0.1}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: other}
data: {a: b}
";
    let state = manifest::load_state(&documents(text));
    let namespaces: Vec<&str> = state.namespaces().map(|n| &*n.name).collect();
    assert_eq!(namespaces, ["a", "default"]);
    let pod = state.pod_at("10.0.0.1".parse().unwrap()).unwrap();
    assert_eq!(pod.name, ObjectName::new("a", "p"));
    let policy = state.policy(&ObjectName::new("default", "deny")).unwrap();
    assert_eq!(
        (policy.ingress.as_deref(), &policy.egress),
        (Some(&[][..]), &None)
    );
}

#[test]
fn folders_are_read_in_order_and_files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "b.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n",
    );
    write(
        "a.json",
        "{\"apiVersion\": \"v1\", \"kind\": \"Namespace\",\n\t\"metadata\": {\"name\": \"a\"}}",
    );
    write("notes.txt", "not a manifest");
    let read = manifest::read(&[folder.path().to_owned()]).unwrap();
    let names: Vec<&str> = read.iter().map(|document| &*document.name).collect();
    assert_eq!(names, ["a", "b"]);

    let empty = tempfile::tempdir().unwrap();
    let binary = folder.path().join("binary.yaml");
    std::fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    let wrong = [
        folder.path().join("none.yaml"),
        empty.path().to_owned(),
        binary,
    ];
    let mistakes = manifest::read(&wrong).unwrap_err().to_string();
    for expected in [
        "none.yaml: cannot be read: No such file or directory",
        ": holds no .yaml, .yml or .json file",
        "binary.yaml: is not text in UTF-8",
    ] {
        assert!(mistakes.contains(expected), "{expected:?} in\n{mistakes}");
    }
}

#[test]
fn nothing_makes_the_reader_panic() {
    let texts = [
        "\u{0}",
        "%",
        "---",
        "--- a",
        "- - -",
        "&a *a",
        "? \n: ",
        "{",
        "[",
        "\"",
        "a: *b",
        "!!binary x",
        "apiVersion: []",
        "kind: List\nitems: 3",
        "\t",
        "-- ",
        "\\- ",
        "a\u{ff1a}b",
        "<<: 1",
        "- \u{3000}",
        "apiVersion: v1\nkind: Service\nmetadata: 3\nspec: []\n",
        "key",
        "port:80",
        "name [",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n",
    ];
    for text in texts {
        for text in [
            text.to_owned(),
            format!("{text}\n---\n{text}\n"),
            format!("a:\n  {text}"),
        ] {
            let _ = manifest::parse("t", &text);
        }
    }
}
