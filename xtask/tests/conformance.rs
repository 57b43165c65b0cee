//! The pages in `docs/conformance` say which tests prove which statement of the MQTT standards: here they are held to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A standard: where its page is, and how many statements each section has. They count from 1.
struct Standard {
    page: &'static str,
    sections: &'static [(&'static str, u32)],
    /// Numbers that the standard itself passes over.
    left_out: &'static [&'static str],
}

/// In the text of the standard 4.2.0-1 is called 4.2-1.
const MQTT_5_0: Standard = Standard {
    page: "docs/conformance/mqtt-5.0.md",
    sections: &[
        ("1.5.4", 3),
        ("1.5.5", 1),
        ("1.5.7", 1),
        ("2.1.3", 1),
        ("2.2.1", 6),
        ("2.2.2", 1),
        ("3.1.0", 2),
        ("3.1.2", 30),
        ("3.1.3", 12),
        ("3.1.4", 6),
        ("3.2.0", 2),
        ("3.2.2", 22),
        ("3.3.1", 13),
        ("3.3.2", 20),
        ("3.3.4", 10),
        ("3.4.2", 3),
        ("3.5.2", 3),
        ("3.6.1", 1),
        ("3.6.2", 3),
        ("3.7.2", 3),
        ("3.8.1", 1),
        ("3.8.3", 5),
        ("3.8.4", 8),
        ("3.9.2", 2),
        ("3.9.3", 2),
        ("3.10.1", 1),
        ("3.10.3", 2),
        ("3.10.4", 6),
        ("3.11.2", 2),
        ("3.11.3", 2),
        ("3.12.4", 1),
        ("3.14.0", 1),
        ("3.14.1", 1),
        ("3.14.2", 4),
        ("3.14.4", 3),
        ("3.15.1", 1),
        ("3.15.2", 3),
        ("4.1.0", 2),
        ("4.2.0", 1),
        ("4.3.1", 1),
        ("4.3.2", 5),
        ("4.3.3", 13),
        ("4.4.0", 2),
        ("4.5.0", 2),
        ("4.6.0", 6),
        ("4.7.0", 1),
        ("4.7.1", 2),
        ("4.7.2", 1),
        ("4.7.3", 4),
        ("4.8.2", 6),
        ("4.9.0", 3),
        ("4.12.0", 7),
        ("4.12.1", 2),
        ("4.13.1", 1),
        ("4.13.2", 1),
        ("6.0.0", 4),
    ],
    left_out: &["2.2.1-1"],
};

const MQTT_3_1_1: Standard = Standard {
    page: "docs/conformance/mqtt-3.1.1.md",
    sections: &[
        ("1.5.3", 3),
        ("2.2.2", 2),
        ("2.3.1", 7),
        ("3.1.0", 2),
        ("3.1.2", 24),
        ("3.1.3", 11),
        ("3.1.4", 5),
        ("3.2.0", 1),
        ("3.2.2", 6),
        ("3.3.1", 12),
        ("3.3.2", 3),
        ("3.3.4", 1),
        ("3.3.5", 2),
        ("3.6.1", 1),
        ("3.8.1", 1),
        ("3.8.3", 4),
        ("3.8.4", 6),
        ("3.9.3", 2),
        ("3.10.1", 1),
        ("3.10.3", 2),
        ("3.10.4", 6),
        ("3.12.4", 1),
        ("3.14.1", 1),
        ("3.14.4", 3),
        ("4.1.0", 2),
        ("4.3.1", 1),
        ("4.3.2", 2),
        ("4.3.3", 2),
        ("4.4.0", 1),
        ("4.5.0", 2),
        ("4.6.0", 6),
        ("4.7.1", 3),
        ("4.7.2", 1),
        ("4.7.3", 4),
        ("4.8.0", 2),
        ("6.0.0", 4),
        ("7.0.0", 2),
        ("7.1.1", 1),
        ("7.1.2", 1),
    ],
    left_out: &[],
};

/// A row of a page.
struct Row {
    statement: String,
    binds: String,
    meaning: String,
    tests: Vec<String>,
}

#[test]
fn every_statement_of_the_standards_is_listed_once_and_in_order() {
    for standard in [MQTT_5_0, MQTT_3_1_1] {
        let listed: Vec<String> = rows(&standard).into_iter().map(|row| row.statement).collect();
        let known = standard.statements();
        let missing: Vec<_> = known.iter().filter(|id| !listed.contains(id)).collect();
        let unknown: Vec<_> = listed.iter().filter(|id| !known.contains(id)).collect();
        assert!(missing.is_empty(), "{}: not listed: {missing:?}", standard.page);
        assert!(unknown.is_empty(), "{}: not in the standard: {unknown:?}", standard.page);
        let out_of_place = listed.iter().zip(&known).find(|(listed, known)| listed != known);
        assert!(
            out_of_place.is_none() && listed.len() == known.len(),
            "{}: out of order or twice: {out_of_place:?}",
            standard.page
        );
    }
}

#[test]
fn what_binds_the_server_has_a_test() {
    let mut wrong = Vec::new();
    for standard in [MQTT_5_0, MQTT_3_1_1] {
        for row in rows(&standard) {
            let is_complete = match row.binds.as_str() {
                "server" | "both" => !row.tests.is_empty(),
                "client" => true,
                "none" => row.tests.is_empty(),
                _ => false,
            };
            if !is_complete || row.meaning.is_empty() {
                wrong.push(format!("{} {}", standard.page, row.statement));
            }
        }
    }
    assert!(wrong.is_empty(), "rows without a meaning, a test, or with an unknown `binds`: {wrong:#?}");
}

#[test]
fn every_test_that_is_named_exists() {
    let mut sources = BTreeMap::new();
    let mut wrong = Vec::new();
    for standard in [MQTT_5_0, MQTT_3_1_1] {
        for row in rows(&standard) {
            for test in row.tests {
                if let Err(why) = find_test(&test, &mut sources) {
                    wrong.push(format!("{} {}: `{test}`: {why}", standard.page, row.statement));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "tests that do not exist: {wrong:#?}");
}

#[test]
fn the_number_of_statements_is_as_the_overview_says() {
    let overview = fs::read_to_string(root().join("docs/conformance/README.md")).expect("an overview");
    for standard in [MQTT_5_0, MQTT_3_1_1] {
        let count = standard.statements().len();
        let page = standard.page.rsplit('/').next().expect("a file");
        assert!(overview.contains(&format!("({page}), {count} statements")), "{page} has {count} statements");
    }
}

impl Standard {
    fn statements(&self) -> Vec<String> {
        let numbers = |(section, count): &(&str, u32)| -> Vec<String> {
            (1..=*count).map(|number| format!("{section}-{number}")).collect()
        };
        let all = self.sections.iter().flat_map(numbers);
        all.filter(|statement| !self.left_out.contains(&statement.as_str())).collect()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace").to_owned()
}

fn rows(standard: &Standard) -> Vec<Row> {
    let text = fs::read_to_string(root().join(standard.page)).expect(standard.page);
    let is_row =
        |line: &&str| line.starts_with("| ") && line[2..].starts_with(|first: char| first.is_ascii_digit());
    text.lines().filter(is_row).map(|line| row(standard.page, line)).collect()
}

fn row(page: &str, line: &str) -> Row {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [statement, binds, meaning, tests] = cells[..] else { panic!("{page}: not four cells: {line}") };
    let tests = tests.split("<br>").map(|test| test.trim_matches('`').to_owned());
    Row {
        statement: statement.to_owned(),
        binds: binds.to_owned(),
        meaning: meaning.to_owned(),
        tests: tests.filter(|test| test != "–").collect(),
    }
}

/// Looks for a test, `path::function`, in a source that is part of its crate.
fn find_test(test: &str, sources: &mut BTreeMap<PathBuf, Option<String>>) -> Result<(), &'static str> {
    let (path, function) = test.rsplit_once("::").ok_or("no path::function")?;
    let path = root().join(path);
    if !is_part_of_its_crate(&path) {
        return Err("no file of a crate");
    }
    let source = sources.entry(path.clone()).or_insert_with(|| fs::read_to_string(&path).ok());
    let source = source.as_ref().ok_or("no such file")?;
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let begins = |line: &&str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ")
            .and_then(|rest| rest.strip_prefix(function))
            .is_some_and(|rest| rest.starts_with('('))
    };
    let at = lines.iter().position(begins).ok_or("no such function")?;
    let is_above = |line: &&&str| line.starts_with("#[") || line.starts_with("//");
    let above: Vec<_> = lines[..at].iter().rev().take_while(is_above).collect();
    if !above.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test")) {
        return Err("not a test");
    }
    if above.iter().any(|line| line.starts_with("#[ignore")) {
        return Err("it is ignored");
    }
    Ok(())
}

/// Says whether a file is a test target of its own or a module that is named beside or above it.
fn is_part_of_its_crate(path: &Path) -> bool {
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem().and_then(|stem| stem.to_str())) else {
        return false;
    };
    if folder.ends_with("tests") {
        return true;
    }
    let declared = format!("mod {stem};");
    let names = |file: &str| fs::read_to_string(folder.join(file)).is_ok_and(|text| text.contains(&declared));
    ["main.rs", "lib.rs", "mod.rs"].into_iter().any(names)
}
