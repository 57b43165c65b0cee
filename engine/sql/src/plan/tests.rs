use engine_event::{
    Event, EventKind, JsonOptions, Map, PublishEvent, Text, UndefinedAs, Value, decode_json, encode_json,
};

use crate::functions::FixedContext;
use crate::{Env, Plan, Projection, Rows, Source};

fn publish(topic: &str, payload: &[u8]) -> Event {
    Event::from(PublishEvent {
        id: 5,
        client_id: "c-1".into(),
        username: None,
        peer: None,
        topic: topic.into(),
        payload: Text::copy_from(payload),
        qos: 1,
        retain: false,
        dup: false,
        properties: None,
        received_at_ms: 1_712_000_000_000,
        node: "n1".into(),
        client_attrs: Map::new(),
        hops: 0,
        republished_by: None,
    })
}

fn run(sql: &str, event: &Event) -> Result<Rows, String> {
    let plan = Plan::compile(sql).unwrap_or_else(|errors| panic!("{sql}\n{errors}"));
    let context = FixedContext::new();
    plan.run(event, &Env { rule_id: None, context: &context }).map_err(|error| error.to_string())
}

/// Rows as JSON, one a line; `filtered` when WHERE is false, or the error.
fn shown(result: Result<Rows, String>) -> String {
    match result {
        Ok(rows) if rows.is_filtered() => "filtered".to_owned(),
        Ok(rows) => {
            let options = JsonOptions { undefined: UndefinedAs::Text };
            let lines = rows.iter().map(|row| encode_json(&Value::Map(row.clone()), options));
            lines.map(|line| String::from_utf8(line).expect("JSON")).collect::<Vec<_>>().join("\n")
        }
        Err(error) => error,
    }
}

/// Runs a rule on a message with the topic `t/1`, the client `c-1` and QoS 1, once with its columns as fields and once
/// with its columns in a map.
#[track_caller]
fn check(sql: &str, payload: &str, want: &str) {
    let event = publish("t/1", payload.as_bytes());
    assert_eq!(shown(run(sql, &event)), want, "rule: {sql}\npayload: {payload}");
    let event = Event::from_columns(event.columns());
    assert_eq!(shown(run(sql, &event)), want, "rule, columns in a map: {sql}\npayload: {payload}");
}

/// Checks the value of one expression, as JSON.
#[track_caller]
fn check_expr(expr: &str, payload: &str, want: &str) {
    check(&format!("SELECT {expr} AS v FROM \"t/#\""), payload, &format!("{{\"v\":{want}}}"));
}

/// Checks that an expression fails, with which message.
#[track_caller]
fn check_fails(expr: &str, payload: &str, want: &str) {
    let sql = format!("SELECT {expr} AS v FROM \"t/#\"");
    check(&sql, payload, &format!("line 1, column 8, SELECT field 1: {want}"));
}

#[test]
fn where_sees_payload_numbers() {
    let sql = r#"SELECT payload.t * 2 AS d FROM "t/#" WHERE payload.t > 80"#;
    check(sql, r#"{"t":81}"#, r#"{"d":162}"#);
    check(sql, r#"{"t":80}"#, "filtered");
    check(sql, r#"{}"#, "line 1, column 8, SELECT field 1: `*`: expected a number, found undefined");
}

#[test]
fn fields_name_their_place_in_the_row() {
    let payload = r#"{"a":{"b":1},"l":[7,8,9],"n":null}"#;
    for (fields, want) in [
        ("clientid, qos q", r#"{"clientid":"c-1","q":1}"#),
        ("payload.a.b, payload.n", r#"{"payload":{"a":{"b":1},"n":null}}"#),
        ("payload.l[2]", r#"{"payload":{"l":[8]}}"#),
        ("payload.l[1..2]", r#"{"payload":{"l":[7,8]}}"#),
        ("'on'", r#"{"on":"on"}"#),
        ("1 + 1, 2", r#"{"_v_1":2,"_v_2":2}"#),
        ("1 AS g.h, 2 AS g.i", r#"{"g":{"h":1,"i":2}}"#),
        ("3 AS a, 1 AS a.b", r#"{"a":{"b":1}}"#),
        ("1 AS a[3]", r#"{"a":[1]}"#),
        ("'x' AS l[0], 'y' AS l[-0], 'w' AS l[0], 'z' AS l[-1], 'no' AS l[9]", r#"{"l":["w","x","z"]}"#),
        ("payload.l AS l, 2 AS i, 'k' AS l[i].k", r#"{"l":[7,{"k":"k"},9],"i":2}"#),
        ("1 AS q, 2 AS q", r#"{"q":2}"#),
        ("nope, 1 AS x", r#"{"nope":"undefined","x":1}"#),
        ("\"order\" AS \"x y\"", r#"{"x y":"undefined"}"#),
        ("payload.a.b AS payload.a.b, payload", r#"{"payload":{"a":{"b":1}}}"#),
    ] {
        check(&format!("SELECT {fields} FROM \"t/#\""), payload, want);
    }
}

#[test]
fn a_selected_payload_is_decoded_when_written_into() {
    check(r#"SELECT payload, 5 AS payload.a FROM "t/#""#, r#"{"a":1,"b":2}"#, r#"{"payload":{"a":5,"b":2}}"#);
    check(
        r#"SELECT payload, 5 AS payload.a FROM "t/#""#,
        "x",
        "line 1, column 17, SELECT field 2: the payload is not JSON: not JSON: expected value at line 1 column 1",
    );
    let star = run(r#"SELECT *, 5 AS payload.a FROM "t/#""#, &publish("t", br#"{"b":2}"#)).unwrap();
    assert_eq!(
        shown(Ok(Rows::one([("payload", star[0].get("payload").unwrap().clone())].into_iter().collect()))),
        r#"{"payload":{"b":2,"a":5}}"#
    );
}

#[test]
fn star_gives_all_columns_and_an_alias_wins() {
    for sql in [
        r#"SELECT *, 'x' AS qos FROM "t""#,
        r#"SELECT 'x' AS qos, * FROM "t""#,
        r#"SELECT 'x' AS qos, 1 AS l[1], * FROM "t""#,
    ] {
        let event = publish("t", b"p");
        let rows = run(sql, &event).unwrap();
        assert_eq!(rows[0].get("qos"), Some(&Value::text("x")), "{sql}");
        let columns = event.columns();
        for (key, value) in columns.iter().filter(|(key, _)| **key != "qos") {
            assert_eq!(rows[0].get(key), Some(value), "{sql}: {key}");
        }
        assert_eq!(rows[0].get("metadata"), None, "{sql}");
    }
}

#[test]
fn the_rule_id_is_a_column() {
    let (id, context) = (Text::from("r1"), FixedContext::new());
    let env = Env { rule_id: Some(&id), context: &context };
    for (sql, want) in [
        (r#"SELECT metadata.rule_id AS r FROM "t""#, r#"{"r":"r1"}"#),
        (r#"SELECT metadata FROM "t""#, r#"{"metadata":{"rule_id":"r1"}}"#),
    ] {
        let rows = Plan::compile(sql).unwrap().run(&publish("t", b""), &env).unwrap();
        assert_eq!(shown(Ok(rows)), want);
    }
    let rows = Plan::compile(r#"SELECT * FROM "t""#).unwrap().run(&publish("t", b""), &env).unwrap();
    assert_eq!(rows[0].len(), 16);
    assert!(rows[0].contains_key("metadata"));
}

#[test]
fn names_are_looked_up_in_the_row_then_in_the_columns() {
    let payload = r#"{"a":1,"b":2,"i":2,"l":[5,6],"o":{"k":1}}"#;
    for (fields, want) in [
        ("10 AS qos, qos + 1 AS x", r#"{"qos":10,"x":11}"#),
        ("payload.a, payload.b", r#"{"payload":{"a":1,"b":2}}"#),
        ("payload.a, payload", r#"{"payload":{"a":1}}"#),
        ("payload.o AS o, o.k AS k, o.z AS z", r#"{"o":{"k":1},"k":1,"z":"undefined"}"#),
        ("nope AS qos, qos AS x", r#"{"qos":"undefined","x":1}"#),
        // the index beside the path, then in the normal scopes
        ("payload.l[i] AS x", r#"{"x":6}"#),
        ("payload.l[payload.i] AS x", r#"{"x":6}"#),
        ("payload.l AS l, 1 AS i, l[i] AS x", r#"{"l":[5,6],"i":1,"x":5}"#),
        ("1 AS j, payload.l[j] AS x", r#"{"j":1,"x":5}"#),
        ("payload.l[qos] AS x", r#"{"x":5}"#),
        ("payload.l[topic] AS x", r#"{"x":"undefined"}"#),
        ("payload.l[payload.l[1]] AS x", r#"{"x":"undefined"}"#),
        ("'{\"z\":1}' AS payload, payload.z AS z", r#"{"payload":"{\"z\":1}","z":1}"#),
    ] {
        check(&format!("SELECT {fields} FROM \"t/#\""), payload, want);
    }
}

#[test]
fn where_sees_the_row_over_the_columns() {
    let payload = r#"{"a":1,"b":2}"#;
    for (sql, want) in [
        ("SELECT 10 AS qos FROM \"t/#\" WHERE qos = 10", r#"{"qos":10}"#),
        ("SELECT payload.a AS x FROM \"t/#\" WHERE x = 1 AND qos = 1", r#"{"x":1}"#),
        // the partial payload hides the column
        ("SELECT payload.a FROM \"t/#\" WHERE payload.b = 2", "filtered"),
        ("SELECT payload.a FROM \"t/#\" WHERE payload.a = 1", r#"{"payload":{"a":1}}"#),
        ("SELECT nope AS qos FROM \"t/#\" WHERE qos = 1", "filtered"),
        ("SELECT 1 AS l[1] FROM \"t/#\" WHERE l[1] = 1 AND payload.b = 2", r#"{"l":[1]}"#),
        ("SELECT nope AS qos, 1 AS l[1] FROM \"t/#\" WHERE qos = 1", "filtered"),
    ] {
        check(sql, payload, want);
    }
}

#[test]
fn a_field_that_fails_fails_the_rule_before_where() {
    check(
        "SELECT 1 / 0 AS x FROM \"t/#\" WHERE false",
        "",
        "line 1, column 8, SELECT field 1: `/`: division by zero",
    );
    let sql = "SELECT payload.a AS x FROM \"t/#\" WHERE qos = 2";
    check(sql, "{}", "filtered");
    check(
        sql,
        "{",
        "line 1, column 8, SELECT field 1: the payload is not JSON: not JSON: EOF while parsing an object at line 1 column 1",
    );
    check("SELECT qos FROM \"t/#\" WHERE qos = 1 AND 1 / 0 > 0", "", "WHERE: `/`: division by zero");
    check("SELECT qos FROM \"t/#\" WHERE qos = 2 AND 1 / 0 > 0", "", "filtered");
}

#[test]
fn paths_step_into_anything_and_find_undefined() {
    let payload = r#"{"m":{"k":null,"1":"one","x.y":0},"l":["a",["b"]],"j":"{\"k\":[\"{\\\"z\\\":5}\"]}","s":"plain","n":5}"#;
    for (path, want) in [
        ("payload.m.k", "null"),
        ("payload.m.k.z", "\"undefined\""),
        ("payload.m.1", "\"one\""),
        ("payload.m.'x.y'", "0"),
        ("payload.m[1]", "\"undefined\""),
        ("payload.l[1]", "\"a\""),
        ("payload.l[-1]", "[\"b\"]"),
        ("payload.l[-1][1]", "\"b\""),
        ("payload.l[0]", "\"undefined\""),
        ("payload.l[-0]", "\"undefined\""),
        ("payload.l[3]", "\"undefined\""),
        ("payload.l[99999999999999999999]", "\"undefined\""),
        ("payload.l.k", "\"undefined\""),
        ("payload.l.1", "\"undefined\""),
        ("payload.j.k[1].z", "5"),
        ("payload.j.q", "\"undefined\""),
        ("payload.s.k", "\"undefined\""),
        ("payload.n.k", "\"undefined\""),
        ("flags.retain", "false"),
        ("flags.x.y", "\"undefined\""),
        ("nope.x[1]", "\"undefined\""),
        ("topic.x", "\"undefined\""),
    ] {
        check_expr(path, payload, want);
    }
    check_expr("payload.a", "5", "\"undefined\"");
    check_expr("payload.a", "\"{\\\"a\\\":1}\"", "1");
    check_expr("payload[2]", r#"["x","y"]"#, "\"y\"");
    check_expr("payload.k", r#"{"k":1,"k":2}"#, "2");
    check_expr("payload.k.a", r#"{"k":{"a":1},"k":{"b":2}}"#, "\"undefined\"");
    check_expr("payload.k", r#"{"k":123456789012345678901234567890}"#, "123456789012345678901234567890");
    check_expr("payload.k", r#"{"a":123456789012345678901234567890,"k":1.0}"#, "1.0");
    check_fails("payload.a", "x", "the payload is not JSON: not JSON: expected value at line 1 column 1");
    check_fails(
        "payload.a",
        "{\"a\":1} x",
        "the payload is not JSON: not JSON: trailing characters at line 1 column 9",
    );
    check_expr("payload", "x", "\"x\"");
}

#[test]
fn ranges_cut_and_refuse() {
    let payload = r#"{"l":[5,6,7,8]}"#;
    for (range, want) in [
        ("2..3", "[6,7]"),
        ("-2..-1", "[7,8]"),
        ("3..9", "[7,8]"),
        ("9..12", "[]"),
        ("3..2", "[]"),
        ("1..4", "[5,6,7,8]"),
    ] {
        check_expr(&format!("payload.l[{range}]"), payload, want);
    }
    for (range, want) in [
        ("3..1", "range `[3..1]`: it ends before it begins"),
        ("0..1", "range `[0..1]`: places count from 1"),
        ("-9..-1", "range `[-9..-1]`: it begins before the first element"),
    ] {
        check_fails(&format!("payload.l[{range}]"), payload, want);
    }
    check_fails(
        "payload.x[1..2]",
        payload,
        "a range `[1..2]` can only be taken of an array, found undefined",
    );
    check_expr("[2..4]", "", "[2,3,4]");
    check_expr("[3..2]", "", "[]");
    check_expr("[-2..1]", "", "[-2,-1,0,1]");
    check_fails("[4..2]", "", "range `[4..2]`: it ends before it begins");
}

#[test]
fn arithmetic_keeps_types_and_digits() {
    for (expr, want) in [
        ("2 + 3", "5"),
        ("2 + 0.5", "2.5"),
        ("4 / 2", "2.0"),
        ("-7 div 2", "-3"),
        ("-7 mod 3", "-1"),
        ("7 mod -3", "1"),
        ("7 % 4", "3"),
        ("- -1", "1"),
        ("3 - -2", "5"),
        ("9223372036854775807 + 1", "9223372036854775808"),
        ("9223372036854775807 + 1 - 1", "9223372036854775807"),
        ("-9223372036854775807 - 1", "-9223372036854775808"),
        ("(-9223372036854775807 - 1) div -1", "9223372036854775808"),
        ("(-9223372036854775807 - 1) mod -1", "0"),
        ("10000000000 * 10000000000", "100000000000000000000"),
        ("100000000000000000000 div 10000000000", "10000000000"),
        ("'sum:' + 1 + 2", "\"sum:12\""),
        ("1 + 2 + ':sum'", "\"3:sum\""),
        ("'x' + nosuch", "\"xundefined\""),
        ("1 || 2.0", "\"12.0\""),
        ("+'a'", "\"a\""),
        ("1.5 - 1", "0.5"),
    ] {
        check_expr(expr, "", want);
    }
    for (expr, want) in [
        ("1 + nosuch", "`+`: expected a number or text, found undefined"),
        ("1 + true", "`+`: expected a number or text, found boolean true"),
        ("'6' / '2'", "`/`: expected a number, found text '6'"),
        ("5.0 div 2", "`div`: expected an integer, found float 5.0"),
        ("5 / 0", "`/`: division by zero"),
        ("5 mod 0", "`mod`: division by zero"),
        ("1e308 * 10", "`*`: the result is too large for a float"),
        ("-'a'", "`-`: expected a number, found text 'a'"),
    ] {
        check_fails(expr, "", want);
    }
}

#[test]
fn comparisons_follow_the_table() {
    for (expr, want) in [
        ("nosuch = nope", true),
        ("nosuch <= nope", true),
        ("nosuch <> nope", false),
        ("nosuch < nope", false),
        ("nosuch = 1", false),
        ("nosuch <> 1", false),
        ("nosuch = 'undefined'", false),
        ("7 = '7'", true),
        ("'7.0' = 7", true),
        ("'10' > 9", true),
        ("'-1.5e1' = -15", true),
        ("true = 'true'", true),
        ("1 = 1.0", true),
        ("9007199254740993 = 9007199254740992.0", false),
        ("100000000000000000000 > 1e19", true),
        ("'10' > '9'", false),
        ("'B' < 'a'", true),
        ("[1] = [1.0]", true),
        ("[1, 2] < [1, 3]", true),
        ("[1] < [1, 0]", true),
        ("1 = true", false),
        ("1 < true", true),
        ("true < [1]", true),
        ("[1] < 'a'", true),
        ("false < true", true),
        ("topic =~ 't/+'", true),
        ("topic =~ '#'", true),
        ("'$SYS/a' =~ '#'", false),
        ("'a' =~ 'a/#'", true),
        ("nosuch =~ '#'", false),
        ("7 IN (7.0)", false),
        ("7 IN ('7')", false),
        ("7 IN (1, qos + 6)", true),
        ("nosuch IN (1, nope)", true),
        ("7 NOT IN (1, 2)", true),
        ("NOT (7 IN (7))", false),
        ("NOT (qos = 1 AND topic = 'x')", true),
        ("NOT (qos = 1 OR topic = 'x')", false),
        ("NOT nosuch = 5", true),
        ("NOT flags.retain", true),
        ("NOT nosuch", false),
        ("NOT qos", false),
        ("qos BETWEEN 1 AND 2", true),
        ("qos NOT BETWEEN 1 AND 2", false),
        ("nosuch IS NULL", true),
        ("qos IS NOT NULL", true),
        ("topic LIKE 't/%'", true),
        ("topic LIKE 't_1'", true),
        ("topic LIKE 't'", false),
        ("'naïve' LIKE 'na_ve'", true),
        ("'a%b' LIKE 'a\\%b'", true),
        ("'axb' LIKE 'a\\%b'", false),
        ("'abcabc' LIKE '%bc'", true),
        ("'' LIKE '%'", true),
        ("topic NOT LIKE '%x%'", true),
        ("nosuch LIKE 'a'", false),
    ] {
        check_expr(expr, "", if want { "true" } else { "false" });
    }
    for (expr, want) in [
        ("qos = 'high'", "cannot compare integer 1 with text 'high': the text is not a number"),
        ("1 < ''", "cannot compare integer 1 with text '': the text is not a number"),
        ("7 = ' 7'", "cannot compare integer 7 with text ' 7': the text is not a number"),
        ("100 = '1e2'", "cannot compare integer 100 with text '1e2': the text is not a number"),
        ("1 =~ '#'", "`=~`: expected a text, found integer 1"),
        ("1 LIKE '#'", "`LIKE`: expected a text, found integer 1"),
        ("1 AND true", "a condition must give a boolean, found integer 1"),
    ] {
        check_fails(expr, "", want);
    }
    check("SELECT 1 AS x FROM \"t/#\" WHERE payload.n IS NULL", "{\"n\":null}", r#"{"x":1}"#);
}

#[test]
fn conditions_must_be_boolean() {
    for (condition, want) in [
        ("1", "WHERE: a condition must give a boolean, found integer 1"),
        ("qos", "WHERE: a condition must give a boolean, found integer 1"),
        ("nosuch", "WHERE: a condition must give a boolean, found undefined"),
        ("payload.b", "{\"x\":1}"),
        ("flags.retain", "filtered"),
        ("TRUE", "{\"x\":1}"),
        ("CASE WHEN qos = 1 THEN true END", "{\"x\":1}"),
    ] {
        check(&format!("SELECT 1 AS x FROM \"t/#\" WHERE {condition}"), "{\"b\":true}", want);
    }
}

#[test]
fn cases_take_the_first_branch() {
    for (expr, want) in [
        ("CASE WHEN qos = 0 THEN 'low' ELSE 'high' END", "\"high\""),
        ("CASE qos WHEN 1.0 THEN 'float' WHEN '1' THEN 'text' WHEN 1 THEN 'int' END", "\"int\""),
        ("CASE WHEN qos THEN 1 ELSE 2 END", "2"),
        ("CASE WHEN false THEN 1 END", "\"undefined\""),
        ("CASE WHEN qos = 1 THEN 1 ELSE 1 / 0 END", "1"),
        ("1 + CASE WHEN true THEN 1 END", "2"),
    ] {
        check_expr(expr, "", want);
    }
    check_fails("CASE WHEN 1 / 0 = 1 THEN 1 END", "", "`/`: division by zero");
}

#[test]
fn foreach_goes_through_the_last_field() {
    let payload = r#"{"l":[{"v":1,"ok":true},{"v":2,"ok":false}],"d":"dev","s":"x","n":[1,2,3]}"#;
    for (sql, want) in [
        ("FOREACH payload.l AS e DO e.v AS v, qos AS q", "{\"v\":1,\"q\":1}\n{\"v\":2,\"q\":1}"),
        ("FOREACH payload.l DO item.v", "{\"item\":{\"v\":1}}\n{\"item\":{\"v\":2}}"),
        ("FOREACH payload.l AS e DO e.v AS v INCASE e.ok", "{\"v\":1}"),
        (
            "FOREACH payload.d AS d, payload.n AS e DO d + e AS x INCASE e > 1",
            "{\"x\":\"dev2\"}\n{\"x\":\"dev3\"}",
        ),
        ("FOREACH payload.n AS a.b DO item AS x", "{\"x\":1}\n{\"x\":2}\n{\"x\":3}"),
        ("FOREACH [5, 6] AS e DO e + 1 AS x, x * 2 AS y", "{\"x\":6,\"y\":12}\n{\"x\":7,\"y\":14}"),
        ("FOREACH payload.s AS e DO e", ""),
        ("FOREACH payload.nope AS e DO e", ""),
        ("FOREACH payload AS e DO e", ""),
        ("FOREACH payload.n AS e DO e AS l[1] INCASE e = 2", "{\"l\":[2]}"),
        ("FOREACH 1 AS x[1], payload.n AS e DO x[1] + e AS y", "{\"y\":2}\n{\"y\":3}\n{\"y\":4}"),
        (
            "FOREACH payload.n AS e DO 1 / (e - 3) AS x",
            "line 1, column 27, DO field 1: `/`: division by zero",
        ),
        ("FOREACH payload.n AS e DO e INCASE e", "INCASE: a condition must give a boolean, found integer 1"),
    ] {
        check(&format!("{sql} FROM \"t/#\""), payload, want);
    }
    check("FOREACH payload AS e DO e.v AS v FROM \"t/#\"", r#"[{"v":1}]"#, r#"{"v":1}"#);
    check(
        "FOREACH payload AS e DO e FROM \"t/#\"",
        "-",
        "line 1, column 9, FOREACH field 1: the payload is not JSON: not JSON: EOF while parsing a value at line 1 column 1",
    );
    check("FOREACH payload.l AS e FROM \"t/#\" WHERE qos = 2", payload, "filtered");
}

#[test]
fn foreach_without_do_gives_columns_fields_and_element() {
    for sql in [
        "FOREACH 7 AS x, payload.n AS e FROM \"t\"",
        "FOREACH 7 AS x, payload.n AS e DO * FROM \"t\"",
        "FOREACH 7 AS x, 1 AS l[1], payload.n AS e FROM \"t\"",
        "FOREACH 7 AS x, payload.n AS e DO 1 AS l[1], * FROM \"t\"",
    ] {
        let rows = run(sql, &publish("t", br#"{"n":[1,2]}"#)).unwrap();
        let column = |row: usize, name: &str| rows[row].get(name).cloned().unwrap_or_default();
        assert_eq!((column(0, "e"), column(1, "e")), (Value::Int(1), Value::Int(2)), "{sql}");
        assert_eq!((column(1, "x"), column(1, "qos")), (Value::Int(7), Value::Int(1)), "{sql}");
        assert_eq!(column(1, "payload"), Value::from("{\"n\":[1,2]}"), "{sql}");
    }
}

#[test]
fn from_selects_events() {
    let plan = |from: &str| Plan::compile(&format!("SELECT * FROM {from}"));
    let select = |from: &str, event: &Event| plan(from).unwrap().selects(event);
    let message = publish("a/b", b"");
    let connected = Event::sample(EventKind::ClientConnected);
    let bridge = Event::from_columns([("event", "$bridges/mqtt:m")].into_iter().collect());
    for (from, want) in [
        ("\"a/+\"", [true, false, false]),
        ("\"#\"", [true, false, false]),
        ("\"x\", 'a/b'", [true, false, false]),
        ("\"$events/client/connected\"", [false, true, false]),
        ("\"$events/client_connected\", \"a/#\"", [true, true, false]),
        ("\"$events/client/+\"", [false, true, false]),
        ("\"$events/#\"", [false, true, false]),
        ("\"$events/session/subscribed\"", [false, false, false]),
        ("\"$bridges/mqtt:m\"", [false, false, true]),
        ("\"$sources/mqtt:m\"", [false, false, true]),
        ("\"$bridges/mqtt:x\"", [false, false, false]),
    ] {
        let got = [&message, &connected, &bridge].map(|event| select(from, event));
        assert_eq!(got, want, "{from}");
    }
    assert!(!select("\"#\"", &publish("$SYS/x", b"")));
    let both = plan("\"$events/client/connected\", \"$events/client_connected\"").unwrap();
    assert_eq!(both.sources(), [Source::Event(EventKind::ClientConnected)]);
    assert!(both.interest().contains(EventKind::ClientConnected));
    for (from, want) in [
        (
            "\"$events/client/conected\"",
            "line 1, column 15: no event named `$events/client/conected`\n  SELECT * FROM \"$events/client/conected\"\n                ^^^^^^^^^^^^^^^^^^^^^^^^^  did you mean `$events/client/connected`?",
        ),
        (
            "\"a#\"",
            "line 1, column 15: `a#` is not a topic filter\n  SELECT * FROM \"a#\"\n                ^^^^  `+` stands for a whole level, `#` for all levels at the end",
        ),
    ] {
        assert_eq!(plan(from).unwrap_err().to_string(), want);
    }
    assert_eq!(plan("\"a#\", \"$bridges/x\", \"$events/nope/+\"").unwrap_err().problems().len(), 3);
}

#[test]
fn doubtful_calls_are_warned_of_and_fail_at_run_time() {
    let sql = "SELECT clientid\nFROM \"t/#\"\nWHERE lowr(clientid) = 'berlin'";
    let plan = Plan::compile(sql).unwrap();
    let warnings: Vec<String> = plan.warnings().iter().map(ToString::to_string).collect();
    let want = "line 3, column 7: no function named `lowr`\n  WHERE lowr(clientid) = 'berlin'\n        ^^^^";
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with(want), "{}", warnings[0]);
    check(sql, "", "WHERE: no function named `lowr`");
}

#[test]
fn slots_can_be_shared() {
    let sqls = [
        "SELECT payload.a AS x FROM \"t\" WHERE payload.b > 1",
        "SELECT payload.b AS x, qos AS q FROM \"t\"",
        "SELECT clientid AS c FROM \"t\"",
        "SELECT payload.l[-1] AS x, payload.a.k AS y FROM \"t\"",
    ];
    let plans = sqls.map(|sql| Plan::compile(sql).unwrap());
    let projection = Projection::union(&plans.each_ref());
    let context = FixedContext::new();
    let env = Env { rule_id: None, context: &context };
    for payload in [r#"{"a":"{\"k\":1}","b":2,"l":[1,2]}"#, "{}", "no"] {
        let event = publish("t", payload.as_bytes());
        let slots = projection.run(&event);
        for (place, plan) in plans.iter().enumerate() {
            let shared = plan.run_projected(&event, projection.slots_of(place, &slots), &env);
            assert_eq!(shared, plan.run(&event, &env), "{}", sqls[place]);
        }
    }
}

#[test]
fn a_json_payload_need_not_be_a_text() {
    let Ok(Value::Map(columns)) =
        decode_json(br#"{"event":"message.publish","topic":"t","payload":{"a":{"b":1}}}"#)
    else {
        panic!("a map")
    };
    let rows = run("SELECT payload.a.b AS x FROM \"t\"", &Event::from_columns(columns));
    assert_eq!(shown(rows), r#"{"x":1}"#);
}

#[test]
fn an_event_gives_a_bounded_number_of_rows() {
    let plan = Plan::compile("FOREACH payload.l AS e DO e INCASE e = 1 FROM t").expect("a rule");
    let context = FixedContext::new();
    let count = |ones: usize, twos: usize| {
        let payload = format!("{{\"l\":[{}0]}}", "1,".repeat(ones) + &"2,".repeat(twos));
        let columns: Map = [("event", "message.publish"), ("topic", "t"), ("payload", payload.as_str())]
            .into_iter()
            .collect();
        plan.run(&Event::from_columns(columns), &Env { rule_id: None, context: &context })
            .map(|rows| rows.len())
            .map_err(|error| error.to_string())
    };
    assert_eq!(count(50_000, 10_000), Ok(50_000));
    assert_eq!(count(50_001, 0), Err("FOREACH gives more than 50000 rows".to_owned()));
}
