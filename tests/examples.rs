//! Every folder of `rules-examples/` is correct and does what its `expected.jsonl` says, by the shipped binary.

mod support;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value as Json;
use support::{repository, sluice};

fn folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository().join("rules-examples")).expect("the examples");
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn lines(path: PathBuf) -> Vec<Json> {
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

/// Runs `sluice eval` with one event on its input.
fn eval(sql: &str, event: &Json) -> Json {
    let mut child = sluice()
        .args(["eval", "--sql", sql])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("eval starts");
    writeln!(child.stdin.take().expect("a pipe"), "{event}").expect("written");
    let output = child.wait_with_output().expect("eval ends");
    serde_json::from_slice(&output.stdout).expect("one JSON line")
}

#[test]
fn every_example_passes_the_check() {
    assert!(folders().len() >= 6);
    for folder in folders() {
        let output = sluice().arg("check").arg(&folder).output().expect("check runs");
        let said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}\n{said}", folder.display());
    }
}

#[test]
fn every_rule_makes_the_rows_that_are_expected() {
    for folder in folders() {
        let text = std::fs::read_to_string(folder.join("rules.toml")).expect("rules.toml");
        let rules: toml::Table = text.parse().expect("TOML");
        let events = lines(folder.join("events.jsonl"));
        let expected = lines(folder.join("expected.jsonl"));
        let rule_count = rules["rules"].as_table().expect("rules").len();
        assert_eq!(
            expected.len(),
            rule_count * events.len(),
            "{}: each rule with each event",
            folder.display()
        );
        for line in &expected {
            let rule = line["rule"].as_str().expect("a rule");
            let number = line["event"].as_u64().expect("a number") as usize;
            let sql = rules["rules"][rule]["sql"].as_str().expect("SQL");
            let result = eval(sql, &events[number - 1]);
            assert_eq!(
                result["output"],
                line["output"],
                "{} {rule} event {number}: {result}",
                folder.display()
            );
        }
    }
}
