//! Kills and full disks. The server's side runs in a process of its own: this
//! test binary again, with one of the ignored tests below.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use podway_apiserver::store::Store;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const FOLDER: &str = "PODWAY_TEST_STORE";
const WRITERS: usize = 8;

fn object(name: &str, data: &str) -> Value {
    json!({ "metadata": { "namespace": "a", "name": name }, "data": data })
}

fn folder() -> PathBuf {
    std::env::var_os(FOLDER)
        .expect("started by its parent test")
        .into()
}

/// This binary, running one ignored test.
fn child(test: &str, dir: &Path, before: &[&str]) -> Child {
    let binary = std::env::current_exe().unwrap();
    let mut words: Vec<std::ffi::OsString> = before.iter().map(Into::into).collect();
    words.push(binary.into());
    words.extend(["--exact", test, "--ignored", "--nocapture"].map(Into::into));
    Command::new(&words[0])
        .args(&words[1..])
        .env(FOLDER, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn stored(dir: &Path) -> BTreeMap<String, String> {
    let store = Store::open(dir, 10).unwrap();
    let objects = store.read();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    objects
        .list("configmaps", None)
        .map(|object| (object.name().to_owned(), text(&object.value()["data"])))
        .collect()
}

#[test]
fn no_acknowledged_write_is_lost_by_a_kill() {
    kill_again_and_again(20);
}

#[test]
#[ignore = "takes minutes: run it after changes of the store"]
fn no_acknowledged_write_is_lost_by_a_thousand_kills() {
    kill_again_and_again(1000);
}

fn kill_again_and_again(kills: usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..kills {
        let mut writer = child("durability::writes_until_killed", dir.path(), &[]);
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut lines = lines.map(Result::unwrap).filter_map(|line| {
            let (name, data) = line.strip_prefix("stored ")?.split_once(' ')?;
            Some((name.to_owned(), data.parse().unwrap()))
        });
        // Another length each time: the kill meets another moment of a commit.
        for (name, data) in lines.by_ref().take(50 + 37 * (round % 20)) {
            acknowledged.insert(name, data);
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        // What was acknowledged but still in the pipe counts as well.
        acknowledged.extend(lines);
        let stored = stored(dir.path());
        for (name, data) in &acknowledged {
            let found: Option<u64> = stored.get(name).map(|data| data.parse().unwrap());
            assert!(
                found >= Some(*data),
                "round {round}: {name} was acknowledged with {data}, found {found:?}"
            );
        }
    }
    assert!(acknowledged.len() >= WRITERS, "{acknowledged:?}");
}

#[test]
#[ignore = "the other side of no_acknowledged_write_is_lost_by_a_kill"]
fn writes_until_killed() {
    let runtime = Runtime::new().unwrap();
    let store = Store::open(&folder(), 10).unwrap();
    runtime.block_on(async {
        let first = store.read().revision();
        let writers = (0..WRITERS).map(|writer| {
            let store = store.clone();
            async move {
                for count in first.. {
                    let name = format!("w{writer}-{}", count % 10);
                    let value = object(&name, &count.to_string());
                    store
                        .write(move |tx| Ok(tx.put("configmaps", value)))
                        .await
                        .unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "stored {name} {count}").unwrap();
                    out.flush().unwrap();
                }
            }
        });
        futures_util::future::join_all(writers).await;
    });
}

#[test]
fn a_full_disk_is_an_error_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mount = format!(
        "mount -t tmpfs -o size=3m podway-test {} && exec \"$@\"",
        dir.path().display()
    );
    // The mount is seen by the child alone and ends with it.
    let before = ["unshare", "--mount", "sh", "-c", mount.as_str(), "sh"];
    let output = child("durability::fills_its_disk", dir.path(), &before)
        .wait_with_output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "needs root, for the mount\n{text}");
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "the other side of a_full_disk_is_an_error_and_nothing_else"]
fn fills_its_disk() {
    let dir = folder();
    let runtime = Runtime::new().unwrap();
    let store = Store::open(&dir, 10).unwrap();
    let put = |name: String| {
        let value = object(&name, &"x".repeat(100_000));
        runtime.block_on(store.write(move |tx| Ok(tx.put("configmaps", value))))
    };
    let mut names = Vec::new();
    let refused = loop {
        let name = format!("n{:03}", names.len());
        match put(name.clone()) {
            Ok(_) => names.push(name),
            Err(status) => break status,
        }
        assert!(names.len() < 100, "3 MB took 10 MB");
    };
    assert_eq!(refused.code, 500);
    assert!(refused.message.contains("is the disk full?"), "{refused}");
    let in_memory = || -> Vec<String> {
        let objects = store.read();
        let listed = objects.list("configmaps", None);
        listed.map(|object| object.name().to_owned()).collect()
    };
    assert_eq!(in_memory(), names);
    let revision = store.read().revision();
    assert!(put("again".to_owned()).is_err());
    assert_eq!(
        (in_memory(), store.read().revision()),
        (names.clone(), revision)
    );
    let grown = Command::new("mount")
        .args(["-o", "remount,size=30m"])
        .arg(&dir)
        .status()
        .unwrap();
    assert!(grown.success());
    let next = put("zzz".to_owned()).expect("there is room again");
    assert_eq!(next.revision(), revision + 1);
    names.push("zzz".to_owned());
    drop(store);
    let found = Store::open(&dir, 10).unwrap();
    let objects = found.read();
    let listed = objects.list("configmaps", None);
    let stored: Vec<String> = listed.map(|object| object.name().to_owned()).collect();
    assert_eq!(stored, names);
}
