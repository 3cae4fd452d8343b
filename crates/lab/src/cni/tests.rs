use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::*;

fn output(code: i32, stdout: &str, stderr: &str) -> Output {
    Output {
        status: ExitStatus::from_raw(code << 8),
        stdout: stdout.into(),
        stderr: stderr.into(),
    }
}

#[test]
fn answers_of_plugins_are_understood() {
    let error = r#"{"cniVersion":"1.0.0","code":11,"msg":"try again later","details":"no agent"}"#;
    let bare = r#"{"code":7,"msg":"bad config"}"#;
    for (command, output, expected) in [
        (
            "ADD",
            output(0, r#"{"ips":[]}"#, ""),
            Ok(json!({"ips": []})),
        ),
        (
            "ADD",
            output(0, "", ""),
            Err((None, "it printed no result")),
        ),
        ("DEL", output(0, "", ""), Ok(Value::Null)),
        (
            "ADD",
            output(1, error, ""),
            Err((Some(11), "try again later: no agent")),
        ),
        (
            "ADD",
            output(1, bare, "noise"),
            Err((Some(7), "bad config")),
        ),
        (
            "DEL",
            output(2, "", "panic\n"),
            Err((None, "exit status: 2: panic")),
        ),
    ] {
        let expected = expected.map_err(|(code, reason)| (code, reason.to_owned()));
        assert_eq!(
            understand(command, &output),
            expected,
            "{command} {output:?}"
        );
    }
}

#[test]
fn a_single_plugin_is_a_list_of_one_and_bad_lists_are_refused() {
    let single = Network::parse(r#"{"cniVersion":"1.0.0","name":"n","type":"bridge"}"#).unwrap();
    assert_eq!((single.plugins.len(), single.name.as_str()), (1, "n"));
    for bad in [
        "",
        "[]",
        r#"{"plugins":[]}"#,
        r#"{"name":"n","plugins":[{}]}"#,
        r#"{"name":"n","plugins":[{"type":"../sh"}]}"#,
        r#"{"name":"n","plugins":[{"type":""}]}"#,
    ] {
        assert!(Network::parse(bad).is_err(), "{bad} was accepted");
    }
}

/// A plugin that writes down how it was called and answers with `answer`.
fn plugin(folder: &Path, name: &str, answer: &str) {
    let path = folder.join(name);
    let script = format!(
        "#!/bin/sh\n\
         {{ printf '%s {name} ' \"$CNI_COMMAND\"; cat; echo; }} >> {}/calls\n\
         {answer}\n",
        folder.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn calls(folder: &Path) -> Vec<(String, Value)> {
    let calls = fs::read_to_string(folder.join("calls")).unwrap();
    let split = |line: &str| {
        let (call, input) = line.split_at(line.find('{').unwrap());
        let input: Value = serde_json::from_str(input).unwrap();
        (call.trim().to_owned(), input["prevResult"]["by"].clone())
    };
    calls.lines().map(split).collect()
}

fn chain() -> (Network, Attachment) {
    let network = Network::parse(
        r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"one"},{"type":"two"}]}"#,
    );
    let attachment = Attachment {
        container: "c1".to_owned(),
        namespace: "/nowhere".into(),
        args: "IgnoreUnknown=1".to_owned(),
    };
    (network.unwrap(), attachment)
}

#[tokio::test]
async fn a_chain_passes_results_on_and_is_taken_down_backwards() {
    let folder = tempfile::tempdir().unwrap();
    let (network, attachment) = chain();
    let ips =
        r#""ips":[{"address":"10.0.0.2/32"},{"address":"10.0.0.3/32"},{"address":"fd00::2/128"}]"#;
    plugin(folder.path(), "one", r#"echo '{"by":"one"}'"#);
    plugin(
        folder.path(),
        "two",
        &format!("echo '{{\"by\":\"two\",{ips}}}'"),
    );
    let programs = [folder.path().to_owned()];
    let attached = add(network, attachment, &programs).await.unwrap();
    let expected: [IpAddr; 2] = ["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
    assert_eq!(attached.addresses(), expected);
    delete(&attached, &programs).await.unwrap();
    let expected = [
        ("ADD one", Value::Null),
        ("ADD two", json!("one")),
        ("DEL two", json!("two")),
        ("DEL one", json!("two")),
    ];
    assert_eq!(
        calls(folder.path()),
        expected.map(|(call, by)| (call.to_owned(), by))
    );
}

#[tokio::test]
async fn a_failing_plugin_undoes_the_whole_chain() {
    let folder = tempfile::tempdir().unwrap();
    let (network, attachment) = chain();
    plugin(folder.path(), "one", r#"echo '{"by":"one"}'"#);
    plugin(
        folder.path(),
        "two",
        r#"echo '{"code":11,"msg":"not now"}'; exit 1"#,
    );
    let error = add(network, attachment, &[folder.path().to_owned()])
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("two") && text.contains("not now"), "{text}");
    let called: Vec<String> = calls(folder.path())
        .into_iter()
        .map(|(call, _)| call)
        .collect();
    assert_eq!(called, ["ADD one", "ADD two", "DEL two", "DEL one"]);
}

#[tokio::test]
async fn a_missing_plugin_is_named_with_the_folders_searched() {
    let folder = tempfile::tempdir().unwrap();
    let (network, attachment) = chain();
    let error = add(network, attachment, &[folder.path().to_owned()])
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("one") && text.contains(&folder.path().display().to_string()),
        "{text}"
    );
}
