//! A rule folder: rules in TOML files, `events.jsonl`, `expected.jsonl`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine_event::{Event, Map, Text, Value};
use engine_runtime::{EvaluatedRule, Evaluator, ObjectClass};
use engine_sql::{from_tagged_json, tagged_json};

use super::difference;
use crate::check::offline_engine;
use crate::clock::SystemClock;
use crate::rule_files;

/// The events that go in, one a line.
pub(super) const EVENTS: &str = "events.jsonl";

/// What each rule makes of each event.
const EXPECTED: &str = "expected.jsonl";

/// A rule folder that was read.
pub(super) struct Folder {
    rules: Vec<(String, EvaluatedRule)>,
    events: Vec<Event>,
    expected: Vec<Expectation>,
}

/// What a rule is to make of an event.
struct Expectation {
    /// Line of `expected.jsonl`.
    line: usize,
    /// Index of the rule.
    rule: usize,
    /// Index of the event.
    event: usize,
    result: Expected,
}

enum Expected {
    Rows(Vec<Value>),
    /// The run fails, and this is a part of the message.
    Error(String),
}

/// What came of a folder.
#[derive(Default)]
pub(super) struct Outcome {
    /// Evaluations: each rule with each event.
    pub(super) compared: usize,
    /// What is not as expected.
    pub(super) differences: Vec<String>,
}

impl Folder {
    /// Reads a folder.
    ///
    /// # Errors
    /// Everything that is wrong with its files, with its place.
    pub(super) fn read(path: &Path) -> Result<Self, Vec<String>> {
        let (rules, mut problems) = read_rules(path);
        let mut events = Vec::new();
        for (file, line, value) in read_lines(&path.join(EVENTS), &mut problems) {
            match value {
                Value::Map(columns) => events.push(Event::from_columns(columns)),
                other => {
                    problems.push(format!("{file}:{line}: expected an object, found {}", other.type_name()));
                }
            }
        }
        let mut expected: Vec<Expectation> = Vec::new();
        let has_expected = path.join(EXPECTED).exists();
        let lines = if has_expected { read_lines(&path.join(EXPECTED), &mut problems) } else { Vec::new() };
        for (file, line, value) in lines {
            match expectation(&value, line, &rules, events.len()) {
                Ok(new) => match expected.iter().find(|old| (old.rule, old.event) == (new.rule, new.event)) {
                    Some(old) => problems.push(format!("{file}:{line}: line {} says it already", old.line)),
                    None => expected.push(new),
                },
                Err(problem) => problems.push(format!("{file}:{line}: {problem}")),
            }
        }
        if problems.is_empty() { Ok(Self { rules, events, expected }) } else { Err(problems) }
    }

    /// Runs every rule on every event and compares. What no line names is to give no rows.
    pub(super) fn compare(&self) -> Outcome {
        let mut outcome = Outcome::default();
        self.each(|rule, event, result| {
            outcome.compared += 1;
            let expected = self.expected.iter().find(|entry| (entry.rule, entry.event) == (rule, event));
            let lines = differences(expected.map(|entry| &entry.result), &result);
            if lines.is_empty() {
                return;
            }
            let place = match expected {
                Some(entry) => format!("{EXPECTED}:{}", entry.line),
                None => format!("not in {EXPECTED}, so without rows"),
            };
            let head = format!("rule `{}`, event {} ({place}):", self.rules[rule].0, event + 1);
            outcome.differences.push(format!("{head}\n  {}", lines.join("\n  ")));
        });
        outcome
    }

    /// Runs every rule on every event and writes what they give as what is expected.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn accept(&self, path: &Path) -> Result<Outcome, Vec<String>> {
        let mut text = String::new();
        let mut outcome = Outcome::default();
        // rules one after the other read better than events one after the other
        let mut lines: Vec<Vec<String>> = vec![Vec::new(); self.rules.len()];
        self.each(|rule, event, result| {
            outcome.compared += 1;
            let mut line = Map::new();
            line.insert("rule", self.rules[rule].0.as_str());
            line.insert("event", (event + 1) as u64);
            match result {
                Ok(rows) => line.insert("output", Value::array(rows)),
                Err(error) => line.insert("error", error),
            };
            lines[rule].push(tagged_json(&Value::Map(line)));
        });
        for line in lines.iter().flatten() {
            text.push_str(line);
            text.push('\n');
        }
        let file = path.join(EXPECTED);
        match std::fs::write(&file, text) {
            Ok(()) => Ok(outcome),
            Err(error) => Err(vec![format!("cannot write `{}`: {error}", file.display())]),
        }
    }

    /// Runs every rule on every event, in the order of the events, as a server does.
    fn each(&self, mut visit: impl FnMut(usize, usize, Result<Vec<Value>, String>)) {
        let world = Evaluator::new(Arc::new(SystemClock));
        for (at, event) in self.events.iter().enumerate() {
            for (number, (_, rule)) in self.rules.iter().enumerate() {
                let result = match world.run(rule, event) {
                    Ok(rows) => Ok(rows.into_iter().flatten().map(Value::Map).collect()),
                    Err(error) => Err(error.to_string()),
                };
                visit(number, at, result);
            }
        }
    }
}

fn differences(expected: Option<&Expected>, result: &Result<Vec<Value>, String>) -> Vec<String> {
    match (expected, result) {
        (Some(Expected::Error(part)), Err(message)) if message.contains(part.as_str()) => Vec::new(),
        (Some(Expected::Error(part)), Err(message)) => {
            vec![format!("expected an error with `{part}`, found `{message}`")]
        }
        (Some(Expected::Error(part)), Ok(rows)) => {
            vec![format!(
                "expected an error with `{part}`, found {}",
                tagged_json(&Value::array(rows.clone()))
            )]
        }
        (Some(Expected::Rows(rows)), Err(message)) => {
            vec![format!("expected {}, found the error: {message}", tagged_json(&Value::array(rows.clone())))]
        }
        (None, Err(message)) => vec![format!("expected no rows, found the error: {message}")],
        (Some(Expected::Rows(expected)), Ok(found)) => difference::of_rows(expected, found),
        (None, Ok(found)) => difference::of_rows(&[], found),
    }
}

/// The rules of the folder's TOML files; their connectors and actions are checked too.
fn read_rules(path: &Path) -> (Vec<(String, EvaluatedRule)>, Vec<String>) {
    let files: Vec<PathBuf> = match rule_files::find(&[path.to_owned()]) {
        Ok(files) => files,
        Err(problem) => return (Vec::new(), vec![problem.to_string()]),
    };
    let read = rule_files::read(&offline_engine(), &files);
    let mut problems: Vec<String> = read.problems.iter().map(ToString::to_string).collect();
    let mut rules = Vec::new();
    for declared in read.objects.iter().filter(|declared| declared.object.class == ObjectClass::Rule) {
        let field = |name: &str| declared.object.config.get(name).and_then(|value| value.as_str());
        let (Some(id), Some(sql)) = (field("id"), field("sql")) else { continue };
        match EvaluatedRule::compile(id, sql) {
            Ok(rule) => rules.push((id.to_owned(), rule)),
            Err(error) => problems.push(error.to_string()),
        }
    }
    if rules.is_empty() && problems.is_empty() {
        problems.push(format!("no rule is declared in the `*.toml` files of `{}`", path.display()));
    }
    (rules, problems)
}

/// The lines of a file that are not empty, with the file's name and their numbers.
fn read_lines(path: &Path, problems: &mut Vec<String>) -> Vec<(String, usize, Value)> {
    let file = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(format!("cannot read `{file}`: {error}"));
            return Vec::new();
        }
    };
    let mut lines = Vec::new();
    // editors of some systems begin a file with this mark
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match from_tagged_json(line) {
            Ok(value) => lines.push((file.clone(), index + 1, value)),
            Err(error) => problems.push(format!("{file}:{}: {error}", index + 1)),
        }
    }
    lines
}

fn expectation(
    line: &Value,
    number: usize,
    rules: &[(String, EvaluatedRule)],
    events: usize,
) -> Result<Expectation, String> {
    let field = |name: &str| line.as_map().and_then(|line| line.get(name));
    let name = match field("rule").and_then(Value::as_text).and_then(Text::as_str) {
        Some(name) => name,
        None => {
            return Err("expected `{\"rule\": <id>, \"event\": <number>, \"output\": [<row>, …]}`".to_owned());
        }
    };
    let Some(rule) = rules.iter().position(|(id, _)| id == name) else {
        let known: Vec<_> = rules.iter().map(|(id, _)| format!("`{id}`")).collect();
        return Err(format!("no rule `{name}` in this folder, which has {}", known.join(", ")));
    };
    let event = match field("event") {
        Some(Value::Int(event)) => usize::try_from(*event).ok().filter(|event| (1..=events).contains(event)),
        _ => None,
    };
    let event = event.ok_or_else(|| format!("`event`: expected a number from 1 to {events}"))?;
    let result = match (field("output"), field("error")) {
        (Some(Value::Array(rows)), None) => Expected::Rows(rows.to_vec()),
        (None, Some(Value::Text(part))) => Expected::Error(part.to_string()),
        _ => {
            return Err(
                "expected `output` with an array of rows, or `error` with a part of its message".to_owned()
            );
        }
    };
    Ok(Expectation { line: number, rule, event: event - 1, result })
}
