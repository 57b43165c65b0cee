//! The whole conformance set of the rule language, and one of what we have beside it, through the same code as `sluice eval`.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use engine_event::{Map, Text, Value, decode_json, write_text_form};
use engine_sql::eval_line;
use engine_sql::functions::FixedContext;

/// Areas whose functions are not all there yet; a failure in them is reported and does not fail the test.
const EXPECTED_FAILURES: &[&str] = &["fn-jq"];

#[test]
fn the_conformance_set_passes() {
    pass("rule-sql.jsonl");
}

#[test]
fn the_extensions_pass_their_set() {
    pass("rule-sql-extensions.jsonl");
}

#[track_caller]
fn pass(set: &str) {
    let path = format!("{}/../../tests/conformance/{set}", env!("CARGO_MANIFEST_DIR"));
    let lines = std::fs::read_to_string(path).expect("the conformance set is part of the repository");
    let mut areas: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut failures = Vec::new();
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let case = map(line);
        let area = text(&case, "area");
        let count = areas.entry(area.clone()).or_default();
        count.1 += 1;
        match judge(&case, &map(&eval_line(line, None, &context()))) {
            Ok(()) => count.0 += 1,
            Err(why) if EXPECTED_FAILURES.contains(&area.as_str()) => {
                println!("expected failure {}: {why}", text(&case, "id"));
            }
            Err(why) => failures.push(format!("{}: {why}\n  {line}", text(&case, "id"))),
        }
    }
    for (area, (passed, all)) in &areas {
        println!("{area}: {passed} of {all}");
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

fn context() -> FixedContext {
    #[allow(clippy::disallowed_methods, reason = "a test is given the real time")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    let mut context = FixedContext::new();
    context.now_ns = i128::try_from(now.as_nanos()).expect("the clock is before 292277026596");
    context
}

fn judge(case: &Map, got: &Map) -> Result<(), String> {
    if let Some(id) = got.get("id")
        && case.get("id") != Some(id)
    {
        return Err("the id was not passed through".to_owned());
    }
    let shown = || {
        String::from_utf8_lossy(&engine_event::encode_json(&Value::Map(got.clone()), Default::default()))
            .into_owned()
    };
    if let Some(kind) = case.get("expect_error") {
        return if got.get("error") == Some(kind) {
            Ok(())
        } else {
            Err(format!("expected error, got {}", shown()))
        };
    }
    if let Some(want) = case.get("expect_text") {
        return if got.get("text") == Some(want) { Ok(()) } else { Err(format!("got {}", shown())) };
    }
    if case.get("matched") == Some(&Value::Bool(false)) && got.get("matched") != Some(&Value::Bool(false)) {
        return Err(format!("FROM should not match, got {}", shown()));
    }
    let Some(Value::Array(rows)) = got.get("output") else { return Err(format!("got {}", shown())) };
    if let Some(Value::Map(check)) = case.get("check") {
        let [Value::Map(row)] = rows.as_slice() else {
            return Err(format!("expected one row, got {}", shown()));
        };
        let mut form = Vec::new();
        write_text_form(row.get(text(check, "field")).unwrap_or(&Value::Undefined), &mut form);
        let form = String::from_utf8_lossy(&form).into_owned();
        let pattern = regex::Regex::new(&text(check, "regex")).expect("the pattern is sound");
        return if pattern.is_match(&form) { Ok(()) } else { Err(format!("got {form}")) };
    }
    let tolerance = match case.get("tolerance") {
        Some(Value::Float(tolerance)) => *tolerance,
        _ => 0.0,
    };
    let Some(Value::Array(want)) = case.get("expect") else {
        return Err("the case expects nothing".to_owned());
    };
    let same = want.len() == rows.len()
        && want.iter().zip(rows.iter()).all(|(want, got)| same_row(want, got, tolerance));
    if same { Ok(()) } else { Err(format!("got {}", shown())) }
}

/// A column `metadata` is ignored.
fn same_row(want: &Value, got: &Value, tolerance: f64) -> bool {
    let without = |value: &Value| match value {
        Value::Map(map) => {
            let mut map = map.clone();
            map.remove("metadata");
            Value::Map(map)
        }
        other => other.clone(),
    };
    same(&without(want), &without(got), tolerance)
}

fn same(want: &Value, got: &Value, tolerance: f64) -> bool {
    match (want, got) {
        (Value::Float(a), Value::Float(b)) => {
            let difference = (a - b).abs();
            difference <= tolerance || difference <= tolerance * a.abs()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b, tolerance))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b, tolerance)))
        }
        _ => want == got,
    }
}

#[track_caller]
fn map(line: &str) -> Map {
    match decode_json(line.as_bytes()) {
        Ok(Value::Map(map)) => map,
        other => panic!("{other:?}: {line}"),
    }
}

#[track_caller]
fn text(map: &Map, key: &str) -> String {
    map.get(key).and_then(Value::as_text).and_then(Text::as_str).expect("the entry is a text").to_owned()
}
