//! Evaluating rules line by line: one JSON event in, one JSON result out.
//!
//! Values that JSON does not have are written with tags, in both directions: `{"$undefined": true}` and
//! `{"$bytes": "<hex>"}` for bytes that are not UTF-8. Integers and floats stay apart.

use engine_event::{
    Event, JsonError, JsonOptions, Map, Missing, Template, Text, UndefinedAs, Value, decode_json, encode_json,
};

use crate::functions::FunctionContext;
use crate::{Env, Plan, Rows};

/// Evaluates one line and returns one line, without a line end.
///
/// A line is
/// * an event, with all its columns: evaluated with `default_sql`;
/// * `{"sql": ..., "event": {...}}`: an event with its own rule;
/// * `{"template": ..., "data": {...}}`: a template to be rendered.
///
/// The result is `{"output": [...]}`; `{"matched": false, "output": []}` when FROM does not select the event;
/// `{"text": ...}` of a template; or `{"error": ..., "message": ...}`, where the error is `parse` for a text that is no
/// rule, `runtime` for a run that failed, and `input` for a line that is none of the above. An `id` of a line is
/// passed through.
pub fn eval_line(line: &str, default_sql: Option<&str>, context: &dyn FunctionContext) -> String {
    let (id, result) = match decode_json(line.as_bytes()) {
        Ok(Value::Map(line)) => {
            let line = untagged_map(&line);
            // only a line with a rule or template of its own has an id; else it is a column
            let own = is_case(&line) || is_template(&line);
            (line.get("id").filter(|_| own).cloned(), eval(&line, default_sql, context))
        }
        Ok(other) => {
            (None, Err(Failure::input(format!("expected a JSON object, found {}", other.type_name()))))
        }
        Err(error) => (None, Err(Failure::input(error.to_string()))),
    };
    let mut out = Map::new();
    if let Some(id) = id {
        out.insert("id", id);
    }
    match result {
        Ok(entries) => {
            for (key, value) in &entries {
                out.insert(key.clone(), value.clone());
            }
        }
        Err(failure) => {
            out.insert("error", Value::text(failure.kind));
            out.insert("message", failure.message);
        }
    }
    tagged_json(&Value::Map(out))
}

/// Writes a value as JSON, with tags for what JSON does not have.
pub fn tagged_json(value: &Value) -> String {
    let json = encode_json(&tagged(value), JsonOptions { undefined: UndefinedAs::Null });
    String::from_utf8(json).expect("JSON is UTF-8")
}

/// Reads JSON with tags for what it does not have.
///
/// # Errors
/// When the text is not JSON.
pub fn from_tagged_json(text: &str) -> Result<Value, JsonError> {
    decode_json(text.as_bytes()).map(|value| untagged(&value))
}

/// Why a line gives no result.
struct Failure {
    kind: &'static str,
    message: String,
}

impl Failure {
    fn input(message: impl Into<String>) -> Self {
        Self { kind: "input", message: message.into() }
    }
}

fn is_case(line: &Map) -> bool {
    matches!(line.get("event"), Some(Value::Map(_)))
}

fn is_template(line: &Map) -> bool {
    matches!(line.get("template"), Some(Value::Text(_))) && line.contains_key("data")
}

fn eval(line: &Map, default_sql: Option<&str>, context: &dyn FunctionContext) -> Result<Map, Failure> {
    match (line.get("event"), line.get("template"), line.get("data")) {
        (_, Some(Value::Text(template)), Some(data)) => render(template, data),
        (Some(Value::Map(event)), ..) => {
            let sql = match line.get("sql") {
                Some(Value::Text(sql)) => {
                    let no_rule = || Failure { kind: "parse", message: "the text is not UTF-8".to_owned() };
                    Some(sql.as_str().ok_or_else(no_rule)?)
                }
                _ => default_sql,
            };
            run(sql, event, context)
        }
        _ => run(default_sql, line, context),
    }
}

fn render(template: &Text, data: &Value) -> Result<Map, Failure> {
    let Value::Map(data) = data else {
        return Err(Failure::input(format!("`data`: expected an object, found {}", data.type_name())));
    };
    let text = Template::new(&template.to_str_lossy()).render(data, Missing::default());
    Ok([("text", Text::from(text))].into_iter().collect())
}

fn run(sql: Option<&str>, event: &Map, context: &dyn FunctionContext) -> Result<Map, Failure> {
    let Some(sql) = sql else {
        return Err(Failure::input("the line has no `sql` and none was given for all lines"));
    };
    let plan = Plan::compile(sql).map_err(|errors| Failure { kind: "parse", message: errors.to_string() })?;
    let event = Event::from_columns(event.clone());
    let mut out = Map::new();
    if !plan.selects(&event) {
        out.insert("matched", false);
        out.insert("output", Value::array(Vec::new()));
        return Ok(out);
    }
    let rows = plan
        .run(&event, &Env { rule_id: None, context })
        .map_err(|error| Failure { kind: "runtime", message: error.to_string() })?;
    out.insert("output", output(rows));
    Ok(out)
}

fn output(rows: Rows) -> Value {
    Value::array(rows.into_iter().map(Value::Map).collect())
}

/// Writes what JSON does not have as tagged objects.
fn tagged(value: &Value) -> Value {
    match value {
        Value::Undefined => Value::Map([("$undefined", true)].into_iter().collect()),
        Value::Text(text) if text.as_str().is_none() => {
            let hex: String = text.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            Value::Map([("$bytes", hex)].into_iter().collect())
        }
        Value::Array(items) => Value::array(items.iter().map(tagged).collect()),
        Value::Map(map) => Value::Map(map.iter().map(|(key, value)| (key.clone(), tagged(value))).collect()),
        _ => value.clone(),
    }
}

/// Reads tagged objects.
fn untagged(value: &Value) -> Value {
    match value {
        Value::Map(map) => {
            if let (1, Some(Value::Bool(true))) = (map.len(), map.get("$undefined")) {
                return Value::Undefined;
            }
            if let (1, Some(Value::Text(hex))) = (map.len(), map.get("$bytes"))
                && let Some(bytes) = from_hex(hex.as_bytes())
            {
                return Value::Text(bytes.into());
            }
            Value::Map(untagged_map(map))
        }
        Value::Array(items) => Value::array(items.iter().map(untagged).collect()),
        _ => value.clone(),
    }
}

fn untagged_map(map: &Map) -> Map {
    map.iter().map(|(key, value)| (key.clone(), untagged(value))).collect()
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::FixedContext;

    #[track_caller]
    fn check(line: &str, default_sql: Option<&str>, want: &str) {
        assert_eq!(eval_line(line, default_sql, &FixedContext::new()), want, "line: {line}");
    }

    #[test]
    fn events_run_through_the_default_rule() {
        let sql = Some(r#"SELECT payload.t AS t, nope FROM "a/#" WHERE t > 1"#);
        let event = |topic: &str, payload: &str| {
            format!(r#"{{"event":"message.publish","topic":"{topic}","id":"5","payload":"{payload}"}}"#)
        };
        check(&event("a/1", r#"{\"t\":2.0}"#), sql, r#"{"output":[{"t":2.0,"nope":{"$undefined":true}}]}"#);
        check(&event("a/1", r#"{\"t\":1}"#), sql, r#"{"output":[]}"#);
        check(&event("b", ""), sql, r#"{"matched":false,"output":[]}"#);
        check(
            &event("a/1", "-"),
            sql,
            r#"{"error":"runtime","message":"line 1, column 8, SELECT field 1: the payload is not JSON: not JSON: EOF while parsing a value at line 1 column 1"}"#,
        );
    }

    #[test]
    fn a_rule_that_is_not_utf_8_does_not_parse() {
        check(
            r#"{"sql":{"$bytes":"53ff"},"event":{"event":"message.publish","topic":"t"}}"#,
            None,
            r#"{"error":"parse","message":"the text is not UTF-8"}"#,
        );
    }

    #[test]
    fn lines_may_bring_their_own_rule_or_template() {
        check(
            r#"{"id":7,"sql":"SELECT payload AS p FROM t","event":{"event":"message.publish","topic":"t","payload":{"$bytes":"00ff"}}}"#,
            None,
            r#"{"id":7,"output":[{"p":{"$bytes":"00ff"}}]}"#,
        );
        check(r#"{"id":"x","template":"a${b}","data":{"b":1.0}}"#, None, r#"{"id":"x","text":"a1.0"}"#);
    }

    #[test]
    fn what_is_no_event_is_an_input_error() {
        check(
            r#"{"event":"message.publish"}"#,
            None,
            r#"{"error":"input","message":"the line has no `sql` and none was given for all lines"}"#,
        );
        check("[1]", None, r#"{"error":"input","message":"expected a JSON object, found array"}"#);
        check(
            r#"{"id":1,"sql":"SELECT","event":{}}"#,
            None,
            r#"{"id":1,"error":"parse","message":"line 1, column 7: expected a field of SELECT, found the end of the text\n  SELECT\n        ^"}"#,
        );
    }
}
