//! Tests over the whole table, and of what examples cannot show.

use std::collections::HashSet;

use engine_event::{Event, Map, Text, Value, decode_json};
use proptest::prelude::*;

use crate::{Env, Plan};

use super::{Example, FixedContext, FunctionContext, FunctionDef, all, lookup, nearest};

/// The message that the examples are about.
fn event() -> Event {
    let columns: Map = [
        ("event", Value::text("message.publish")),
        ("id", Value::text("0006200F3A1BF443A1B2000012340001")),
        ("clientid", Value::text("c_1")),
        ("username", Value::text("u_1")),
        ("peerhost", Value::text("192.168.0.10")),
        ("topic", Value::text("t/a")),
        ("qos", Value::Int(1)),
        ("payload", Value::text("{\"t\":{\"c\":21}}")),
        ("flags", decode_json(br#"{"retain":false,"dup":false}"#).expect("JSON")),
    ]
    .into_iter()
    .collect();
    Event::from_columns(columns)
}

/// The value of an expression.
fn eval(expression: &str, context: &FixedContext) -> Result<Value, String> {
    let sql = format!("SELECT {expression} AS r FROM \"t/#\"");
    let plan = Plan::compile(&sql).unwrap_or_else(|errors| panic!("{sql}\n{errors}"));
    let rows = plan.run(&event(), &Env { rule_id: None, context }).map_err(|error| format!("{error}"))?;
    Ok(rows[0].get("r").cloned().unwrap_or_default())
}

#[track_caller]
fn check(expression: &str, want: &str) {
    let context = FixedContext::new();
    let want = eval(want, &context).expect("the expected value is sound");
    assert_eq!(eval(expression, &context), Ok(want), "{expression}");
}

/// Checks that a call fails with this message.
#[track_caller]
fn check_error(expression: &str, want: &str) {
    let error = eval(expression, &FixedContext::new()).expect_err(expression);
    assert!(error.contains(want), "{expression}: {error}");
}

#[test]
fn every_example_holds() {
    let mut wrong = Vec::new();
    for def in all() {
        for Example { sql, gives } in def.examples {
            let context = FixedContext::new();
            let got = eval(sql, &context);
            let holds = match (*gives, &got) {
                ("error", got) => got.as_ref().is_err_and(|error| error.contains(def.name)),
                (gives, got) => *got == eval(gives, &context),
            };
            if !holds {
                wrong.push(format!("{sql} gives {got:?}, not {gives}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_function_is_described() {
    let mut names = HashSet::new();
    for def in all() {
        assert!(names.insert(def.name), "`{}` is there twice", def.name);
        assert_eq!(def.name, def.name.to_ascii_lowercase());
        assert!(def.summary.ends_with('.'), "`{}`", def.name);
        assert!(!def.examples.is_empty(), "`{}`", def.name);
        let fails = def.examples.iter().any(|example| example.gives == "error");
        let cannot_fail = def.summary.contains("ever fails");
        let full_store = def.name.ends_with("_put");
        let same = def.summary.starts_with("As `") || def.name == "term_encode" || def.name == "null";
        assert!(
            fails != cannot_fail || full_store || same,
            "`{}`: an example that fails, or `Never fails`",
            def.name
        );
    }
}

/// The functions that EMQX has and rules may use, but for the schema registry.
const PROMISED: &str = "abs acos acosh asin asinh atan atanh ceil cos cosh div eq exp floor fmod log log10 log2 mod \
    power random round sin sinh sqrt tan tanh is_null is_not_null is_null_var is_not_null_var is_str is_bool is_int \
    is_float is_num is_map is_array is_empty null coalesce coalesce_ne str str_utf8 str_utf16_le int float float2str \
    bool map bin2hexstr hexstr2bin sqlserver_bin2hexstr lower upper trim ltrim rtrim rm_prefix strlen substr reverse \
    concat split tokens replace regex_match regex_replace regex_extract ascii find pad join_to_string \
    join_to_sql_values_string sprintf sprintf_s unescape map_new map_get map_put mget mput map_keys map_values \
    map_to_entries map_size map_to_redis_hset_args nth length sublist first last contains md5 sha sha256 hash gzip \
    gunzip zip unzip zip_compress zip_uncompress base64_encode base64_decode json_encode json_decode term_encode \
    term_decode bitand bitor bitxor bitnot bitsl bitsr bitsize bytesize subbits now_timestamp now_rfc3339 \
    unix_ts_to_rfc3339 rfc3339_to_unix_ts format_date date_to_unix_ts timezone_to_offset_seconds timezone_to_second \
    mongo_date uuid_v4 uuid_v4_no_hyphen getenv kv_store_put kv_store_get kv_store_del proc_dict_put proc_dict_get \
    proc_dict_del jq clientid username peerhost clientip topic qos payload flags msgid flag contains_topic \
    contains_topic_match";

#[test]
fn what_was_promised_is_there() {
    let missing: Vec<&str> = PROMISED.split_whitespace().filter(|name| lookup(name).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn functions_are_found_by_name() {
    for (name, want) in [
        ("trim", Some("trim")),
        ("TRIM", Some("trim")),
        ("emqx_rule_funcs.trim", Some("trim")),
        ("lowr", None),
        ("", None),
    ] {
        assert_eq!(lookup(name).map(|def| def.name), want, "{name}");
    }
    assert_eq!(nearest("lowr"), Some("lower"));
    assert_eq!(nearest("base64_encod"), Some("base64_encode"));
    assert_eq!(nearest("no_such_function"), None);
}

#[test]
fn signatures_and_arities_are_told() {
    for (name, signature, arity) in [
        ("now_timestamp", "now_timestamp([unit])", "0 to 1"),
        ("sublist", "sublist([start], length, array)", "2 to 3"),
        ("concat", "concat(value, more...)", "1 or more"),
        ("trim", "trim(text)", "1"),
    ] {
        let def = lookup(name).expect(name);
        assert_eq!((def.signature().as_str(), def.arity().as_str()), (signature, arity));
    }
}

#[test]
fn errors_name_the_function_the_argument_and_what_was_found() {
    check_error("floor('1.5')", "`floor`, argument 1 (`x`): expected a number, found text '1.5'");
    check_error("sublist('a', [1])", "`sublist`, argument 1 (`length`): expected an integer, found text 'a'");
    check_error("sublist(1, 2, 3)", "`sublist`, argument 3 (`array`): expected an array, found integer 3");
    check_error(
        "map_get([1], undefined)",
        "argument 1 (`key`): expected a text or a number, found array [1]",
    );
    check_error("trim(undefined)", "expected a text, found undefined");
    check_error("hash('crc', 'x')", "expected one of 'md4', 'md5'");
    check_error("sprintf('~b', 'a')", "value 1 (`~b`): expected an integer, found text");
    let def = lookup("trim").expect("trim");
    let error = def.call(&[], &FixedContext::new()).expect_err("no argument");
    assert_eq!(error.to_string(), "`trim` takes 1 arguments, found 0");
}

#[test]
fn long_values_are_shortened_in_errors() {
    let long = Value::from("x".repeat(1000));
    let error = lookup("floor").expect("floor").call(&[long], &FixedContext::new()).expect_err("a text");
    assert!(error.to_string().len() < 150, "{error}");
}

#[test]
fn texts_that_are_not_utf8_are_bytes() {
    check("bin2hexstr(rm_prefix(hexstr2bin('ff01'), hexstr2bin('ff')))", "'01'");
    check("bin2hexstr(concat(hexstr2bin('ff'), 'a'))", "'FF61'");
    check("bytesize(hexstr2bin('ff'))", "1");
    check("regex_match(hexstr2bin('ff'), '^.$')", "true");
    check_error("strlen(hexstr2bin('ff'))", "expected a text in UTF-8");
}

#[test]
fn the_local_zone_comes_from_the_context() {
    let mut context = FixedContext::new();
    context.offset_seconds = -12_600;
    for (expression, want) in [
        ("now_rfc3339()", "'2023-11-14T18:43:20-03:30'"),
        ("now_rfc3339('nanosecond')", "'2023-11-14T18:43:20.123456789-03:30'"),
        ("unix_ts_to_rfc3339(0)", "'1969-12-31T20:30:00-03:30'"),
        ("now_timestamp('microsecond')", "1700000000123456"),
        ("timezone_to_offset_seconds('local')", "-12600"),
        ("format_date('second', 'local', '%H%z|%:z|%::z', 0)", "'20-0330|-03:30|-03:30:00'"),
        ("date_to_unix_ts('second', '%Y-%m-%d %H:%M:%S', '1970-01-01 00:00:00')", "12600"),
        ("mongo_date()", "'ISODate(2023-11-14T22:13:20.123Z)'"),
    ] {
        assert_eq!(eval(expression, &context), eval(want, &context), "{expression}");
    }
}

#[test]
fn named_zones_know_their_summer_time() {
    let format = "'%Y-%m-%d %H:%M:%S'";
    check(
        &format!("date_to_unix_ts('second', 'Europe/Berlin', {format}, '2024-07-01 12:00:00')"),
        "1719828000",
    );
    check(
        &format!("date_to_unix_ts('second', 'Europe/Berlin', {format}, '2024-01-01 12:00:00')"),
        "1704106800",
    );
}

#[test]
fn only_marked_environment_variables_are_seen() {
    let mut context = FixedContext::new();
    context.environment =
        [("SLUICEVAR_A", "ours"), ("EMQXVAR_A", "theirs"), ("EMQXVAR_B", "b"), ("HOME", "/root")]
            .into_iter()
            .collect();
    for (expression, want) in [("getenv('A')", "ours"), ("getenv('B')", "b"), ("getenv('HOME')", "")] {
        assert_eq!(eval(expression, &context), Ok(Value::text(want)), "{expression}");
    }
    assert!(eval("jq('[env | keys]', '{}')", &context).is_err());
    assert!(eval("jq('$ENV.HOME', '{}')", &context).is_err());
}

#[test]
fn stores_keep_values_between_calls() {
    let context = FixedContext::new();
    for (expression, want) in [
        ("kv_store_put('k', 1)", Value::Bool(true)),
        ("kv_store_get('k')", Value::Int(1)),
        ("proc_dict_get('k')", Value::Undefined),
        ("proc_dict_put('k', 2)", Value::Undefined),
        ("proc_dict_put('k', 3)", Value::Int(2)),
        ("proc_dict_del('k')", Value::Int(3)),
        ("kv_store_del('k')", Value::Bool(true)),
        ("kv_store_get('k', 'd')", Value::text("d")),
    ] {
        assert_eq!(eval(expression, &context), Ok(want), "{expression}");
    }
}

#[test]
fn uuids_differ() {
    let context = FixedContext::new();
    assert_ne!(eval("uuid_v4()", &context), eval("uuid_v4()", &context));
    check(
        "regex_match(uuid_v4(), '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$')",
        "true",
    );
}

#[test]
fn compiled_patterns_are_bounded() {
    let context = FixedContext::new();
    for number in 0..1000 {
        let compiled = context.compiled().regex(&format!("a{number}")).expect("a pattern");
        assert!(compiled.is_match(format!("a{number}").as_bytes()));
    }
    assert!(context.compiled().sizes().0 <= 64);
}

#[test]
fn texts_and_integers_do_not_grow_without_bound() {
    let context = FixedContext::new();
    let run = |sql: &str| {
        let plan = Plan::compile(sql).unwrap_or_else(|errors| panic!("{sql}\n{errors}"));
        plan.run(&event(), &Env { rule_id: None, context: &context }).map_err(|error| error.to_string())
    };
    let doubling = |first: &str, next: &dyn Fn(&str) -> String| {
        let fields: Vec<_> =
            (1..40).map(|at| format!("{} AS a{at}", next(&format!("a{}", at - 1)))).collect();
        format!("SELECT {first} AS a0, {} FROM \"t/#\"", fields.join(", "))
    };
    let text = "pad('a', 100000)";
    for (sql, want) in [
        (doubling(text, &|a| format!("{a} + {a}")), "larger than 64 MiB"),
        (doubling(text, &|a| format!("{a} || {a}")), "larger than 64 MiB"),
        (doubling(text, &|a| format!("concat({a}, {a})")), "larger than 64 MiB"),
        (doubling(text, &|a| format!("join_to_string([{a}, {a}])")), "the value has more than 64 MiB"),
        (doubling(text, &|a| format!("bin2hexstr({a})")), "larger than 64 MiB"),
        (
            "SELECT replace(pad('a', 9000, 'leading', 'a'), 'a', pad('b', 9000)) AS r FROM \"t/#\""
                .to_owned(),
            "larger than 64 MiB",
        ),
        (doubling("99999999999", &|a| format!("{a} * {a}")), "larger than 65536 bits"),
    ] {
        let error = run(&sql).expect_err(&sql);
        assert!(error.contains(want), "{sql}: {error}");
    }
    // a text of a device does not become an integer that takes seconds to read
    let digits = Value::from("9".repeat(10_001));
    assert!(crate::evaluate::compare(crate::syntax::Op::Greater, &digits, &Value::Int(1)).is_err());
}

#[test]
fn jq_speaks_jq() {
    for (program, data, want) in [
        (".a * 3", r#"{"a":"ab"}"#, r#"["ababab"]"#),
        ("[(1,2) * (3,4)]", "null", "[[3,6,4,8]]"),
        (".a *= 2", r#"{"a":4}"#, r#"[{"a":8}]"#),
        ("[range(3)]", "null", "[[0,1,2]]"),
        ("[limit(3; repeat(1))]", "null", "[[1,1,1]]"),
        ("[.. | numbers]", "[1,[2,{\"a\":3}]]", "[[1,2,3]]"),
        (".a[] += 1", r#"{"a":[1,2]}"#, r#"[{"a":[2,3]}]"#),
        ("reduce .[] as [$a,$b] (0; . + $a * $b)", "[[1,2],[3,4]]", "[14]"),
        ("def f: if . > 100000 then . else . + 1 | f end; f", "0", "[100001]"),
        ("[paths]", r#"{"a":[1]}"#, r#"[[["a"],["a",0]]]"#),
        (r#"with_entries(.value |= tostring)"#, r#"{"a":1}"#, r#"[{"a":"1"}]"#),
        (r#""\(.a)-\(.b)""#, r#"{"a":1,"b":2}"#, r#"["1-2"]"#),
        ("try error(\"x\") catch .", "null", r#"["x"]"#),
        ("first(range(10; 20))", "null", "[10]"),
        (".[] | fromjson", r#"["[1]"]"#, "[[1]]"),
        ("123456789012345678901234567890", "null", "[123456789012345678901234567890]"),
        ("1, halt, 2", "null", "[1]"),
    ] {
        let args = [Value::from(program), Value::from(data)];
        let got = lookup("jq").expect("jq").call(&args, &FixedContext::new());
        assert_eq!(got, Ok(decode_json(want.as_bytes()).expect(want)), "{program}");
    }
}

#[test]
fn jq_is_stopped() {
    let mut context = FixedContext::new();
    context.stopwatch_step_ms = 100;
    for (program, want) in [
        ("def f: f; f", "longer than 1000 ms"),
        ("[range(1e18)]", "longer than 1000 ms"),
        ("def f: try f catch f; f", "recurses too deeply"),
        ("last(repeat(1))", "longer than 1000 ms"),
        ("try (range(1e18) | empty) catch 1", "longer than 1000 ms"),
        ("[limit(100000; repeat(1)) as $a | limit(100000; repeat(1)) as $b | empty]", "longer than 1000 ms"),
        ("def f: 1 + f; f", "recurses too deeply"),
        ("reduce range(1000) as $i (.; [.])", "nests too deeply"),
        ("def f: [.] | f; f", "nests too deeply"),
        ("reduce range(60) as $i (\"ab\"; . + .)", "too large"),
        ("reduce range(60) as $i ([1,2]; . + .)", "too large"),
        ("reduce range(60) as $i (10; . * .)", "too large"),
        ("\"ab\" * 1000000000000", "too large"),
        ("env", "there is no filter `env`"),
        ("include \"a\"; .", "modules cannot be used"),
        (".a |", "bad jq program: expected"),
    ] {
        let args = [Value::from(program), Value::Null, Value::Int(1000)];
        let error = lookup("jq").expect("jq").call(&args, &context).expect_err(program).to_string();
        assert!(error.contains(want), "{program}: {error}");
    }
    for (sql, want) in [
        ("jq('def f: f; f', '1')", "longer than 100 ms"),
        ("jq('def f: f; f', '1', 300)", "longer than 300 ms"),
        ("jq('def f: f; f', '1', 60000)", "longer than 1000 ms"),
    ] {
        let error = eval(sql, &context).expect_err(sql);
        assert!(error.contains(want), "{sql}: {error}");
    }
    let nested = Value::from(format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)));
    let args = [Value::text("fromjson"), Value::array(vec![nested])];
    assert!(lookup("jq").expect("jq").call(&args, &context).is_err());
}

#[test]
fn jq_programs_of_any_shape_are_compiled_or_refused() {
    let context = FixedContext::new();
    let call =
        |program: String| lookup("jq").expect("jq").call(&[Value::from(program), Value::Int(1)], &context);
    for unit in
        ["(", "[", "{a:", "try ", "-", "if ", "reduce . as $x (", "def f: ", ".|", ".,", ".+", "..|", "\"\\("]
    {
        for closed in
            [unit.repeat(8000), format!("{}1", unit.repeat(8000)), format!("{}1", unit.repeat(2000))]
        {
            assert!(call(closed).is_err(), "{unit}");
        }
    }
    // half of the stack that a thread of the server has
    let deep = || {
        for (unit, ends) in
            [("[", "]"), (".|", ""), ("1,", ""), ("1+", ""), ("try ", ""), ("-", ""), ("..|", "")]
        {
            let program = Value::from(format!("{}1{}", unit.repeat(95), ends.repeat(95)));
            let result = lookup("jq").expect("jq").call(&[program, Value::Int(1)], &FixedContext::new());
            let refused =
                result.as_ref().is_err_and(|error| error.to_string().contains("recurses too deeply"));
            assert!(result.is_ok() || refused, "{unit}: {result:?}");
        }
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(deep).expect("a thread");
    thread.join().expect("the stack is large enough");
}

fn any_value() -> impl Strategy<Value = Value> {
    let words = prop_oneof![
        Just("second"),
        Just("%Y-%m-%d %H:%M:%S%z"),
        Just("2024-02-29 10:00:00Z"),
        Just("+08:00"),
        Just("leading"),
        Just("both"),
        Just("~5.2.*b~s"),
        Just("(a)(b)?"),
        Just("\\1&\\"),
        Just("\\x41\\n"),
        Just("md5"),
        Just("[1,{}]"),
        Just("{\"a\":{\"b\":1}}"),
        Just("a.b"),
        Just("float"),
        Just("signed"),
        Just("1.5e3"),
        Just("local"),
    ];
    let leaf = prop_oneof![
        Just(Value::Undefined),
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-70_i64..70).prop_map(Value::Int),
        any::<i128>().prop_map(|value| Value::from_bigint(value.into())),
        any::<f64>().prop_filter_map("finite", |value| value.is_finite().then_some(Value::Float(value))),
        ".{0,12}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Value::Text(Text::from(bytes))),
        words.prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::array),
            prop::collection::vec(("[a-c.]{0,3}", inner), 0..4)
                .prop_map(|entries| Value::Map(entries.into_iter().collect())),
        ]
    })
}

/// Calls a function with the first arguments that it takes, in every number that it takes.
fn call_in_every_way(def: &'static FunctionDef, values: &[Value], context: &FixedContext) {
    for count in 0..=values.len() {
        let result = def.call(&values[..count], context);
        assert_eq!(
            def.accepts(count),
            !matches!(result, Err(crate::EvalError::ArgumentCount { .. })),
            "`{}` with {count} arguments",
            def.name
        );
        if let Err(error) = result {
            assert!(error.to_string().contains(def.name), "{error}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn no_arguments_make_a_function_panic(values in prop::collection::vec(any_value(), 6)) {
        let mut context = FixedContext::new();
        context.stopwatch_step_ms = 1000;
        context.columns = values.first().map(|value| ("topic", value.clone())).into_iter().collect();
        for def in all() {
            call_in_every_way(def, &values, &context);
        }
    }

    #[test]
    fn encodings_read_back(bytes in prop::collection::vec(any::<u8>(), 0..64), value in any_value()) {
        let context = FixedContext::new();
        let call = |name: &str, value: &Value| {
            lookup(name).expect(name).call(std::slice::from_ref(value), &context).expect(name)
        };
        let data = Value::Text(Text::from(bytes));
        for (encode, decode) in [
            ("gzip", "gunzip"), ("zip", "unzip"), ("zip_compress", "zip_uncompress"),
            ("base64_encode", "base64_decode"), ("bin2hexstr", "hexstr2bin"),
        ] {
            prop_assert_eq!(&call(decode, &call(encode, &data)), &data, "{}", encode);
        }
        prop_assert_eq!(call("term_decode", &call("term_encode", &value)), value);
    }

    #[test]
    fn times_read_back(seconds in -62_167_219_200_i64..253_402_300_799) {
        let context = FixedContext::new();
        let text = lookup("unix_ts_to_rfc3339").expect("there").call(&[Value::Int(seconds)], &context).unwrap();
        let back = lookup("rfc3339_to_unix_ts").expect("there").call(&[text], &context);
        prop_assert_eq!(back, Ok(Value::Int(seconds)));
    }
}
