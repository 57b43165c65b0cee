//! Functions that read the event (reference, section 14.13).
//!
//! The examples are of a message with topic `t/a` and payload `{"t":{"c":21}}`, published with QoS 1 by client `c_1`.
//!
//! They read the event's own columns even where an alias hides one, and give undefined for a column that the event
//! does not have.

use engine_event::{Value, decode_json, topic};

use crate::EvalError;

use super::maps::{key, step};
use super::{Arg, Args, Example, FunctionDef, Type};

/// Functions of this group.
pub(super) const FUNCTIONS: &[FunctionDef] = &[
    CLIENTID,
    USERNAME,
    PEERHOST,
    CLIENTIP,
    TOPIC,
    QOS,
    PAYLOAD,
    FLAGS,
    FLAG,
    MSGID,
    CONTAINS_TOPIC,
    CONTAINS_TOPIC_MATCH,
];

/// A function that gives a column of the event.
const fn column(
    name: &'static str,
    returns: Type,
    summary: &'static str,
    examples: &'static [Example],
    eval: fn(&Args<'_>) -> Result<Value, EvalError>,
) -> FunctionDef {
    FunctionDef { name, args: &[], returns, summary, examples, eval }
}

const CLIENTID: FunctionDef = column(
    "clientid",
    Type::Text,
    "The event's column `clientid`. Never fails.",
    &[Example::new("clientid()", "'c_1'")],
    |args| Ok(args.context().column("clientid")),
);

const USERNAME: FunctionDef = column(
    "username",
    Type::Text,
    "The event's column `username`. Never fails.",
    &[Example::new("username()", "'u_1'")],
    |args| Ok(args.context().column("username")),
);

const PEERHOST: FunctionDef = column(
    "peerhost",
    Type::Text,
    "The event's column `peerhost`. Never fails.",
    &[Example::new("peerhost()", "'192.168.0.10'")],
    |args| Ok(args.context().column("peerhost")),
);

const CLIENTIP: FunctionDef = column(
    "clientip",
    Type::Text,
    "The event's column `peerhost`. Never fails.",
    &[Example::new("clientip()", "'192.168.0.10'")],
    |args| Ok(args.context().column("peerhost")),
);

const QOS: FunctionDef = column(
    "qos",
    Type::Int,
    "The event's column `qos`. Never fails.",
    &[Example::new("qos()", "1")],
    |args| Ok(args.context().column("qos")),
);

const FLAGS: FunctionDef = column(
    "flags",
    Type::Map,
    "The event's column `flags`. Never fails.",
    &[Example::new("map_size(flags())", "2")],
    |args| Ok(args.context().column("flags")),
);

const MSGID: FunctionDef = column(
    "msgid",
    Type::Text,
    "The event's column `id`. Never fails.",
    &[Example::new("msgid()", "'0006200F3A1BF443A1B2000012340001'")],
    |args| Ok(args.context().column("id")),
);

const TOPIC: FunctionDef = FunctionDef {
    name: "topic",
    args: &[Arg::int("n").optional()],
    returns: Type::Text,
    summary: "The event's column `topic`, or its level `n`, from 1. Undefined when the event has no topic. Fails when \
              there is no such level.",
    examples: &[
        Example::new("topic()", "'t/a'"),
        Example::new("topic(1)", "'t'"),
        Example::fails("topic(3)"),
        Example::fails("topic(0)"),
        Example::fails("topic('1')"),
        Example::fails("topic(undefined)"),
    ],
    eval: |args| {
        let topic = args.context().column("topic");
        if args.len() == 0 {
            return Ok(topic);
        }
        let place = args.int(0)?;
        let Value::Text(topic) = topic else { return Ok(Value::Undefined) };
        let level = usize::try_from(place)
            .ok()
            .and_then(|place| topic.as_bytes().split(|byte| *byte == b'/').nth(place.checked_sub(1)?));
        match level {
            Some(level) => Ok(Value::Text(topic.bytes().slice_ref(level).into())),
            None => Err(args.wrong(0, format!("a level of the topic '{topic}', from 1"))),
        }
    },
};

const PAYLOAD: FunctionDef = FunctionDef {
    name: "payload",
    args: &[Arg::text("path").optional()],
    returns: Type::Any,
    summary: "The event's column `payload`, or the value at a dotted path in it, undefined when something is missing. \
              With a path, fails when the payload is not JSON.",
    examples: &[
        Example::new("payload()", "'{\"t\":{\"c\":21}}'"),
        Example::new("payload('t.c')", "21"),
        Example::new("payload('t.f')", "undefined"),
        Example::fails("payload(undefined)"),
    ],
    eval: |args| {
        let payload = args.context().column("payload");
        if args.len() == 0 {
            return Ok(payload);
        }
        let path = key(args, 0)?;
        let decoded = match &payload {
            Value::Text(text) => {
                decode_json(text.as_bytes()).map_err(|error| args.fail(format!("the payload is {error}")))?
            }
            other => other.clone(),
        };
        let found = path.as_bytes().split(|byte| *byte == b'.').try_fold(decoded, |at, key| step(&at, key));
        Ok(found.unwrap_or_default())
    },
};

const FLAG: FunctionDef = FunctionDef {
    name: "flag",
    args: &[Arg::text("name")],
    returns: Type::Any,
    summary: "An entry of the event's column `flags`, undefined when it is missing. Fails when the name is not a text.",
    examples: &[
        Example::new("flag('retain')", "false"),
        Example::new("flag('sys')", "undefined"),
        Example::fails("flag(undefined)"),
    ],
    eval: |args| {
        let name = args.text(0)?;
        Ok(args
            .context()
            .column("flags")
            .as_map()
            .and_then(|flags| flags.get(name))
            .cloned()
            .unwrap_or_default())
    },
};

const TOPICS: &[Arg] = &[Arg::array("filters"), Arg::text("topic"), Arg::int("qos").optional()];

const CONTAINS_TOPIC: FunctionDef = FunctionDef {
    name: "contains_topic",
    args: TOPICS,
    returns: Type::Bool,
    summary: "Tells whether an array of topics, or of maps with `topic` and `qos`, has exactly this topic (and this \
              QoS). Fails when the arguments have other types.",
    examples: &[
        Example::new("contains_topic(['a/b'], 'a/b')", "true"),
        Example::new("contains_topic(json_decode('[{\"topic\":\"a\",\"qos\":1}]'), 'a', 1)", "true"),
        Example::new("contains_topic(json_decode('[{\"topic\":\"a\",\"qos\":1}]'), 'a', 0)", "false"),
        Example::new("contains_topic(['a/#'], 'a/b')", "false"),
        Example::fails("contains_topic(undefined, 'a')"),
        Example::fails("contains_topic([], undefined)"),
    ],
    eval: |args| contains_topic(args, |filter, topic| filter == topic),
};

const CONTAINS_TOPIC_MATCH: FunctionDef = FunctionDef {
    name: "contains_topic_match",
    args: TOPICS,
    returns: Type::Bool,
    summary: "Tells whether an array of topic filters, or of maps with `topic` and `qos`, has a filter that matches the \
              topic (with this QoS). Fails when the arguments have other types.",
    examples: &[
        Example::new("contains_topic_match(['a/#'], 'a/b')", "true"),
        Example::new(
            "contains_topic_match(json_decode('[{\"topic\":\"a/+\",\"qos\":1}]'), 'a/b', 1)",
            "true",
        ),
        Example::new("contains_topic_match(['b/#'], 'a/b')", "false"),
        Example::fails("contains_topic_match(undefined, 'a')"),
        Example::fails("contains_topic_match([], undefined)"),
    ],
    eval: |args| contains_topic(args, topic::matches),
};

fn contains_topic(args: &Args<'_>, fits: fn(&[u8], &[u8]) -> bool) -> Result<Value, EvalError> {
    let (filters, topic) = (args.array(0)?, args.text(1)?.as_bytes());
    let qos = if args.len() > 2 { Some(args.int(2)?) } else { None };
    let found = filters.iter().any(|entry| {
        let (filter, given) = match entry {
            Value::Map(map) => (map.get("topic").and_then(Value::as_text), map.get("qos")),
            other => (other.as_text(), None),
        };
        let same_qos = qos.is_none_or(|qos| given == Some(&Value::Int(qos)));
        same_qos && filter.is_some_and(|filter| fits(filter.as_bytes(), topic))
    });
    Ok(Value::Bool(found))
}
