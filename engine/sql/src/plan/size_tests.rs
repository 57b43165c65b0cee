//! What a rule can build is bounded, and nothing is counted where it cannot grow.

use std::fmt::Write as _;

use engine_event::{Event, Map, Value};

use crate::functions::FixedContext;
use crate::{Env, Plan, Rows};

use super::ir::{Expr, FieldList, Program};

fn event(payload: &str) -> Event {
    let columns: Map =
        [("event", "message.publish"), ("topic", "t"), ("clientid", "c"), ("payload", payload)]
            .into_iter()
            .collect();
    Event::from_columns(columns)
}

fn run(sql: &str, payload: &str, context: &FixedContext) -> Result<Rows, String> {
    let plan = Plan::compile(sql).unwrap_or_else(|errors| panic!("{sql}\n{errors}"));
    let env = Env { rule_id: None, context };
    let event = event(payload);
    // looking at the parts does not take forever either
    plan.explain(&plan.explainer(), &event, &env);
    plan.run(&event, &env).map_err(|error| error.to_string())
}

/// `first AS f0, <next of f0> AS f1, ...`
fn chain(first: &str, length: usize, next: impl Fn(&str) -> String) -> String {
    let mut fields = format!("{first} AS f0");
    for at in 1..=length {
        write!(fields, ", {} AS f{at}", next(&format!("f{}", at - 1))).expect("a string takes all");
    }
    fields
}

#[track_caller]
fn check_fails(sql: &str, payload: &str, want: &str) {
    let result = run(sql, payload, &FixedContext::new()).map(|rows| rows.len());
    let error = result.expect_err(sql);
    assert!(error.contains(want), "{sql}\nexpected `{want}` in `{error}`");
}

#[test]
fn a_value_cannot_double_without_end() {
    for next in [
        "[x, x]",
        "map_put('a', x, map_put('b', x, map_new()))",
        "mput('a', x, mput('b', x, map_new()))",
        "[coalesce(x, x), [x]]",
        "[[x, CASE WHEN true THEN x END]]",
        "[x, 1, x]",
        "{a: x, b: {c: x}}",
        "json_decode(json_encode([x, x]))",
        "map_values(mput('a', x, mput('b', x, map_new())))",
    ] {
        let fields = chain("payload.l", 60, |before| next.replace('x', before));
        let elsewhere = [
            format!("SELECT {fields} FROM t WHERE length(f50) > 1"),
            format!("FOREACH {fields}, payload.l AS e DO e FROM t"),
            format!("FOREACH payload.l AS e DO {fields} FROM t"),
            format!("SELECT 1 AS w[1], {fields} FROM t"),
        ];
        let elsewhere = elsewhere.into_iter().filter(|_| next == "[x, x]");
        for sql in elsewhere.chain([format!("SELECT {fields} FROM t")]) {
            check_fails(&sql, r#"{"l":[1,2,3]}"#, "1000000 values");
        }
    }
}

#[test]
fn the_error_names_the_field_and_the_limit() {
    let fields = chain("payload.l", 25, |before| format!("[{before}, {before}]"));
    check_fails(
        &format!("SELECT\n{} FROM t", fields.replace(", f", ",\nf").replace(", [", ",\n[")),
        r#"{"l":[1,2,3]}"#,
        "line 37, column 1, SELECT field 19: the value has more than 1000000 values",
    );
    let copies = format!(
        "SELECT payload.l AS a{} FROM t",
        (0..200).fold(String::new(), |mut all, at| {
            write!(all, ", payload.l AS a{at}").expect("a string takes all");
            all
        })
    );
    let payload = format!("{{\"l\":[{}0]}}", "0,".repeat(9_999));
    check_fails(&copies, &payload, "SELECT field 100: the row has more than 1000000 values");
    let payload = format!("{{\"l\":\"{}\"}}", "x".repeat(1 << 20));
    check_fails(&copies, &payload, "SELECT field 65: the row has more than 64 MiB");
}

#[test]
fn a_value_written_into_itself_is_bounded() {
    let path = ".k".repeat(60);
    for fields in [
        chain("1", 40, |before| format!("[{before}, {before}] AS f[1].q, f")),
        format!("1 AS a{}", format!(", a AS a{path}").repeat(200)),
        format!("1 AS l[1]{}", ", l AS l[0], l AS l[0]".repeat(100)),
        format!("1 AS l[1]{}", ", l AS l.a".repeat(2000)),
    ] {
        let error = run(&format!("SELECT {fields} FROM t"), "{}", &FixedContext::new()).expect_err(&fields);
        assert!(error.contains("has more than"), "{error}");
    }
}

#[test]
fn a_value_cannot_nest_without_end() {
    let nested = |length| format!("SELECT {} FROM t", chain("1", length, |before| format!("[{before}]")));
    assert!(run(&nested(500), "", &FixedContext::new()).is_ok());
    // half of the stack that a thread of the server has
    let deep = move || {
        check_fails(&nested(5_000), "", "the value has more than 600 levels");
        let context = FixedContext::new();
        let grow = "SELECT kv_store_put('k', [kv_store_get('k')]) AS done FROM t";
        let errors = (0..2_000).filter_map(|_| run(grow, "", &context).err());
        let first = errors.take(1).next().expect("the store does not take everything");
        assert!(first.ends_with("the value has more than 600 levels"), "{first}");
        let fields = "proc_dict_put('k', [proc_dict_get('k')]), ".repeat(1_000);
        check_fails(&format!("SELECT {fields} 1 FROM t"), "", "the value has more than 600 levels");
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(deep).expect("a thread");
    thread.join().expect("the stack is large enough");
}

#[test]
fn all_that_is_made_of_one_event_is_bounded() {
    let numbers = format!("[{}0]", "0,".repeat(9_999));
    let many =
        format!("{{\"l\":{numbers},\"j\":\"{{\\\"a\\\":{numbers}}}\",\"s\":\"{}\"}}", "x".repeat(1_000_000));
    let limit = "what the rule makes of one event has more than 256 MiB";
    let each = "FOREACH payload.j AS j, payload.s AS s, payload.l AS e";
    for sql in [
        format!("{each} DO s || 'y' AS x FROM t"),
        format!("{each} DO concat(s, e) AS x FROM t"),
        format!("{each} DO s + 'y' || pad('z', 2000) AS x FROM t"),
        format!("{each} DO payload.l[1..-1] AS x FROM t"),
        format!("{each} DO sublist(10000, payload.l) AS x, json_decode(j) AS y FROM t"),
        format!("{each} DO j.a AS x FROM t"),
        format!("{each} DO e INCASE bytesize(concat(s, 1)) > 0 FROM t"),
        format!("SELECT payload.s AS s, 1 IN ({}1) AS x FROM t", "s || 'y', ".repeat(300)),
        format!("SELECT payload.s AS s, concat({}1) AS x FROM t", "s || 'y', ".repeat(300)),
    ] {
        check_fails(&sql, &many, limit);
    }
    // rows with many columns, of which each row has its own list
    let mut columns = event(&many).columns();
    for at in 0..2_000 {
        columns.insert(format!("column{at}"), Value::Int(at));
    }
    let plan = Plan::compile("FOREACH payload.l AS e FROM t").expect("a rule");
    let context = FixedContext::new();
    let result = plan.run(&Event::from_columns(columns), &Env { rule_id: None, context: &context });
    assert_eq!(result.map(|rows| rows.len()).map_err(|error| error.to_string()), Err(limit.to_owned()));
}

#[test]
fn what_is_shared_is_not_counted_as_made() {
    let payload = format!("{{\"l\":[{}0],\"s\":\"{}\"}}", "0,".repeat(4_999), "x".repeat(200_000));
    for sql in [
        "FOREACH payload.s AS s, payload.l AS e DO payload, s, e FROM t",
        "FOREACH payload.s AS s, payload.l AS e DO coalesce(s, 'x') AS s, coalesce(payload, s) AS p, e FROM t",
        "FOREACH payload.s AS s, payload.l AS e DO map_put('s', s, map_new()) AS s, [payload, s] AS a FROM t",
        "FOREACH payload.l AS e FROM t",
    ] {
        assert_eq!(run(sql, &payload, &FixedContext::new()).map(|rows| rows.len()), Ok(5_000), "{sql}");
    }
}

#[test]
fn long_lists_of_ranges_are_refused() {
    let ranges = |count: usize| format!("SELECT {}1 FROM t", "[1..10000] AS r, ".repeat(count));
    assert!(Plan::compile(&ranges(100)).is_ok());
    let error = Plan::compile(&ranges(101)).expect_err("too many").to_string();
    assert!(error.contains("the ranges of the statement have more than 1000000 integers"), "{error}");
}

/// Tells whether anything of a rule is counted while it runs.
fn is_counted(sql: &str) -> bool {
    fn within(expr: &mut Expr) -> bool {
        let mut found = matches!(expr, Expr::Counted(_));
        expr.each_child_mut(&mut |child| found |= within(child));
        found
    }
    fn of_list(list: &mut FieldList) -> bool {
        list.counted || list.fields.iter_mut().filter_map(|field| field.value.as_mut()).any(within)
    }
    let mut plan = Plan::compile(sql).unwrap_or_else(|errors| panic!("{sql}\n{errors}"));
    match &mut plan.program {
        Program::Select { fields, condition, .. } => {
            of_list(fields) || condition.as_mut().is_some_and(within)
        }
        Program::Foreach { fields, condition, each, incase, .. } => {
            let lists = of_list(fields) || each.as_mut().is_some_and(of_list);
            lists || condition.iter_mut().chain(incase).any(within)
        }
    }
}

#[test]
fn ordinary_rules_are_not_counted() {
    let fields: Vec<String> = (0..100).map(|at| format!("payload.sensors.temperature_{at}")).collect();
    let items: Vec<String> = (0..100).map(|at| format!("payload.v{at}")).collect();
    for sql in [
        r#"SELECT * FROM "t""#,
        r#"SELECT payload.temp as t, clientid FROM "s/#" WHERE payload.temp > 30"#,
        r#"FOREACH payload.d AS e DO e.n AS n, e.v AS v INCASE e.v > 20 FROM "s/#""#,
        r#"SELECT *, map_put('site', payload.site, payload.meta) AS meta, [qos, topic] AS l, payload.all AS a FROM t"#,
        r#"SELECT json_decode(payload) AS p, p.x AS x, jq('.l[]', payload) AS l, replace(topic, '/', '.') AS s FROM t"#,
        r#"SELECT upper(payload.site) AS site, nth(2, split(topic, '/')) AS hall, pad(payload.n, 8) AS n FROM t"#,
        r#"SELECT payload FROM t WHERE payload.x IN (1, 2, 3) AND contains(payload.y, [1..1000])"#,
        &format!("SELECT {} FROM t", fields.join(", ")),
        &format!("SELECT [{}] AS all, qos FROM t", items.join(", ")),
    ] {
        assert!(!is_counted(sql), "{sql}");
    }
    assert!(is_counted(&format!("SELECT {} FROM t", chain("payload", 8, |x| format!("[{x}, {x}]")))));
    assert_eq!(
        run("SELECT [[payload]] AS x FROM t", "p", &FixedContext::new())
            .map(|rows| rows[0].get("x").cloned()),
        Ok(Some(Value::array(vec![Value::array(vec![Value::text("p")])])))
    );
}
