//! Every folder of `rules-examples/` is correct and does what its `expected.jsonl` says, by the shipped binary; and
//! `sluice test` shows where rows are not those expected.

mod support;

use std::path::{Path, PathBuf};
use std::process::Output;

use support::{repository, sluice};

fn folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository().join("rules-examples")).expect("the examples");
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn test(path: &Path, options: &[&str]) -> Output {
    sluice().arg("test").args(options).arg(path).output().expect("test runs")
}

/// A folder with one rule and two events, and the given expectations.
fn folder(expected: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    write(
        "rules.toml",
        "[rules.hot]\nsql = '''SELECT payload.t AS temp.value, clientid FROM \"a/#\" WHERE payload.t > 1'''\n",
    );
    write(
        "events.jsonl",
        "{\"event\":\"message.publish\",\"topic\":\"a/1\",\"clientid\":\"c\",\"payload\":\"{\\\"t\\\":2}\"}\n\
         {\"event\":\"message.publish\",\"topic\":\"a/1\",\"clientid\":\"c\",\"payload\":\"-\"}\n",
    );
    write("expected.jsonl", expected);
    folder
}

/// Compares what `sluice test` says of the folder, without the folder's own line and the last one.
#[track_caller]
fn check(expected: &str, status: i32, want: &str) {
    let folder = folder(expected);
    let output = test(folder.path(), &[]);
    let said =
        String::from_utf8_lossy(&output.stdout).replace(&format!("{}", folder.path().display()), "DIR");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}{errors}");
    let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
    assert_eq!(lines[1..lines.len() - 1].join("\n"), want, "{said}{errors}");
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
    let output = test(&repository().join("rules-examples"), &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for folder in folders() {
        assert!(said.contains(&format!("ok   {}", folder.display())), "{said}");
    }
}

#[test]
fn a_wrong_expectation_shows_field_and_values() {
    check(
        "{\"rule\":\"hot\",\"event\":1,\"output\":[{\"temp\":{\"value\":3},\"clientid\":\"c\"}]}\n\
         {\"rule\":\"hot\",\"event\":2,\"error\":\"not JSON\"}\n",
        1,
        "     rule `hot`, event 1 (expected.jsonl:1):\n       row 1, temp.value: expected 3, found 2",
    );
}

#[test]
fn what_no_line_names_is_to_give_no_rows() {
    check(
        "",
        1,
        "     rule `hot`, event 1 (not in expected.jsonl, so without rows):\n       \
         row 1: expected no row, found {\"temp\":{\"value\":2},\"clientid\":\"c\"}\n     \
         rule `hot`, event 2 (not in expected.jsonl, so without rows):\n       \
         expected no rows, found the error: line 1, column 8, SELECT field 1: the payload is not JSON: \
         not JSON: EOF while parsing a value at line 1 column 1",
    );
}

#[test]
fn a_line_that_is_no_expectation_is_refused_with_its_place() {
    check(
        "{\"rule\":\"hto\",\"event\":1,\"output\":[]}\n{\"rule\":\"hot\",\"event\":3,\"output\":[]}\n",
        1,
        "     DIR/expected.jsonl:1: no rule `hto` in this folder, which has `hot`\n     \
         DIR/expected.jsonl:2: `event`: expected a number from 1 to 2",
    );
}

#[test]
fn what_rules_give_can_be_accepted() {
    let folder = folder("");
    assert!(test(folder.path(), &["--accept"]).status.success());
    let written = std::fs::read_to_string(folder.path().join("expected.jsonl")).expect("written");
    assert!(
        written.starts_with(
            "{\"rule\":\"hot\",\"event\":1,\"output\":[{\"temp\":{\"value\":2},\"clientid\":\"c\"}]}\n"
        ),
        "{written}"
    );
    assert!(test(folder.path(), &[]).status.success());
}

#[test]
fn a_folder_without_events_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = test(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("has no rule folder"));
}
