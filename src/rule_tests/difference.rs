//! How the rows of a rule differ from those expected, field by field.

use engine_event::{Map, Value};
use engine_sql::tagged_json;

/// Characters of a value that are shown.
const SHOWN_CHARS_MAX: usize = 200;

/// Differences that are shown of one evaluation.
const SHOWN_MAX: usize = 20;

/// A line for each place where `found` is not `expected`.
pub(super) fn of_rows(expected: &[Value], found: &[Value]) -> Vec<String> {
    let mut lines = Vec::new();
    for row in 0..expected.len().max(found.len()) {
        let place = format!("row {}", row + 1);
        match (expected.get(row), found.get(row)) {
            (Some(expected), Some(found)) => compare(&place, Some(expected), Some(found), &mut lines),
            (Some(expected), None) => {
                lines.push(format!("{place}: expected {}, found no row", shown(expected)));
            }
            (None, Some(found)) => lines.push(format!("{place}: expected no row, found {}", shown(found))),
            (None, None) => {}
        }
    }
    if lines.len() > SHOWN_MAX {
        let more = lines.len() - SHOWN_MAX;
        lines.truncate(SHOWN_MAX);
        lines.push(format!("and {more} more"));
    }
    lines
}

fn compare(place: &str, expected: Option<&Value>, found: Option<&Value>, lines: &mut Vec<String>) {
    match (expected, found) {
        (Some(expected), Some(found)) if expected == found => {}
        (Some(Value::Map(expected)), Some(Value::Map(found))) => compare_maps(place, expected, found, lines),
        (Some(Value::Array(expected)), Some(Value::Array(found))) if expected.len() == found.len() => {
            for (index, (expected, found)) in expected.iter().zip(found.iter()).enumerate() {
                compare(&format!("{place}[{}]", index + 1), Some(expected), Some(found), lines);
            }
        }
        (expected, found) => {
            let side = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), shown);
            lines.push(format!("{place}: expected {}, found {}", side(expected), side(found)));
        }
    }
}

fn compare_maps(place: &str, expected: &Map, found: &Map, lines: &mut Vec<String>) {
    let added = found.keys().filter(|key| !expected.contains_key(key));
    for key in expected.keys().chain(added) {
        // the first field follows the number of the row, the next ones are steps of a path
        let separator = if place.starts_with("row ") && !place.contains(", ") { ", " } else { "." };
        compare(&format!("{place}{separator}{key}"), expected.get(key), found.get(key), lines);
    }
}

fn shown(value: &Value) -> String {
    if value.is_undefined() {
        return "undefined".to_owned();
    }
    let json = tagged_json(value);
    match json.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &json[..end]),
        None => json,
    }
}

#[cfg(test)]
mod tests {
    use engine_sql::from_tagged_json;

    use super::*;

    #[track_caller]
    fn check(expected: &str, found: &str, want: &[&str]) {
        let rows = |json: &str| match from_tagged_json(json).expect("JSON") {
            Value::Array(rows) => rows.to_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!(of_rows(&rows(expected), &rows(found)), want);
    }

    #[test]
    fn equal_rows_differ_nowhere() {
        check(r#"[{"a":1,"b":[1.0]}]"#, r#"[{"b":[1.0],"a":1}]"#, &[]);
    }

    #[test]
    fn each_field_is_named_with_both_values() {
        check(
            r#"[{"a":1,"m":{"x":[1,{"y":"old"}]},"gone":null}]"#,
            r#"[{"a":1.0,"m":{"x":[1,{"y":"new"}]},"new":{"$undefined":true}}]"#,
            &[
                "row 1, a: expected 1, found 1.0",
                r#"row 1, m.x[2].y: expected "old", found "new""#,
                "row 1, gone: expected null, found nothing",
                "row 1, new: expected nothing, found undefined",
            ],
        );
    }

    #[test]
    fn rows_that_are_missing_or_too_many() {
        check("[{\"a\":1}]", "[]", &["row 1: expected {\"a\":1}, found no row"]);
        check("[]", "[{\"a\":1}]", &["row 1: expected no row, found {\"a\":1}"]);
    }
}
