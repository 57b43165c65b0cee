use engine_event::{Event, Text, decode_json};
use proptest::prelude::*;

use crate::functions::FixedContext;
use crate::{Env, EvalError, Plan, Projection, Rows, RuleSet};

use super::{Outcome, random, run};

const RULE_ID: &str = "r1";

/// Functions see the columns of the event.
fn context(event: &Event) -> FixedContext {
    let mut context = FixedContext::new();
    context.columns = event.columns();
    context
}

/// What a plan gave, in the words of the interpreter.
fn outcome(result: &Result<Rows, EvalError>) -> Result<Outcome, String> {
    match result {
        Ok(rows) if rows.is_filtered() => Ok(Outcome::Filtered),
        Ok(rows) => Ok(Outcome::Rows(rows.to_vec())),
        Err(error) => Err(error.to_string()),
    }
}

/// Same rows, or both failed.
fn is_same(got: &Result<Outcome, String>, want: &Result<Outcome, String>) -> bool {
    match (got, want) {
        (Ok(got), Ok(want)) => got == want,
        (Err(_), Err(_)) => true,
        _ => false,
    }
}

/// Runs a rule on an event in each way that the server does, and compares with the interpreter.
fn compare(sql: &str, event: &Event) -> Result<(), String> {
    let plan = Plan::compile(sql).map_err(|errors| format!("{sql}\n{errors}"))?;
    let other =
        Plan::compile("SELECT payload.l[1], payload.a FROM \"#\" WHERE payload.b = 1").expect("a rule");
    let rule_id = Text::from(RULE_ID);
    let want = run(plan.rule(), event, Some(RULE_ID), &context(event));
    let check = |way: &str, got: &Result<Outcome, String>| {
        if is_same(got, &want) {
            return Ok(());
        }
        let payload = event.column_named("payload");
        Err(format!(
            "{sql}\npayload {payload:?}, qos {:?}\n{way}: {got:?}\nexpected: {want:?}",
            event.column_named("qos")
        ))
    };
    let fresh = context(event);
    let env = Env { rule_id: Some(&rule_id), context: &fresh };
    check("alone", &outcome(&plan.run(event, &env)))?;
    let fresh = context(event);
    let env = Env { rule_id: Some(&rule_id), context: &fresh };
    let projection = Projection::union(&[&other, &plan]);
    let slots = projection.run(event);
    check("beside another", &outcome(&plan.run_projected(event, projection.slots_of(1, &slots), &env)))?;
    let set = RuleSet::new(&[&other, &plan], true);
    let slots = set.read(event);
    if !set.candidates(event, &slots).into_iter().any(|place| place == 1) {
        let without_rows = matches!(&want, Ok(Outcome::Filtered)) || want == Ok(Outcome::Rows(Vec::new()));
        return if without_rows { Ok(()) } else { check("not among the candidates", &Ok(Outcome::Filtered)) };
    }
    Ok(())
}

fn message(payload: &str) -> Event {
    let columns = decode_json(
        br#"{"event":"message.publish","topic":"t/1","clientid":"1","qos":1,"flags":{"retain":true}}"#,
    );
    let Ok(engine_event::Value::Map(mut columns)) = columns else { panic!("a map") };
    columns.insert("payload", payload);
    Event::from_columns(columns)
}

#[test]
fn plans_and_interpreter_agree_on_the_conformance_sets() {
    let lines = ["rule-sql", "rule-sql-extensions"].map(|set| {
        let path = format!("{}/../../tests/conformance/{set}.jsonl", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("the conformance set is part of the repository")
    });
    let lines = lines.concat();
    let mut compared = 0;
    for line in lines.lines().filter(|line| !line.trim().is_empty()) {
        let Ok(engine_event::Value::Map(case)) = crate::from_tagged_json(line) else { panic!("{line}") };
        let (Some(sql), Some(engine_event::Value::Map(columns))) = (case.get("sql"), case.get("event"))
        else {
            continue;
        };
        let sql = sql.as_text().expect("a text").to_string();
        let event = Event::from_columns(columns.clone());
        let Ok(plan) = Plan::compile(&sql) else { continue };
        let depends_on_chance =
            ["uuid", "random", "now", "date", "kv_", "proc_dict"].iter().any(|word| sql.contains(word));
        if plan.selects(&event) && !depends_on_chance {
            compare(&sql, &event).unwrap_or_else(|difference| panic!("{difference}"));
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
}

/// Rules that were once evaluated otherwise by plans than by the interpreter.
#[test]
fn differences_that_were_found_stay_away() {
    for (sql, payload) in [
        // what is not there has nothing below it, also when the index cannot be read
        ("SELECT nosuch[payload.a] AS x FROM \"#\"", "no JSON"),
        ("SELECT flags.nosuch[payload.a] AS x, 1 AS l[1], l[2][payload.a] AS y FROM \"#\"", "no JSON"),
    ] {
        compare(sql, &message(payload)).unwrap_or_else(|difference| panic!("{difference}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn plans_give_what_the_interpreter_gives(rule in random::rule(), event in random::event()) {
        compare(&rule.to_string(), &event).map_err(TestCaseError::fail)?;
    }

    /// A text that is nearly a rule is refused, or is a rule that runs like any other.
    #[test]
    fn damaged_rules_are_refused_or_run_alike(
        rule in random::rule(),
        event in random::event(),
        at in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        damage in 0..4,
    ) {
        let text = rule.to_string();
        let mut words: Vec<&str> = text.split_inclusive([' ', '.', '(', '[', ',']).collect();
        let (at, other) = (at.index(words.len()), other.index(words.len()));
        match damage {
            0 => { words.remove(at); }
            1 => words.insert(at, words[other]),
            2 => words.swap(at, other),
            _ => words.truncate(at),
        }
        let text = words.concat();
        if Plan::compile(&text).is_ok_and(|plan| plan.selects(&event)) {
            compare(&text, &event).map_err(TestCaseError::fail)?;
        }
    }

    #[test]
    fn any_text_is_refused_or_runs(text in "\\PC{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        for sql in [text.clone(), format!("SELECT {text} FROM \"#\""), format!("SELECT payload.a FROM \"#\" WHERE {text}")] {
            let mut columns = message("").columns();
            columns.insert("payload", Text::copy_from(&bytes));
            let event = Event::from_columns(columns);
            if Plan::compile(&sql).is_ok_and(|plan| plan.selects(&event)) {
                compare(&sql, &event).map_err(TestCaseError::fail)?;
            }
        }
    }
}
