//! Arguments of the built-in output `republish` (rule language, section 17.2).

use connectors_api::ConfigProblem;
use engine_event::Template;
use serde_json::Value as Json;

use super::fields::{Fields, as_object, json_type};

/// Properties that may be templated.
const PROPERTIES: [&str; 5] = [
    "Payload-Format-Indicator",
    "Message-Expiry-Interval",
    "Content-Type",
    "Response-Topic",
    "Correlation-Data",
];

/// `${pub_props.'User-Property'}`: the user properties of the event, also when they are not selected.
const EVENT_USER_PROPERTIES: &str = "${pub_props.'User-Property'}";

/// Checked arguments of `republish`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RepublishArgs {
    pub(crate) topic: Template,
    pub(crate) payload: Template,
    pub(crate) qos: Typed<u8>,
    pub(crate) retain: Typed<bool>,
    pub(crate) direct_dispatch: Typed<bool>,
    pub(crate) user_properties: UserProperties,
    pub(crate) mqtt_properties: Vec<(&'static str, Template)>,
}

/// A fixed value, or a template that gives one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Typed<T> {
    Fixed(T),
    Template(Template),
}

/// Where the user properties come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum UserProperties {
    None,
    /// A placeholder that gives a map.
    Template(Template),
    /// Those of the event.
    OfEvent,
}

impl RepublishArgs {
    /// Reads and checks the arguments, which stand at `path`; none when there was a problem.
    pub(crate) fn read(args: &Json, path: &str, problems: &mut Vec<ConfigProblem>) -> Option<Self> {
        let before = problems.len();
        let object = as_object(args, path, problems)?;
        let mut fields = Fields::new(object, path, problems);
        let topic: String = fields.require("topic").unwrap_or_default();
        if topic.is_empty() && object.contains_key("topic") {
            fields.problem("topic", "expected a topic, got an empty text");
        }
        let payload: String = fields.take("payload").unwrap_or_else(|| "${payload}".to_owned());
        let args = Self {
            topic: Template::new(&topic),
            payload: Template::new(if payload.is_empty() { "${.}" } else { &payload }),
            qos: read_qos(&mut fields),
            retain: read_flag(&mut fields, "retain", "${retain}"),
            direct_dispatch: read_direct_dispatch(&mut fields),
            user_properties: read_user_properties(&mut fields),
            mqtt_properties: read_mqtt_properties(&mut fields),
        };
        fields.finish();
        (problems.len() == before).then_some(args)
    }
}

fn read_qos(fields: &mut Fields<'_>) -> Typed<u8> {
    match fields.raw("qos") {
        None => Typed::Template(Template::new("${qos}")),
        Some(Json::String(text)) => match text.as_str() {
            "0" => Typed::Fixed(0),
            "1" => Typed::Fixed(1),
            "2" => Typed::Fixed(2),
            _ => {
                let template = Template::new(text);
                if template.is_fixed() {
                    fields.problem("qos", format!("expected 0, 1, 2 or a placeholder, got `{text}`"));
                }
                Typed::Template(template)
            }
        },
        Some(value) => match value.as_u64() {
            Some(qos @ 0..=2) => Typed::Fixed(qos as u8),
            _ => {
                fields.problem("qos", format!("expected 0, 1, 2 or a placeholder, got {value}"));
                Typed::Fixed(0)
            }
        },
    }
}

fn read_flag(fields: &mut Fields<'_>, name: &'static str, default: &str) -> Typed<bool> {
    match fields.raw(name) {
        None => Typed::Template(Template::new(default)),
        Some(Json::Bool(flag)) => Typed::Fixed(*flag),
        Some(Json::String(text)) if text == "true" || text == "false" => Typed::Fixed(text == "true"),
        Some(Json::String(text)) if !Template::new(text).is_fixed() => Typed::Template(Template::new(text)),
        Some(value) => {
            fields.problem(name, format!("expected a boolean or a placeholder, got {value}"));
            Typed::Fixed(false)
        }
    }
}

fn read_direct_dispatch(fields: &mut Fields<'_>) -> Typed<bool> {
    match fields.raw("direct_dispatch") {
        None => Typed::Fixed(false),
        Some(_) => read_flag(fields, "direct_dispatch", ""),
    }
}

fn read_user_properties(fields: &mut Fields<'_>) -> UserProperties {
    let text: String = fields.take("user_properties").unwrap_or_else(|| "${user_properties}".to_owned());
    if text == EVENT_USER_PROPERTIES {
        return UserProperties::OfEvent;
    }
    let template = Template::new(&text);
    if template.single_path().is_some() { UserProperties::Template(template) } else { UserProperties::None }
}

fn read_mqtt_properties(fields: &mut Fields<'_>) -> Vec<(&'static str, Template)> {
    let mut properties = Vec::new();
    let object = match fields.raw("mqtt_properties") {
        None => return properties,
        Some(Json::Object(object)) => object,
        Some(value) => {
            fields.problem("mqtt_properties", format!("expected an object, got {}", json_type(value)));
            return properties;
        }
    };
    for (name, value) in object {
        let path = format!("mqtt_properties.{name}");
        let Some(known) = PROPERTIES.into_iter().find(|known| known == name) else {
            fields.problem(&path, format!("no such property, expected one of {}", PROPERTIES.join(", ")));
            continue;
        };
        match value {
            Json::String(text) => properties.push((known, Template::new(text))),
            Json::Number(number) => properties.push((known, Template::new(&number.to_string()))),
            value => fields.problem(&path, format!("expected a text, got {}", json_type(value))),
        }
    }
    properties
}
