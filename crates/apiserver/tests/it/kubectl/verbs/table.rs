//! The table of verbs and versions in docs/kubectl.md.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use super::VERBS;

const BEGIN: &str = "<!-- verbs: written by a test -->\n";
const END: &str = "<!-- end of verbs -->\n";

/// Where tests leave their outcomes; those of the lab's crate do as well.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("kubectl-verbs")
}

fn document() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/kubectl.md")
}

/// Notes what came of a verb with each kubectl.
pub(super) fn note(verb: &str, outcomes: &[(String, bool)]) {
    let mut text = String::new();
    for (program, well) in outcomes {
        let version = program.trim_start_matches("kubectl.");
        writeln!(text, "{version} {}", if *well { "pass" } else { "fail" }).unwrap();
    }
    fs::create_dir_all(folder()).unwrap();
    fs::write(folder().join(verb.replace(' ', "_")), text).unwrap();
}

#[test]
#[ignore = "writes docs/kubectl.md from what the other tests have noted"]
fn write_the_table() {
    let mut rows: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let verb = path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .replace('_', " ");
        for line in fs::read_to_string(&path).unwrap().lines() {
            let (version, outcome) = line.split_once(' ').unwrap();
            let row = rows.entry(verb.clone()).or_default();
            row.insert(version.to_owned(), outcome.to_owned());
        }
    }
    let versions: Vec<String> = rows.values().next().unwrap().keys().cloned().collect();
    let mut table = format!("| kubectl | {} |\n|---|", versions.join(" | "));
    table.push_str(&"---|".repeat(versions.len()));
    table.push('\n');
    for (verb, outcomes) in &rows {
        let cells = versions
            .iter()
            .map(|version| outcomes.get(version).map_or("-", |o| o));
        let cells: Vec<&str> = cells.collect();
        writeln!(table, "| {verb} | {} |", cells.join(" | ")).unwrap();
    }
    let text = fs::read_to_string(document()).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    fs::write(document(), format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
}

#[test]
fn every_verb_is_in_the_table_and_passes() {
    let text = fs::read_to_string(document()).unwrap();
    for verb in VERBS {
        let start = format!("| {} |", verb.name);
        let row = text.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("docs/kubectl.md lacks {}", verb.name));
        assert!(!row.contains("fail") && !row.contains("| - |"), "{row}");
    }
}
