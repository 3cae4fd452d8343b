//! Questions about a small cluster (`explain/cluster.rs`): their verdicts as a
//! table, their sentences and JSON as golden files.

mod cluster;

use podway_model::Protocol;
use podway_plan::explain::{Answer, Explainer, Question, Verdict};

use cluster::cluster;

fn question(from: &str, to: &str, port: u16, protocol: Protocol, node: Option<&str>) -> Question {
    Question {
        from: from.to_owned(),
        to: to.to_owned(),
        port,
        protocol,
        node: node.map(str::to_owned),
    }
}

/// `FROM > TO PORT[/PROTOCOL] [@NODE]`.
fn parse(text: &str) -> Question {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (from, to, port, node) = match words[..] {
        [from, ">", to, port] => (from, to, port, None),
        [from, ">", to, port, node] => (from, to, port, node.strip_prefix('@')),
        _ => panic!("`{text}` is not FROM > TO PORT[/PROTOCOL] [@NODE]"),
    };
    let (port, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let protocol = Protocol::parse(protocol).unwrap_or_else(|| panic!("protocol of `{text}`"));
    question(from, to, port.parse().expect("a port"), protocol, node)
}

/// `verdict service [M]: endpoint=verdict(egress,ingress) ...`.
fn outcome(answer: &Answer) -> String {
    let mut text = answer.verdict.to_string();
    if let Some(service) = &answer.service {
        text.push_str(&format!(" {service}"));
    }
    if answer.masquerade {
        text.push_str(" M");
    }
    for endpoint in &answer.endpoints {
        let who = endpoint
            .pod
            .clone()
            .unwrap_or_else(|| endpoint.address.to_string());
        text.push_str(&format!(" {who}"));
        if answer.verdict == Verdict::Mixed {
            text.push_str(&format!("={}", endpoint.verdict));
        }
    }
    text
}

#[test]
fn every_question_has_its_answer() {
    let mut explainer = Explainer::new(cluster());
    let mut wrong = Vec::new();
    for (index, line) in include_str!("explain/questions.txt").lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some((text, expected)) = line.split_once('=') else {
            assert!(line.is_empty(), "line {}: no `=`: {line}", index + 1);
            continue;
        };
        let expected = expected.trim();
        let (answered, why) = match explainer.connect(&parse(text.trim())) {
            Ok(answer) => (outcome(&answer), answer.why),
            Err(error) => (format!("error: {error}"), Vec::new()),
        };
        if answered != expected {
            wrong.push(format!(
                "line {}: {}\n  answered: {answered}\n  expected: {expected}\n  {}",
                index + 1,
                text.trim(),
                why.join("\n  ")
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

macro_rules! golden {
    ($file:literal, $actual:expr) => {{
        let (actual, expected) = ($actual, include_str!(concat!("explain/", $file)));
        let (actual, expected) = (actual.trim_end(), expected.trim_end());
        assert!(
            actual == expected,
            "{} is not what comes out, which is:\n{actual}",
            $file
        );
    }};
}

#[test]
fn answers_read_well() {
    let mut explainer = Explainer::new(cluster());
    let text: String = include_str!("explain/questions.txt")
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .filter_map(|line| line.split_once('='))
        .filter_map(|(text, _)| explainer.connect(&parse(text.trim())).ok())
        .map(|answer| format!("{answer}\n"))
        .collect();
    golden!("answers.txt", text);
}

#[test]
fn answers_as_json_have_the_documented_shape() {
    let mut explainer = Explainer::new(cluster());
    let questions = [
        "x/a > svc:default/web 80",
        "x/a > 10.244.2.5 8080",
        "203.0.113.9 > 172.16.0.12 30010 @node2",
        "node:node1 > svc:default/web 80",
        "x/a > svc:default/empty 80",
        "x/a > fd00:10:96::10 80",
    ];
    let text: String = questions
        .iter()
        .map(|text| explainer.connect(&parse(text)).expect("an answer"))
        .map(|answer| serde_json::to_string(&answer).expect("JSON") + "\n")
        .collect();
    golden!("answers.jsonl", text);
}

#[test]
fn questions_are_read_as_flows_files_have_them() {
    let read = |text: &str| serde_json::from_str::<Question>(text).map_err(|e| e.to_string());
    let flow = r#"{"from":"x/a","to":"svc:default/web","port":80}"#;
    assert_eq!(
        read(flow),
        Ok(question("x/a", "svc:default/web", 80, Protocol::Tcp, None))
    );
    let flow = r#"{"from":"1.2.3.4","to":"5.6.7.8","port":53,"protocol":"UDP","node":"n1"}"#;
    assert_eq!(
        read(flow),
        Ok(question(
            "1.2.3.4",
            "5.6.7.8",
            53,
            Protocol::Udp,
            Some("n1")
        ))
    );
    for (flow, expected) in [
        (
            r#"{"from":"x/a","to":"x/b","port":80,"protocol":"icmp"}"#,
            "unknown protocol `icmp`: tcp, udp or sctp",
        ),
        (
            r#"{"from":"x/a","to":"x/b","port":80,"prot":"tcp"}"#,
            "unknown field `prot`",
        ),
        (r#"{"from":"x/a","port":80}"#, "missing field `to`"),
        (r#"{"from":"x/a","to":"x/b","port":70000}"#, "70000"),
    ] {
        let error = read(flow).expect_err(flow);
        assert!(error.contains(expected), "{flow}: {error}");
    }
}

#[test]
fn objects_read_well() {
    let mut explainer = Explainer::new(cluster());
    let mut text = String::new();
    for service in [
        "default/web",
        "default/lb",
        "default/empty",
        "default/headless",
    ] {
        text.push_str(&format!(
            "{}\n",
            explainer.service(service, None).expect(service)
        ));
    }
    for policy in ["default/web-ingress", "x/b-egress"] {
        text.push_str(&format!("{}\n", explainer.policy(policy).expect(policy)));
    }
    for pod in ["default/web-1", "x/b", "x/host", "x/done"] {
        text.push_str(&format!("{}\n", explainer.pod(pod).expect(pod)));
    }
    golden!("objects.txt", text);
}

#[test]
fn objects_that_do_not_exist_are_named_with_what_does() {
    let mut explainer = Explainer::new(cluster());
    let errors = [
        explainer
            .service("default/wep", None)
            .expect_err("no service")
            .to_string(),
        explainer
            .service("default/web", Some("node7"))
            .expect_err("no node")
            .to_string(),
        explainer
            .policy("x/nothing-like-it")
            .expect_err("no policy")
            .to_string(),
        explainer.pod("web-1").expect_err("no name").to_string(),
    ];
    assert_eq!(
        errors,
        [
            "no service default/wep; did you mean default/web?",
            "no node node7; did you mean node1 or node2 or node3?",
            "no policy x/nothing-like-it; there is x/b-egress",
            "`web-1` names no object: write NAMESPACE/NAME",
        ]
    );
}
