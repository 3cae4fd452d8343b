use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::*;

fn values(text: &str) -> Vec<serde_json::Value> {
    let parsed = Source::new("t", text).parse();
    assert!(
        parsed.mistakes.is_empty(),
        "{:?} in {text:?}",
        parsed.mistakes
    );
    parsed.documents.iter().map(Node::to_json).collect()
}

fn mistakes(text: &str) -> Vec<String> {
    let parsed = Source::new("t", text).parse();
    let print = |mistake: &Mistake| {
        let meant = mistake.meant.as_deref().unwrap_or("-");
        format!(
            "{}:{} {} => {meant}",
            mistake.line, mistake.column, mistake.what
        )
    };
    parsed.mistakes.iter().map(print).collect()
}

#[test]
fn scalars_mean_what_they_mean_to_kubectl() {
    for (text, expected) in [
        ("yes", json!(true)),
        ("off", json!(false)),
        ("0644", json!(420)),
        ("~", json!(null)),
        ("\"0644\"", json!("0644")),
        ("1.5", json!(1.5)),
        ("10.0.0.1", json!("10.0.0.1")),
        ("-5", json!(-5)),
        (
            "{a: [1, x], \"b\": null}",
            json!({"a": [1, "x"], "b": null}),
        ),
        ("a: |\n  one\n  -- two\n", json!({"a": "one\n-- two\n"})),
        (
            "a: &x {k: v}\nb: *x\n",
            json!({"a": {"k": "v"}, "b": {"k": "v"}}),
        ),
        ("80: x\n", json!({"80": "x"})),
    ] {
        assert_eq!(values(text), [expected], "{text:?}");
    }
}

#[test]
fn a_stream_has_its_documents_at_their_lines() {
    let text = "# only a comment\n---\na: 1\n---\n# nothing\n---\nb:\n  c: 2\n...\n";
    assert_eq!(values(text), [json!({"a": 1}), json!({"b": {"c": 2}})]);
    let parsed = Source::new("t", text).parse();
    let place = parsed.documents[1].position_of("b.c");
    assert_eq!(place, Position { line: 8, column: 6 });
    assert_eq!(parsed.documents[1].field_at(place).as_deref(), Some("b.c"));
}

#[test]
fn slips_are_named_with_what_was_meant() {
    for (text, expected) in [
        (
            "kind NetworkPolicy\nspec: {}\n",
            vec!["1:1 missing colon after \"kind\" => kind: NetworkPolicy"],
        ),
        (
            "a: {}\nports [1, 2]\n",
            vec!["2:1 missing colon after \"ports\" => ports: [1, 2]"],
        ),
        (
            "metadata\n  name: x\n",
            vec!["1:1 missing colon after \"metadata\" => metadata:"],
        ),
        (
            "ports:\n- port:80\n  protocol: TCP\n",
            vec!["2:3 missing space after \"port:\" => port: 80"],
        ),
        (
            "kind\u{ff1a}Pod\nmetadata: {}\n",
            vec!["1:5 '\u{ff1a}' (U+FF1A) only looks like \":\" => kind: Pod"],
        ),
        (
            "to:\n-- a: 1\n   b: 2\n\\- c\n",
            vec![
                "2:1 `--` does not begin an item of a list, `-` does => - a: 1",
                "4:1 `\\-` does not begin an item of a list, `-` does => - c",
            ],
        ),
        (
            "a:\n\tb: 1\n\tc: 2\n",
            vec![
                "2:1 a tab in the indentation: YAML allows only spaces there => spaces, as many as the lines beside it have",
                "3:1 a tab in the indentation: YAML allows only spaces there => spaces, as many as the lines beside it have",
            ],
        ),
        (
            "a: 1\nb: 2\na: 3\n",
            vec!["3:1 the key \"a\" stands twice in one mapping => -"],
        ),
        (
            "x: [1\n---\ny: 1\n---\nz: 'open\n",
            vec![
                "1:4 unclosed bracket '[' => -",
                "6:1 invalid indentation in multiline quoted scalar => -",
            ],
        ),
    ] {
        assert_eq!(mistakes(text), expected, "{text:?}");
    }
}

#[test]
fn valid_documents_have_no_slips() {
    for text in [
        "a: --flag\nb: |\n  policyTypes [x]\n  -- x\n  \\- y\n  \tz\n",
        "a: some text\n  kind Pod\n",
        "args: [--, '--', \"\\\\-\"]\n",
        "args:\n- --verbose\n- -- \n",
        "a: \u{201c}quoted\u{201d}\n",
    ] {
        assert_eq!(mistakes(text), Vec::<String>::new(), "{text:?}");
    }
}

#[derive(Debug, PartialEq, Deserialize)]
struct Outer {
    name: String,
    #[serde(default)]
    count: Option<i32>,
    #[serde(default)]
    items: Vec<Inner>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    mode: Option<Mode>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Inner {
    port: u16,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Nftables,
    Iptables,
}

#[test]
fn decoding_finds_every_problem_in_one_go() {
    let text = "\
name: 5
cuont: 1
count: \"7\"
items:
- port: 99999
- prot: 1
  port: 80
- {port: x}
labels: {a: true, b: ok}
mode: iptable
";
    let (value, problems) = decode::<Outer>(&Source::new("t", text).parse().documents[0]);
    assert_eq!(value, None);
    let print = |problem: &Problem| {
        let Position { line, column } = problem.position;
        let meant = problem.meant.as_deref().unwrap_or("-");
        format!("{line}:{column} {} => {meant}", problem.what)
    };
    let found: Vec<String> = problems.iter().map(print).collect();
    assert_eq!(
        found,
        [
            "1:7 name: a number, where a text is expected => \"5\", in quotes",
            "2:1 unknown field \"cuont\" => count",
            "3:8 count: the text \"7\", where a number is expected => 7, without quotes",
            "5:9 items[0].port: invalid value: integer `99999`, expected u16 => -",
            "6:3 unknown field \"prot\" => port",
            "8:10 items[2].port: the text \"x\", where a number is expected => -",
            "9:13 labels.a: a truth value, where a text is expected => \"true\", in quotes",
            "10:7 mode: \"iptable\" is not one of nftables, iptables => iptables",
        ]
    );
}

#[test]
fn what_is_right_is_decoded() {
    let text = "name: x\ncount:\nitems: [{port: 80}]\nlabels: {a: b}\nmode: nftables\n";
    let (value, problems) = decode::<Outer>(&Source::new("t", text).parse().documents[0]);
    assert_eq!(problems, []);
    let expected = Outer {
        name: "x".to_owned(),
        count: None,
        items: vec![Inner { port: 80 }],
        labels: [("a".to_owned(), "b".to_owned())].into(),
        mode: Some(Mode::Nftables),
    };
    assert_eq!(value, Some(expected));
}
