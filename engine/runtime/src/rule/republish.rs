//! The built-in output `republish`: a row becomes a message (rule language, section 17.2).

use engine_event::{
    Event, Map, Missing, NewMessage, PublishError, Row, Template, Text, Value, write_text_form,
};

use crate::object::republish::{RepublishArgs, Typed, UserProperties};
use crate::services::Services;

/// What a message is republished from.
pub(crate) struct Source<'a> {
    pub(crate) rule_id: &'a Text,
    /// How many rules republished the message before.
    pub(crate) hops: u8,
    /// The rule that republished the message last.
    pub(crate) republished_by: Option<&'a Text>,
    /// None for a fallback, which has only the row.
    pub(crate) event: Option<&'a Event>,
}

/// Why a row did not become a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RepublishError {
    #[error("the message was republished by the same rule")]
    Loop,
    #[error("the message was republished {0} times, the limit")]
    TooManyHops(u8),
    #[error("qos: expected 0, 1 or 2, got {0}")]
    Qos(String),
    #[error("{0}: expected a boolean, got {1}")]
    Flag(&'static str, String),
    #[error("there is no broker to publish to")]
    NoBroker,
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Publishes a row.
///
/// # Errors
/// When it would go round in a circle, an argument renders to something unusable, or the broker refuses the message.
pub(crate) fn republish(
    services: &Services,
    args: &RepublishArgs,
    row: &Row,
    source: &Source<'_>,
) -> Result<(), RepublishError> {
    if source.republished_by.is_some_and(|rule| rule == source.rule_id) {
        return Err(RepublishError::Loop);
    }
    if source.hops >= services.republish_hops_limit {
        return Err(RepublishError::TooManyHops(source.hops));
    }
    let message = message(args, row, source)?;
    let publisher = services.publisher().ok_or(RepublishError::NoBroker)?;
    publisher.publish(message)?;
    Ok(())
}

fn message(args: &RepublishArgs, row: &Row, source: &Source<'_>) -> Result<NewMessage, RepublishError> {
    Ok(NewMessage {
        topic: args.topic.render_text(row, Missing::Empty),
        payload: payload(&args.payload, row),
        qos: qos(&args.qos, row)?,
        retain: flag("retain", &args.retain, row)?,
        properties: properties(args, row, source.event),
        client_id: source.rule_id.clone(),
        username: None,
        hops: source.hops + 1,
        republished_by: Some(source.rule_id.clone()),
        skip_rules: flag("direct_dispatch", &args.direct_dispatch, row)?,
    })
}

/// A payload that is one placeholder for a text is handed on without a copy.
fn payload(template: &Template, row: &Row) -> Text {
    match template.single_path().filter(|path| !path.is_empty()) {
        Some(path) => match engine_event::lookup(row, path) {
            Value::Text(text) => text,
            Value::Undefined => Text::default(),
            value => text_of(&value),
        },
        None => template.render_text(row, Missing::Empty),
    }
}

fn text_of(value: &Value) -> Text {
    let mut text = Vec::new();
    write_text_form(value, &mut text);
    Text::from(text)
}

fn qos(qos: &Typed<u8>, row: &Row) -> Result<u8, RepublishError> {
    let template = match qos {
        Typed::Fixed(qos) => return Ok(*qos),
        Typed::Template(template) => template,
    };
    let value = template.value(row);
    match &value {
        Value::Undefined => return Ok(0),
        Value::Int(qos @ 0..=2) => return Ok(*qos as u8),
        Value::Text(text) => match text.as_bytes() {
            b"0" => return Ok(0),
            b"1" => return Ok(1),
            b"2" => return Ok(2),
            _ => {}
        },
        _ => {}
    }
    Err(RepublishError::Qos(text_of(&value).to_string()))
}

fn flag(name: &'static str, flag: &Typed<bool>, row: &Row) -> Result<bool, RepublishError> {
    let template = match flag {
        Typed::Fixed(flag) => return Ok(*flag),
        Typed::Template(template) => template,
    };
    let value = template.value(row);
    match &value {
        Value::Undefined => Ok(false),
        Value::Bool(flag) => Ok(*flag),
        Value::Int(number @ 0..=1) => Ok(*number == 1),
        Value::Text(text) if *text == "true" => Ok(true),
        Value::Text(text) if *text == "false" => Ok(false),
        _ => Err(RepublishError::Flag(name, text_of(&value).to_string())),
    }
}

fn properties(args: &RepublishArgs, row: &Row, event: Option<&Event>) -> Map {
    let mut properties = Map::new();
    for (name, template) in &args.mqtt_properties {
        let value = template.value(row);
        let number = matches!(*name, "Payload-Format-Indicator" | "Message-Expiry-Interval");
        let value = if number { as_number(&value) } else { as_filled_text(&value) };
        match value {
            Some(value) => {
                properties.insert(Text::from_static(name), value);
            }
            None => tracing::debug!(property = name, "a property of a republished message was left out"),
        }
    }
    let user = match &args.user_properties {
        UserProperties::None => Value::Undefined,
        UserProperties::Template(template) => template.value(row),
        // the common case, without making a map of nothing
        UserProperties::OfEvent
            if event.and_then(Event::publish).is_some_and(|message| message.properties.is_none()) =>
        {
            Value::Undefined
        }
        UserProperties::OfEvent => event.map_or(Value::Undefined, |event| {
            let all = event.column_named("pub_props");
            all.as_map().and_then(|all| all.get("User-Property")).cloned().unwrap_or_default()
        }),
    };
    if let Value::Map(map) = user {
        let texts = map.into_iter().map(|(key, value)| (key, Value::Text(text_of(&value))));
        properties.insert("User-Property", texts.collect::<Map>());
    }
    properties
}

fn as_number(value: &Value) -> Option<Value> {
    match value {
        Value::Int(number) => u32::try_from(*number).ok().map(Value::from),
        Value::Text(text) => text.as_str()?.parse::<u32>().ok().map(Value::from),
        _ => None,
    }
}

fn as_filled_text(value: &Value) -> Option<Value> {
    match value {
        Value::Undefined | Value::Null => None,
        value => Some(Value::Text(text_of(value))),
    }
}
