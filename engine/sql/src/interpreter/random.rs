//! Random rules and events that often meet: few names, few keys, values that are alike.

use engine_event::{Event, Map, PublishEvent, Text, Value, decode_json};
use proptest::prelude::*;
use proptest::sample::select;

use crate::Span;
use crate::syntax::{
    Body, Branch, Expr, ExprKind, Field, FieldKind, Index, Op, Path, Rule, SourceName, Step,
};

fn node(kind: ExprKind) -> Expr {
    Expr::new(kind, Span::default())
}

fn boxed(expr: Expr) -> Box<Expr> {
    Box::new(expr)
}

/// Reads a path from the way that it is written.
fn path_of(text: &str) -> Path {
    let sql = format!("SELECT {text} FROM t");
    let rule = crate::syntax::parse(&sql).unwrap_or_else(|errors| panic!("{sql}\n{errors}"));
    let Body::Select(fields) = rule.body else { panic!("{sql}") };
    match fields.into_iter().next().map(|field| field.kind) {
        Some(FieldKind::Value { value: Expr { kind: ExprKind::Path(path, None), .. }, .. }) => path,
        other => panic!("{sql}: {other:?}"),
    }
}

/// Columns, fields and elements that the rules use.
const ROOTS: [&str; 13] =
    ["qos", "topic", "clientid", "flags", "payload", "nosuch", "x", "y", "l", "g", "item", "e", "metadata"];

const KEYS: [&str; 8] = ["a", "b", "l", "i", "j", "k", "retain", "rule_id"];

/// Paths that often lead somewhere.
const READ: [&str; 26] = [
    "qos",
    "topic",
    "clientid",
    "payload",
    "payload.a",
    "payload.b",
    "payload.i",
    "payload.l",
    "payload.l[1]",
    "payload.l[-1]",
    "payload.l[payload.i]",
    "payload.l[i]",
    "payload.l[x]",
    "payload.a.b",
    "payload.j.a",
    "payload.a.k[1]",
    "x",
    "y",
    "x.a",
    "l[1]",
    "l[y]",
    "g.k",
    "item",
    "e",
    "e.a",
    "item.b",
];

/// Aliases of all shapes.
const WRITTEN: [&str; 24] = [
    "x",
    "y",
    "x",
    "y",
    "l",
    "e",
    "item",
    "g.k",
    "g.a",
    "g.a.b",
    "g",
    "qos",
    "payload",
    "payload.a",
    "payload.l",
    "l[1]",
    "l[0]",
    "l[-0]",
    "l[-1]",
    "l[x]",
    "g.k[2].a",
    "x.a",
    "payload.l[1]",
    "metadata",
];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => select(&KEYS[..]).prop_map(|key| Step::Key(key.to_owned())),
        2 => (0_u64..3).prop_map(|place| Step::Index(Index::Start(place))),
        1 => (0_u64..3).prop_map(|place| Step::Index(Index::End(place))),
        1 => select(&READ[..8]).prop_map(|index| Step::Index(Index::Path(Box::new(path_of(index))))),
    ]
}

fn path() -> impl Strategy<Value = Path> {
    prop_oneof![
        5 => select(&READ[..]).prop_map(path_of),
        1 => (select(&ROOTS[..]), prop::collection::vec(step(), 0..3))
            .prop_map(|(root, steps)| Path { root: root.to_owned(), steps, span: Span::default() }),
    ]
}

fn alias() -> impl Strategy<Value = Path> {
    prop_oneof![
        6 => select(&WRITTEN[..]).prop_map(path_of),
        1 => (select(&ROOTS[..]), prop::collection::vec(step(), 0..3))
            .prop_map(|(root, steps)| Path { root: root.to_owned(), steps, span: Span::default() }),
    ]
}

fn literal() -> impl Strategy<Value = Value> {
    let numbers = prop_oneof![
        6 => (0_i64..4).prop_map(Value::Int),
        1 => Just(Value::Int(i64::MAX)),
        1 => Just(Value::from_bigint("9223372036854775808".parse().expect("digits"))),
        2 => select(vec![0.0, 0.5, 1.0, 2.0, 9_223_372_036_854_775_808.0]).prop_map(Value::Float),
    ];
    prop_oneof![
        4 => numbers,
        3 => select(vec!["a", "b", "1", "2", "1.0", "", "true", "t/1", "t/+", "a%", "_", "{\"a\":1}", "[1,2]", "%\\%"])
            .prop_map(Value::text),
        1 => any::<bool>().prop_map(Value::Bool),
    ]
}

/// Functions that give the same for the same arguments, with the numbers of arguments that they take.
const CALLED: [(&str, usize); 35] = [
    ("is_null", 1),
    ("is_not_null", 1),
    ("is_null_var", 1),
    ("is_str", 1),
    ("is_num", 1),
    ("is_map", 1),
    ("is_array", 1),
    ("null", 0),
    ("try", 2),
    ("coalesce", 2),
    ("coalesce_ne", 2),
    ("str", 1),
    ("int", 1),
    ("float", 1),
    ("concat", 2),
    ("upper", 1),
    ("strlen", 1),
    ("length", 1),
    ("nth", 2),
    ("first", 1),
    ("last", 1),
    ("contains", 2),
    ("map_new", 0),
    ("map_get", 2),
    ("map_put", 3),
    ("mget", 2),
    ("map_keys", 1),
    ("abs", 1),
    ("eq", 2),
    ("json_encode", 1),
    ("json_decode", 1),
    ("payload", 0),
    ("payload", 1),
    ("topic", 1),
    ("flags", 0),
];

const OPS: [Op; 14] = [
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
];

fn leaf() -> impl Strategy<Value = Expr> {
    prop_oneof![
        4 => path().prop_map(|path| node(ExprKind::Path(path, None))),
        3 => literal().prop_map(|value| node(ExprKind::Literal(value))),
        1 => ranges(),
    ]
}

/// Ranges, most of which select something.
fn ranges() -> impl Strategy<Value = Expr> {
    let arrays = prop_oneof![8 => Just(path_of("payload.l")), 1 => path()];
    prop_oneof![
        1 => (arrays, select(vec![(1, 2), (1, 3), (2, 2), (-1, -1), (2, 1), (-2, -1), (3, 1), (0, 1), (1, -1)]))
            .prop_map(|(path, ends)| node(ExprKind::Path(path, Some(ends)))),
        1 => (-2_i64..2, 0_i64..4).prop_map(|(first, more)| node(ExprKind::Range(first, first + more - 1))),
    ]
}

/// What mostly is a number.
fn number() -> impl Strategy<Value = Expr> {
    prop_oneof![
        4 => (0_i64..4).prop_map(|value| node(ExprKind::Literal(Value::Int(value)))),
        2 => select(vec!["qos", "payload.i", "x", "e", "y"]).prop_map(|path| node(ExprKind::Path(path_of(path), None))),
        1 => literal().prop_map(|value| node(ExprKind::Literal(value))),
        1 => Just(node(ExprKind::Call("length".to_owned(), vec![node(ExprKind::Path(path_of("payload.l"), None))]))),
    ]
}

pub(super) fn expr() -> impl Strategy<Value = Expr> {
    leaf().prop_recursive(3, 12, 3, |inner| {
        let child = || inner.clone().prop_map(boxed);
        let list = |least, most| prop::collection::vec(inner.clone(), least..=most);
        let branch = (inner.clone(), inner.clone()).prop_map(|(when, then)| Branch { when, then });
        let called = select(&CALLED[..]).prop_flat_map({
            let inner = inner.clone();
            move |(name, count)| {
                prop::collection::vec(inner.clone(), count)
                    .prop_map(move |arguments| ExprKind::Call(name.to_owned(), arguments))
            }
        });
        prop_oneof![
            2 => list(0, 3).prop_map(ExprKind::Array),
            1 => prop::collection::btree_map(select(&KEYS[..]).prop_map(str::to_owned), inner.clone(), 0..4)
                .prop_map(|entries| ExprKind::Map(entries.into_iter().collect())),
            5 => called,
            1 => number().prop_map(|value| ExprKind::Negative(boxed(value))),
            1 => child().prop_map(ExprKind::Positive),
            2 => child().prop_map(ExprKind::Not),
            1 => prop::collection::vec(truth(), 2..4).prop_map(ExprKind::And),
            1 => prop::collection::vec(truth(), 2..4).prop_map(ExprKind::Or),
            2 => (select(&OPS[..]), child(), child()).prop_map(|(op, left, right)| ExprKind::Binary(op, left, right)),
            4 => (select(&OPS[..6]), child(), child())
                .prop_map(|(op, left, right)| ExprKind::Binary(op, left, right)),
            3 => (select(&OPS[7..]), number(), number())
                .prop_map(|(op, left, right)| ExprKind::Binary(op, boxed(left), boxed(right))),
            1 => (prop_oneof![Just(Op::Add), Just(Op::Concat)], child(), child())
                .prop_map(|(op, left, right)| ExprKind::Binary(op, left, right)),
            2 => (any::<bool>(), child(), list(1, 3))
                .prop_map(|(negated, value, list)| ExprKind::In { negated, value, list }),
            1 => (any::<bool>(), child(), child(), child())
                .prop_map(|(negated, value, low, high)| ExprKind::Between { negated, value, low, high }),
            1 => (any::<bool>(), child(), child())
                .prop_map(|(negated, value, pattern)| ExprKind::Like { negated, value, pattern }),
            1 => (any::<bool>(), child()).prop_map(|(negated, value)| ExprKind::IsNull { negated, value }),
            2 => list(2, 3).prop_map(ExprKind::Default),
            2 => (prop::option::of(child()), prop::collection::vec(branch, 1..3), prop::option::of(child()))
                .prop_map(|(operand, branches, otherwise)| ExprKind::Case { operand, branches, otherwise }),
        ]
        .prop_map(node)
    })
}

/// What mostly is a boolean.
fn truth() -> impl Strategy<Value = Expr> {
    let is =
        |name| move |path| node(ExprKind::Call(String::from(name), vec![node(ExprKind::Path(path, None))]));
    prop_oneof![
        2 => any::<bool>().prop_map(|value| node(ExprKind::Literal(Value::Bool(value)))),
        2 => path().prop_map(is("is_null")),
        1 => path().prop_map(is("is_array")),
        1 => path().prop_map(|path| node(ExprKind::Path(path, None))),
    ]
}

/// Conditions, most of which are of the forms that plans make something of.
fn condition() -> impl Strategy<Value = Expr> {
    let read = || path().prop_map(|path| boxed(node(ExprKind::Path(path, None))));
    let constant = || literal().prop_map(|value| boxed(node(ExprKind::Literal(value))));
    let constants = prop::collection::vec(literal().prop_map(|value| node(ExprKind::Literal(value))), 1..4);
    let simple = prop_oneof![
        3 => (select(&OPS[..6]), read(), constant()).prop_map(|(op, left, right)| ExprKind::Binary(op, left, right)),
        1 => (select(&OPS[..6]), constant(), read()).prop_map(|(op, left, right)| ExprKind::Binary(op, left, right)),
        1 => (any::<bool>(), read(), constants)
            .prop_map(|(negated, value, list)| ExprKind::In { negated, value, list }),
        1 => (any::<bool>(), read(), constant(), constant())
            .prop_map(|(negated, value, low, high)| ExprKind::Between { negated, value, low, high }),
        1 => (any::<bool>(), read()).prop_map(|(negated, value)| ExprKind::IsNull { negated, value }),
        1 => any::<bool>().prop_map(|value| ExprKind::Literal(Value::Bool(value))),
    ]
    .prop_map(node);
    let simple = simple.boxed();
    prop_oneof![
        4 => simple.clone(),
        2 => prop::collection::vec(simple.clone(), 2..4).prop_map(|operands| node(ExprKind::And(operands))),
        1 => prop::collection::vec(simple, 2..4).prop_map(|operands| node(ExprKind::Or(operands))),
        2 => expr(),
    ]
}

fn value_field() -> impl Strategy<Value = Field> {
    let value = prop_oneof![
        1 => path().prop_map(|path| node(ExprKind::Path(path, None))),
        1 => expr(),
    ];
    (value, prop::option::weighted(0.7, alias()))
        .prop_map(|(value, alias)| Field { kind: FieldKind::Value { value, alias }, span: Span::default() })
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![
        1 => Just(Field { kind: FieldKind::All, span: Span::default() }),
        9 => value_field(),
    ]
}

fn fields(most: usize) -> impl Strategy<Value = Vec<Field>> {
    prop::collection::vec(field(), 1..=most)
}

/// The last field of FOREACH, mostly one that is an array.
fn collection() -> impl Strategy<Value = Field> {
    let value = prop_oneof![
        4 => select(vec!["payload.l", "payload.l", "payload.l", "payload.a", "payload", "x", "l"])
            .prop_map(|path| node(ExprKind::Path(path_of(path), None))),
        1 => expr(),
    ];
    (value, prop::option::of(prop_oneof![2 => Just(path_of("e")), 1 => alias()]))
        .prop_map(|(value, alias)| Field { kind: FieldKind::Value { value, alias }, span: Span::default() })
}

pub(super) fn rule() -> impl Strategy<Value = Rule> {
    let foreach = (
        prop::collection::vec(field(), 0..3),
        collection(),
        prop::option::weighted(0.8, fields(3)),
        prop::option::of(condition()),
    );
    let foreach = foreach.prop_map(|(mut fields, last, each, incase)| {
        fields.push(last);
        Body::Foreach { fields, each, incase }
    });
    let body = prop_oneof![3 => fields(4).prop_map(Body::Select), 2 => foreach];
    let source = SourceName { name: "#".to_owned(), span: Span::default() };
    (body, prop::option::of(condition())).prop_map(move |(body, condition)| Rule {
        body,
        from: vec![source.clone()],
        condition,
    })
}

/// The text of a JSON value, with numbers and texts that are alike, and JSON inside texts.
fn json() -> impl Strategy<Value = String> {
    let leaf = select(vec![
        "0",
        "1",
        "2",
        "3",
        "-1",
        "1.0",
        "2.5",
        "1e2",
        "9223372036854775808",
        "\"a\"",
        "\"1\"",
        "\"1.0\"",
        "\"\"",
        "\"t/1\"",
        "true",
        "false",
        "null",
        "\"{\\\"a\\\":1,\\\"l\\\":[1]}\"",
        "\"[1,2]\"",
        "\"\\\"[5]\\\"\"",
        "[]",
        "{}",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((select(&KEYS[..6]), inner), 0..5).prop_map(object),
        ]
    })
}

fn object(entries: Vec<(&'static str, String)>) -> String {
    let entries: Vec<String> = entries.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
    format!("{{{}}}", entries.join(", "))
}

fn payload() -> impl Strategy<Value = String> {
    let all = (json(), json(), prop::collection::vec(json(), 0..4), 1_i64..4, json()).prop_map(
        |(a, b, l, i, j)| {
            let j = Value::from(j);
            let quoted = engine_event::encode_json(&j, Default::default());
            let quoted = String::from_utf8_lossy(&quoted).into_owned();
            let l = format!("[{}]", l.join(","));
            object(vec![("a", a), ("b", b), ("l", l), ("i", i.to_string()), ("j", quoted)])
        },
    );
    prop_oneof![16 => all, 3 => json(), 1 => select(vec!["", "x", "{", "[1,2", "{} x"]).prop_map(str::to_owned)]
}

/// A message, as the broker makes it, as a map of columns, or as somebody who tries a rule may make it.
pub(super) fn event() -> impl Strategy<Value = Event> {
    (payload(), 0_u8..3, 0..10, select(vec!["t/1", "a", "t/1/x"])).prop_map(|(payload, qos, form, topic)| {
        let payload = match form {
            // no UTF-8
            0 => Text::from([payload.as_bytes(), b"\xff"].concat()),
            _ => Text::from(payload),
        };
        let event = Event::from(PublishEvent {
            id: 5,
            client_id: "1".into(),
            username: None,
            peer: None,
            topic: topic.into(),
            payload: payload.clone(),
            qos,
            retain: qos == 1,
            dup: false,
            properties: None,
            received_at_ms: 1_712_000_000_000,
            node: "n1".into(),
            client_attrs: Map::new(),
            hops: 0,
            republished_by: None,
        });
        let mut columns = event.columns();
        match form {
            1 => {
                columns.insert("payload", decode_json(payload.as_bytes()).unwrap_or_default());
                columns.insert("x", 1_i64);
                columns.remove("flags");
                Event::from_columns(columns)
            }
            0..5 => Event::from_columns(columns),
            _ => event,
        }
    })
}
