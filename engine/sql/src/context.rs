//! From the context of a rule test to an event (rule language, section 18.1).

use engine_event::{EVENTS, Event, EventKind, Map, Text, Value, decode_json};

use crate::error::describe;

/// What is wrong with the context of a rule test.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// It does not say which event it is.
    #[error("`event_type` is missing, expected the name of an event such as `message_publish`")]
    Missing,
    /// The name of the event is no text.
    #[error("`event_type`: expected the name of an event, found {found}")]
    NotText {
        /// What it is.
        found: String,
    },
    /// There is no such event.
    #[error("no event named `{name}`{}", hint(nearest.as_deref()))]
    Unknown {
        /// The name.
        name: String,
        /// The nearest right name.
        nearest: Option<String>,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default()
}

/// Which entry says what kind of event it is.
const EVENT_TYPE: &str = "event_type";

/// The name of messages that an MQTT source brings in; other names may stand for `*`.
const BRIDGE_PREFIX: &str = "$bridges/";

/// What the rule tester of dashboards calls such a message.
const BRIDGE_MQTT: &str = "bridge_mqtt";

/// Sample values of such a message.
const BRIDGE_SAMPLE: &str = r#"{
    "id": "0006200F3A1BF443A1B2000012340001", "payload": "{\"msg\": \"hello\"}", "topic": "t/a", "qos": 1,
    "server": "192.168.0.1:1883", "dup": false, "retain": false, "pub_props": {"User-Property": {}},
    "message_received_at": 1712000000000, "timestamp": 1712000000001, "node": "sluice@127.0.0.1"
}"#;

/// Makes an event of the entries of `context`: `event_type` is the name of the event with `_` for `.`, every other
/// entry is a column. With `fill_samples`, columns that are not given have the sample values of the table.
///
/// # Errors
/// When `event_type` is missing or names no event.
pub fn context_event(context: &Map, fill_samples: bool) -> Result<Event, ContextError> {
    let name = match context.get(EVENT_TYPE) {
        None | Some(Value::Undefined) => return Err(ContextError::Missing),
        Some(Value::Text(name)) => name.to_str_lossy().into_owned(),
        Some(other) => return Err(ContextError::NotText { found: describe(other) }),
    };
    let name = if name == BRIDGE_MQTT { format!("{BRIDGE_PREFIX}mqtt:*") } else { name };
    let (event, mut columns) = match kind(&name) {
        Some(kind) => (Text::from_static(kind.name()), sample(kind, fill_samples)),
        None if is_bridge(&name) => (Text::from(name.as_str()), bridge_sample(fill_samples)),
        None => return Err(ContextError::Unknown { nearest: nearest(&name), name }),
    };
    for (key, value) in context {
        if *key != EVENT_TYPE {
            columns.insert(key.clone(), value.clone());
        }
    }
    columns.insert("event", event);
    Ok(Event::from_columns(columns))
}

fn kind(name: &str) -> Option<EventKind> {
    EVENTS.iter().find(|event| event.name.replace('.', "_") == name.replace('.', "_")).map(|event| event.kind)
}

fn sample(kind: EventKind, fill: bool) -> Map {
    if fill { Event::sample(kind).columns() } else { Map::new() }
}

fn is_bridge(name: &str) -> bool {
    name.strip_prefix(BRIDGE_PREFIX)
        .and_then(|rest| rest.split_once(':'))
        .is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty())
}

fn bridge_sample(fill: bool) -> Map {
    match decode_json(BRIDGE_SAMPLE.as_bytes()) {
        Ok(Value::Map(sample)) if fill => sample,
        _ => Map::new(),
    }
}

fn nearest(name: &str) -> Option<String> {
    EVENTS
        .iter()
        .map(|event| event.name.replace('.', "_"))
        .map(|known| (strsim::damerau_levenshtein(name, &known), known))
        .min()
        .filter(|(distance, _)| *distance <= 4)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Plan;

    #[track_caller]
    fn event(context: &str, fill: bool) -> Result<Event, ContextError> {
        let Ok(Value::Map(context)) = decode_json(context.as_bytes()) else { panic!("context: {context}") };
        context_event(&context, fill)
    }

    #[test]
    fn columns_that_are_not_given_have_sample_values() {
        let given = event(r#"{"event_type":"message_publish","topic":"t/1"}"#, true).unwrap();
        assert_eq!(given.kind(), Some(EventKind::MessagePublish));
        assert_eq!(given.column_named("topic"), Value::text("t/1"));
        assert_eq!(given.column_named("qos"), Value::Int(1));
        assert_eq!(given.column_named("event_type"), Value::Undefined);
        let bare = event(r#"{"event_type":"client_connected"}"#, false).unwrap();
        assert_eq!(bare.columns().len(), 1);
    }

    #[test]
    fn every_event_can_be_tested() {
        for kind in EventKind::all() {
            let name = kind.name().replace('.', "_");
            let event = event(&format!(r#"{{"event_type":"{name}"}}"#), true).expect(&name);
            assert_eq!(event.kind(), Some(kind));
        }
        let bridge = event(r#"{"event_type":"$bridges/mqtt:*"}"#, true).unwrap();
        assert!(Plan::compile(r#"SELECT * FROM "$bridges/mqtt:plant""#).unwrap().selects(&bridge));
        assert!(!Plan::compile(r#"SELECT * FROM "$bridges/kafka:plant""#).unwrap().selects(&bridge));
        let bridge = event(r#"{"event_type":"bridge_mqtt"}"#, true).unwrap();
        assert!(Plan::compile(r#"SELECT * FROM "$bridges/mqtt:plant""#).unwrap().selects(&bridge));
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        assert_eq!(event("{}", true).unwrap_err(), ContextError::Missing);
        let unknown = event(r#"{"event_type":"mesage_publish"}"#, true).unwrap_err();
        assert_eq!(unknown.to_string(), "no event named `mesage_publish`; did you mean `message_publish`?");
        let number = event(r#"{"event_type":5}"#, true).unwrap_err();
        assert_eq!(number.to_string(), "`event_type`: expected the name of an event, found integer 5");
    }
}
