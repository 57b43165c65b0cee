use engine_event::Value;
use proptest::prelude::*;

use super::tree::{Body, Branch, Expr, ExprKind, Field, FieldKind, Index, Op, Path, Rule, SourceName, Step};
use super::{expression, parse};
use crate::Span;

/// Parses `sql` and compares its canonical form.
#[track_caller]
fn check(sql: &str, want: &str) {
    let rule = parse(sql).unwrap_or_else(|errors| panic!("{sql}\n{errors}"));
    assert_eq!(rule.to_string(), want, "text: {sql}");
    assert_eq!(parse(want).unwrap_or_else(|errors| panic!("{want}\n{errors}")), rule, "text: {want}");
}

/// Checks one expression, as the only field of SELECT.
#[track_caller]
fn check_expr(sql: &str, want: &str) {
    check(&format!("SELECT {sql} FROM t"), &format!("SELECT {want} FROM \"t\""));
}

#[track_caller]
fn refuse(sql: &str, want: &str) {
    match parse(sql) {
        Ok(rule) => panic!("accepted: {sql}\nas: {rule}"),
        Err(errors) => assert_eq!(errors.to_string(), want, "text: {sql}"),
    }
}

#[test]
fn rules_read_and_print() {
    check("select * from \"t/#\"", "SELECT * FROM \"t/#\"");
    check("SELECT a, b c FROM 'x/1', y WHERE 1 = 1;", "SELECT a, b AS c FROM \"x/1\", \"y\" WHERE 1 = 1");
    check(
        "FOREACH payload.l AS e DO e.id id, * INCASE e.ok = TRUE FROM \"a\" WHERE qos>0",
        "FOREACH payload.l AS e DO e.id AS id, * INCASE e.ok = true FROM \"a\" WHERE qos > 0",
    );
    check("FOREACH a FROM t", "FOREACH a FROM \"t\"");
    check("SELECT a -- the end\n FROM t -- more", "SELECT a FROM \"t\"");
    check("SELECT 1 g.h, 2 AS g.\"x y\"[-0] FROM t", "SELECT 1 AS g.h, 2 AS g.\"x y\"[-0] FROM \"t\"");
    check("SELECT order, selected, ending, q~r FROM t", "SELECT order, selected, ending, \"q~r\" FROM \"t\"");
}

#[test]
fn operators_bind_as_the_table_says() {
    for (sql, want) in [
        ("1+2*3", "1 + 2 * 3"),
        ("(1+2)*3", "(1 + 2) * 3"),
        ("1-2-3", "1 - 2 - 3"),
        ("1-(2-3)", "1 - (2 - 3)"),
        ("- -1", "-(-1)"),
        ("3 - -2", "3 - -2"),
        ("-a.b * 2", "-a.b * 2"),
        ("9 DIV 4 Mod 2", "9 div 4 mod 2"),
        ("9 % 4", "9 mod 4"),
        ("div(9, 2) + MOD(1, 2)", "div(9, 2) + MOD(1, 2)"),
        ("a = 1 OR b = 2 AND NOT c = 3", "a = 1 OR b = 2 AND NOT c = 3"),
        ("(a OR b) AND c", "(a OR b) AND c"),
        ("NOT (a = 1)", "NOT a = 1"),
        ("NOT NOT a", "NOT NOT a"),
        ("(NOT a) = b", "(NOT a) = b"),
        ("a OR b OR c OR (d OR e)", "a OR b OR c OR (d OR e)"),
        ("a != 1", "a <> 1"),
        ("a=~'x/+'", "a =~ 'x/+'"),
        ("a NOT IN (1, 'b')", "a NOT IN (1, 'b')"),
        ("a + 1 IN (2)", "a + 1 IN (2)"),
        ("a not between 1 and 2 and b", "a NOT BETWEEN 1 AND 2 AND b"),
        ("a LIKE 'x%' OR a NOT LIKE b", "a LIKE 'x%' OR a NOT LIKE b"),
        ("a IS NULL", "a IS NULL"),
        ("a is not null = true", ""),
        ("'a' || b || 1", "'a' || b || 1"),
        ("case when a then 1 else 2 end + 1", "CASE WHEN a THEN 1 ELSE 2 END + 1"),
        ("case a when 1 then 2 when 3 then 4 end", "CASE a WHEN 1 THEN 2 WHEN 3 THEN 4 END"),
        ("f(g(), a = 1, case a when 1 then 2 end)", "f(g(), a = 1, CASE a WHEN 1 THEN 2 END)"),
        ("emqx_rule_funcs.abs(1)", "emqx_rule_funcs.abs(1)"),
        ("{}", "{}"),
        (
            "{a:1,'b c':{\"d\":-1}, 7 : [x], select: 'y'}",
            "{a: 1, \"b c\": {d: -1}, \"7\": [x], \"select\": 'y'}",
        ),
        ("{a: 1} || {b: a ?? 2}", "{a: 1} || {b: a ?? 2}"),
        ("a??b.c ?? 1+2", "a ?? b.c ?? 1 + 2"),
        ("a??1.5??2+.5", ""),
        ("a??1.5??2*3.5e1", "a ?? 1.5 ?? 2 * 35.0"),
        ("(a ?? b) ?? (c ?? d)", "a ?? b ?? (c ?? d)"),
        ("a ?? b = c", "a ?? b = c"),
        ("a ?? (b = c)", "a ?? (b = c)"),
        ("try(a, b ?? c)", "try(a, b ?? c)"),
    ] {
        match want {
            "" => assert!(parse(&format!("SELECT {sql} FROM t")).is_err(), "{sql}"),
            _ => check_expr(sql, want),
        }
    }
}

#[test]
fn a_range_has_no_spaces() {
    for sql in [
        "[ 1..4]", "[1 ..4]", "[1.. 4]", "[1..4 ]", "[- 1..4]", "[1..\n4]", "a[ 1..4]", "a[1.. 4]",
        "a[1..4 ]",
    ] {
        parse(&format!("SELECT {sql} AS r FROM t")).expect_err(sql);
    }
    for sql in ["[1..4]", "[-1..+4]", "a [1..4]", "[ 1, 4 ]", "a[ 1 ]"] {
        parse(&format!("SELECT {sql} AS r FROM t")).expect(sql);
    }
}

#[test]
fn a_misspelt_from_is_named_where_it_stands() {
    for (sql, place) in [
        ("SELECT * FORM t", "line 1, column 10: expected `,` or FROM, found `FORM`"),
        ("SELECT a FRM \"t/#\"", "line 1, column 10: expected `,` or FROM, found `FRM`"),
        ("SELECT a AS b,\n c FRM \"t/#\"", "line 2, column 4: expected `,` or FROM, found `FRM`"),
        ("SELECT a AS b,\n FRM \"t/#\"", "line 2, column 2: expected `,` or FROM, found `FRM`"),
        ("SELECT a AS b FRM \"t/#\"", "line 1, column 15: expected `,` or FROM, found `FRM`"),
        ("FOREACH a DO b FROMM t", "line 1, column 16: expected `,`, INCASE or FROM, found `FROMM`"),
    ] {
        let said = parse(sql).expect_err(sql).to_string();
        assert!(said.starts_with(place) && said.ends_with("did you mean `FROM`?"), "{sql}: {said}");
    }
    let said = parse("SELECT a AS form WHERE b").expect_err("no FROM").to_string();
    assert!(said.starts_with("line 1, column 18: expected `,` or FROM, found `WHERE`"), "{said}");
}

#[test]
fn words_are_operators_only_where_an_operand_follows() {
    check_expr("a like", "a AS \"like\"");
    check_expr("a is", "a AS \"is\"");
    check_expr("a between.b", "a AS \"between\".b");
    check_expr("like + 1", "\"like\" + 1");
    check_expr("null", "\"null\"");
    check_expr("null()", "null()");
    check_expr("DIV", "\"DIV\"");
    check_expr("true.x", "\"true\".x");
    check_expr("\"true\"", "\"true\"");
    check_expr("FALSE", "false");
}

#[test]
fn literals_keep_their_type_and_digits() {
    for (sql, want) in [
        ("007", "7"),
        ("1.25e2", "125.0"),
        ("1e5", "100000.0"),
        ("10E-2", "0.1"),
        ("1e300", "1e300"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("'it''s'", "'it''s'"),
        ("'naïve – ok'", "'naïve – ok'"),
        ("'a\\n'", "'a\\n'"),
        ("[1,'a',[qos+1]]", "[1, 'a', [qos + 1]]"),
        ("[]", "[]"),
        ("[1..4]", "[1..4]"),
        ("[-2..-1]", "[-2..-1]"),
        ("[+1..+2]", "[1..2]"),
    ] {
        check_expr(sql, want);
    }
}

#[test]
fn paths_read_keys_indices_and_ranges() {
    for (sql, want) in [
        ("payload.'x.y'", "payload.\"x.y\""),
        ("a.1.b", "a.\"1\".b"),
        ("a.\"x y\".'z'", "a.\"x y\".z"),
        ("a[1][-2][0][-0]", "a[1][-2][0][-0]"),
        ("a[1].2", "a[1].\"2\""),
        ("a[i.j]", "a[i.j]"),
        ("a[2..3]", "a[2..3]"),
        ("a.b[-2..-1]", "a.b[-2..-1]"),
        ("a.true", "a.\"true\""),
        ("\"a.b\".c", "\"a.b\".c"),
        ("a . b", "a.b"),
    ] {
        check_expr(sql, want);
    }
}

#[test]
fn problems_name_place_found_and_expected() {
    refuse(
        "SELECT a,, b FROM t",
        "line 1, column 10: expected a field of SELECT, found `,`\n  SELECT a,, b FROM t\n           ^",
    );
    refuse(
        "SELECT a\nFROM x/#",
        "line 2, column 8: found `#`, which means nothing here\n  FROM x/#\n         ^",
    );
    refuse(
        "SELECT a FROM x/y",
        "line 1, column 16: expected `,`, WHERE or the end, found `/`\n  SELECT a FROM x/y\n                 ^  put the topic filter in double quotes",
    );
    refuse(
        "SELCT a FROM t",
        "line 1, column 1: expected SELECT or FOREACH, found `SELCT`\n  SELCT a FROM t\n  ^^^^^  did you mean `SELECT`?",
    );
    refuse(
        "SELECT a.from FROM t",
        "line 1, column 10: expected a key name after `.`, found `from`\n  SELECT a.from FROM t\n           ^^^^  to use the keyword as a name, write `\"from\"`",
    );
    refuse("", "line 1, column 1: expected SELECT or FOREACH, found the end of the text");
}

#[test]
fn problems_of_maps_are_told() {
    for (sql, want) in [
        ("{a: 1, 'a': 2}", "line 1, column 15: the key `a` is there twice"),
        ("{a}", "line 1, column 10: expected `:` and the value of the key, found `}`"),
        ("{a: 1; }", "line 1, column 13: expected `,` or `}` in the map, found `;`"),
        ("{-1: 1}", "line 1, column 9: expected a key or `}`, found `-`"),
        ("{a: 1, }", "line 1, column 15: expected a key, found `}`"),
    ] {
        let said = parse(&format!("SELECT {sql} AS m FROM t")).expect_err(sql).to_string();
        assert!(said.starts_with(want), "{sql}: {said}");
    }
}

#[test]
fn what_emqx_refuses_is_refused() {
    for sql in [
        "SELECT FROM \"x\"",
        "SELECT a FROM",
        "SELECT a FROM \"x\" WHERE",
        "SELECT a FROM \"x\" WHERE a = 1 OR",
        "SELECT (a FROM \"x\"",
        "SELECT f(a,) FROM \"x\"",
        "SELECT a[1 FROM \"x\"",
        "SELECT case when a = 1 then 2 FROM \"x\"",
        "FOREACH a DO FROM \"x\"",
        "FOREACH a INCASE b DO c FROM \"x\"",
        "FOREACH * FROM x",
        "SELECT 'abc FROM \"x\"",
        "SELECT \"abc FROM x",
        "SELECT a as 'b' FROM \"x\"",
        "SELECT a AS 1 FROM x",
        "SELECT a AS b[1..2] FROM x",
        "SELECT a = b = c FROM x",
        "SELECT .5 FROM x",
        "SELECT 5. FROM x",
        "SELECT 1f FROM x",
        "SELECT 10L FROM x",
        "SELECT [1].b FROM x",
        "SELECT 1.b FROM x",
        "SELECT a.[1] FROM x",
        "SELECT a.1.2 FROM x",
        "SELECT a['k'] FROM x",
        "SELECT a[1.5] FROM x",
        "SELECT [1. 3] FROM x",
        "SELECT a[1..] FROM x",
        "SELECT {a 1} FROM x",
        "SELECT {a: 1,} FROM x",
        "SELECT {a: 1 b: 2} FROM x",
        "SELECT {a: 1, a: 2} FROM x",
        "SELECT {a.b: 1} FROM x",
        "SELECT {*} FROM x",
        "SELECT {a: } FROM x",
        "SELECT {a: 1 FROM x",
        "SELECT {1.5: 1} FROM x",
        "SELECT {a: 1}.a FROM x",
        "SELECT a {b: 1} FROM x",
        "SELECT a ? b FROM x",
        "SELECT a ? FROM x",
        "SELECT a ??1x FROM x",
        "SELECT a ??",
        "SELECT a ~= b FROM x",
        "SELECT a~=b FROM x",
        "SELECT a == b FROM x",
        "SELECT a && b FROM x",
        "SELECT if FROM x",
        "SELECT _a FROM x",
        "SELECT a /* b */ FROM x",
        "SELECT a FROM x;;",
        "SELECT a FROM x WHERE a IN ()",
        "SELECT case end FROM x",
        "SELECT a",
        "SELECT X'41' FROM x",
        "SELECT div FROM x",
        "DELETE FROM x",
        "SELECT a FROM select",
    ] {
        assert!(parse(sql).is_err(), "{sql}");
    }
}

#[test]
fn nesting_has_a_limit_and_long_chains_do_not() {
    let nested = |depth: usize| format!("SELECT {}1{} FROM t", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(&nested(60)).is_ok());
    assert!(parse(&nested(100_000)).is_err());
    assert!(parse(&format!("SELECT {}1 FROM t", "-(".repeat(50_000))).is_err());
    assert!(parse(&format!("SELECT a{} FROM t", "[a".repeat(50_000))).is_err());
    let sum = |terms: usize| format!("SELECT 1{} FROM t", " + 1".repeat(terms));
    assert!(parse(&sum(200)).is_ok());
    assert!(parse(&sum(20_000)).is_err());
    let conditions = format!("SELECT 1 FROM t WHERE a = 0{}", " OR a = 1".repeat(5_000));
    assert!(parse(&conditions).is_ok());
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z][a-z0-9_$@]{0,6}",
        1 => prop::sample::select(vec!["from", "like", "TRUE", "mod", "null", "q~r", "x y", "", "a\"b", "日本"])
            .prop_map(str::to_owned),
    ]
}

fn path() -> impl Strategy<Value = Path> {
    let step = prop_oneof![
        4 => name().prop_map(Step::Key),
        1 => (0_u64..4).prop_map(|place| Step::Index(Index::Start(place))),
        1 => (0_u64..4).prop_map(|place| Step::Index(Index::End(place))),
        1 => name().prop_map(|root| {
            Step::Index(Index::Path(Box::new(Path { root, steps: Vec::new(), span: Span::default() })))
        }),
    ];
    (name(), prop::collection::vec(step, 0..4)).prop_map(|(root, steps)| Path {
        root,
        steps,
        span: Span::default(),
    })
}

fn node(kind: ExprKind) -> Expr {
    Expr::new(kind, Span::default())
}

pub(crate) fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|value| ExprKind::Literal(Value::Bool(value))),
        (0..=i64::MAX).prop_map(|value| ExprKind::Literal(Value::Int(value))),
        "[0-9]{20,40}"
            .prop_map(|digits| { ExprKind::Literal(Value::from_bigint(digits.parse().expect("digits"))) }),
        any::<f64>().prop_filter_map("finite", |value| {
            value.is_finite().then(|| ExprKind::Literal(Value::Float(value.abs())))
        }),
        ".*".prop_map(|text: String| ExprKind::Literal(Value::from(text))),
        (-5_i64..5, -5_i64..5).prop_map(|(first, last)| ExprKind::Range(first, last)),
        path().prop_map(|path| ExprKind::Path(path, None)),
        (path(), -5_i64..5, -5_i64..5)
            .prop_map(|(path, first, last)| ExprKind::Path(path, Some((first, last)))),
    ]
    .prop_map(node);
    leaf.prop_recursive(5, 48, 4, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let list = |least| prop::collection::vec(inner.clone(), least..4);
        let op = prop::sample::select(vec![
            Op::Equal,
            Op::NotEqual,
            Op::Less,
            Op::LessOrEqual,
            Op::Greater,
            Op::GreaterOrEqual,
            Op::Matches,
            Op::Add,
            Op::Subtract,
            Op::Concat,
            Op::Multiply,
            Op::Divide,
            Op::Div,
            Op::Mod,
        ]);
        let branch = (inner.clone(), inner.clone()).prop_map(|(when, then)| Branch { when, then });
        prop_oneof![
            list(0).prop_map(ExprKind::Array),
            prop::collection::btree_map(name(), inner.clone(), 0..4)
                .prop_map(|entries| ExprKind::Map(entries.into_iter().collect())),
            ("[a-z][a-z0-9_]{0,5}(\\.[a-z]{1,3})?", list(0))
                .prop_filter("a keyword", |(name, _)| {
                    name.split('.').all(|word| super::words::keyword(word).is_none())
                })
                .prop_map(|(name, arguments)| ExprKind::Call(name, arguments)),
            boxed().prop_map(ExprKind::Negative),
            boxed().prop_map(ExprKind::Positive),
            boxed().prop_map(ExprKind::Not),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| expression::and(left, right)),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| expression::or(left, right)),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| expression::default(left, right)),
            (op, boxed(), boxed()).prop_map(|(op, left, right)| ExprKind::Binary(op, left, right)),
            (any::<bool>(), boxed(), list(1)).prop_map(|(negated, value, list)| ExprKind::In {
                negated,
                value,
                list
            }),
            (any::<bool>(), boxed(), boxed(), boxed())
                .prop_map(|(negated, value, low, high)| ExprKind::Between { negated, value, low, high }),
            (any::<bool>(), boxed(), boxed()).prop_map(|(negated, value, pattern)| ExprKind::Like {
                negated,
                value,
                pattern
            }),
            (any::<bool>(), boxed()).prop_map(|(negated, value)| ExprKind::IsNull { negated, value }),
            (prop::option::of(boxed()), prop::collection::vec(branch, 1..3), prop::option::of(boxed()),)
                .prop_map(|(operand, branches, otherwise)| ExprKind::Case { operand, branches, otherwise }),
        ]
        .prop_map(node)
    })
}

fn field() -> impl Strategy<Value = Field> {
    let kind = prop_oneof![
        1 => Just(FieldKind::All),
        5 => (expr(), prop::option::of(path())).prop_map(|(value, alias)| FieldKind::Value { value, alias }),
    ];
    kind.prop_map(|kind| Field { kind, span: Span::default() })
}

pub(crate) fn rule() -> impl Strategy<Value = Rule> {
    let fields = || prop::collection::vec(field(), 1..4);
    let last = (expr(), prop::option::of(path()))
        .prop_map(|(value, alias)| Field { kind: FieldKind::Value { value, alias }, span: Span::default() });
    let foreach = (fields(), last, prop::option::of(fields()), prop::option::of(expr())).prop_map(
        |(mut fields, last, each, incase)| {
            fields.push(last);
            Body::Foreach { fields, each, incase }
        },
    );
    let body = prop_oneof![fields().prop_map(Body::Select), foreach];
    let source =
        prop_oneof!["[a-z/+#$\"]{0,8}", name()].prop_map(|name| SourceName { name, span: Span::default() });
    (body, prop::collection::vec(source, 1..3), prop::option::of(expr()))
        .prop_map(|(body, from, condition)| Rule { body, from, condition })
}

proptest! {
    #[test]
    fn printed_rules_read_back_to_the_same_tree(rule in rule()) {
        let text = rule.to_string();
        let read = parse(&text).map_err(|errors| TestCaseError::fail(format!("{text}\n{errors}")))?;
        prop_assert_eq!(&read, &rule, "{}", text);
        prop_assert_eq!(read.to_string(), text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".*") {
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn any_words_are_read_or_refused(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "SELECT", "FOREACH", "DO", "INCASE", "FROM", "WHERE", "AS", "a", "payload", ".", ",", "(", ")", "[",
                "]", "1", "2.5", "1..", ".3", "'t'", "\"n\"", "=", "=~", "<", "+", "-", "*", "div", "NOT", "IN",
                "AND", "OR", "CASE", "WHEN", "THEN", "ELSE", "END", "LIKE", "??", "?", "{", "}", ":", "BETWEEN", "IS", "NULL", "true", "\n",
                "--", "~", ";", "é", "\t",
            ]),
            0..24,
        ),
        separator in prop::sample::select(vec!["", " "]),
    ) {
        let text = words.join(separator);
        if let Ok(rule) = parse(&text) {
            let printed = rule.to_string();
            prop_assert_eq!(parse(&printed).map_err(|errors| TestCaseError::fail(errors.to_string()))?, rule);
        }
    }
}
