//! MQTT 5 properties as maps (rule language, section 13.9), and back.

use broker_codec::{PropertiesRef, Property, PropertyId, Publish, QoS};
use engine_event::{Map, PublishError, PublishProperties, Text, Value};

use broker_codec::Properties;

/// The properties of a message, turned into a map when somebody looks.
#[derive(Debug)]
pub(crate) struct MessageProperties(pub(crate) Publish);

impl PublishProperties for MessageProperties {
    fn to_map(&self) -> Map {
        to_map(self.0.properties())
    }
}

/// Returns the properties by their names with hyphens, user properties as a map and as pairs in order.
pub(crate) fn to_map(properties: PropertiesRef<'_>) -> Map {
    let mut map = Map::new();
    let mut user = Map::new();
    let mut pairs = Vec::new();
    for property in properties {
        if let Property::UserProperty(name, value) = property {
            user.insert(name, value);
            let pair: Map = [("key", Value::from(name)), ("value", Value::from(value))].into_iter().collect();
            pairs.push(Value::Map(pair));
        } else {
            map.insert(display_name(property.id()), value_of(property));
        }
    }
    map.insert("User-Property", user);
    if !pairs.is_empty() {
        map.insert("User-Property-Pairs", pairs);
    }
    map
}

fn value_of(property: Property<'_>) -> Value {
    use Property as P;
    match property {
        P::PayloadFormatIndicator(flag) | P::RequestProblemInformation(flag) => Value::Int(i64::from(flag)),
        P::RequestResponseInformation(flag) | P::RetainAvailable(flag) => Value::Int(i64::from(flag)),
        P::WildcardSubscriptionAvailable(flag)
        | P::SubscriptionIdentifiersAvailable(flag)
        | P::SharedSubscriptionAvailable(flag) => Value::Int(i64::from(flag)),
        P::MessageExpiryInterval(number)
        | P::SubscriptionIdentifier(number)
        | P::SessionExpiryInterval(number)
        | P::WillDelayInterval(number)
        | P::MaximumPacketSize(number) => Value::from(number),
        P::ServerKeepAlive(number)
        | P::ReceiveMaximum(number)
        | P::TopicAliasMaximum(number)
        | P::TopicAlias(number) => Value::from(u32::from(number)),
        P::MaximumQoS(qos) => Value::from(qos.as_u8()),
        P::ContentType(text)
        | P::ResponseTopic(text)
        | P::AssignedClientIdentifier(text)
        | P::AuthenticationMethod(text)
        | P::ResponseInformation(text)
        | P::ServerReference(text)
        | P::ReasonString(text) => Value::from(text),
        P::CorrelationData(data) | P::AuthenticationData(data) => Value::Text(Text::copy_from(data)),
        P::UserProperty(_, value) => Value::from(value),
    }
}

/// `message expiry interval` as `Message-Expiry-Interval`.
fn display_name(id: PropertyId) -> String {
    let mut name = String::with_capacity(id.name().len());
    for word in id.name().split(' ') {
        if !name.is_empty() {
            name.push('-');
        }
        let mut letters = word.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

/// Reads the properties of a message made inside the server.
pub(crate) fn from_map(map: &Map) -> Result<Properties, PublishError> {
    let mut properties = Properties::new();
    for (name, value) in map {
        let name = name.to_str_lossy().into_owned();
        if value.is_undefined() {
            continue;
        }
        match name.as_str() {
            "Payload-Format-Indicator" => {
                let number = number_of(&name, value, 1)?;
                push(&mut properties, &name, Property::PayloadFormatIndicator(number == 1))?;
            }
            "Message-Expiry-Interval" => {
                let number = number_of(&name, value, u32::MAX)?;
                push(&mut properties, &name, Property::MessageExpiryInterval(number))?;
            }
            "Content-Type" => push(&mut properties, &name, Property::ContentType(text_of(&name, value)?))?,
            "Response-Topic" => {
                push(&mut properties, &name, Property::ResponseTopic(text_of(&name, value)?))?;
            }
            "Correlation-Data" => {
                let data = value.as_text().ok_or_else(|| wrong(&name, "text or bytes"))?;
                push(&mut properties, &name, Property::CorrelationData(data.as_bytes()))?;
            }
            "User-Property" => push_user_properties(&mut properties, &name, value)?,
            "User-Property-Pairs" => push_pairs(&mut properties, &name, value)?,
            _ => return Err(wrong(&name, "a property of PUBLISH")),
        }
    }
    Ok(properties)
}

fn push_user_properties(properties: &mut Properties, name: &str, value: &Value) -> Result<(), PublishError> {
    let Value::Map(map) = value else { return push_pairs(properties, name, value) };
    for (key, value) in map {
        let key = key.as_str().ok_or_else(|| wrong(name, "names that are UTF-8"))?;
        push_user_property(properties, name, key, value)?;
    }
    Ok(())
}

fn push_pairs(properties: &mut Properties, name: &str, value: &Value) -> Result<(), PublishError> {
    const EXPECTED: &str = "a map, or an array of pairs with `key` and `value`";
    let Value::Array(pairs) = value else { return Err(wrong(name, EXPECTED)) };
    for pair in pairs.iter() {
        let pair = pair.as_map().ok_or_else(|| wrong(name, EXPECTED))?;
        let key = pair.get("key").and_then(Value::as_text).and_then(Text::as_str);
        let (Some(key), Some(value)) = (key, pair.get("value")) else { return Err(wrong(name, EXPECTED)) };
        push_user_property(properties, name, key, value)?;
    }
    Ok(())
}

fn push_user_property(
    properties: &mut Properties,
    name: &str,
    key: &str,
    value: &Value,
) -> Result<(), PublishError> {
    let mut text = String::new();
    match value {
        Value::Text(found) => {
            text.push_str(found.as_str().ok_or_else(|| wrong(name, "values that are UTF-8"))?);
        }
        Value::Int(number) => text = number.to_string(),
        Value::Bool(flag) => text = flag.to_string(),
        Value::Float(number) => text = engine_event::float_text(*number),
        _ => return Err(wrong(name, "values that are text, numbers or booleans")),
    }
    push(properties, name, Property::UserProperty(key, &text))
}

fn push(properties: &mut Properties, name: &str, property: Property<'_>) -> Result<(), PublishError> {
    properties.push(property).map_err(|_| wrong(name, "a value that MQTT allows"))
}

fn number_of(name: &str, value: &Value, max: u32) -> Result<u32, PublishError> {
    match value {
        Value::Int(number) => u32::try_from(*number).ok().filter(|number| *number <= max),
        _ => None,
    }
    .ok_or_else(|| wrong(name, if max == 1 { "0 or 1" } else { "an integer from 0 to 4294967295" }))
}

fn text_of<'a>(name: &str, value: &'a Value) -> Result<&'a str, PublishError> {
    value.as_text().and_then(Text::as_str).ok_or_else(|| wrong(name, "a text"))
}

fn wrong(name: &str, expected: &'static str) -> PublishError {
    PublishError::Property { name: name.to_owned(), expected }
}

/// Returns the QoS of a message made inside the server; above 2 is 2.
pub(crate) fn qos_of(number: u8) -> QoS {
    QoS::from_u8(number).unwrap_or(QoS::ExactlyOnce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_and_properties_are_the_same_thing() {
        let properties = Properties::from_list(&[
            Property::PayloadFormatIndicator(true),
            Property::MessageExpiryInterval(60),
            Property::ContentType("application/json"),
            Property::ResponseTopic("r/1"),
            Property::CorrelationData(b"\x00\xff"),
            Property::UserProperty("room", "1"),
            Property::UserProperty("room", "2"),
        ])
        .expect("valid");
        let mut map = to_map(properties.as_ref());
        for (name, want) in [
            ("Payload-Format-Indicator", Value::Int(1)),
            ("Message-Expiry-Interval", Value::Int(60)),
            ("Content-Type", Value::text("application/json")),
            ("Response-Topic", Value::text("r/1")),
            ("Correlation-Data", Value::Text(Text::copy_from(b"\x00\xff"))),
        ] {
            assert_eq!(map.get(name), Some(&want), "{name}");
        }
        let user = map.get("User-Property").and_then(Value::as_map).expect("a map");
        assert_eq!(user.get("room"), Some(&Value::text("2")));
        map.remove("User-Property");
        assert_eq!(from_map(&map).expect("valid"), properties);
    }

    #[test]
    fn bad_properties_are_named() {
        for (name, value) in [
            ("Topic-Alias", Value::Int(1)),
            ("Content-Type", Value::Int(1)),
            ("Response-Topic", Value::text("a/+")),
            ("Message-Expiry-Interval", Value::Int(-1)),
            ("Payload-Format-Indicator", Value::Int(2)),
            ("User-Property", Value::Int(1)),
        ] {
            let map: Map = [(name, value)].into_iter().collect();
            let Err(PublishError::Property { name: found, .. }) = from_map(&map) else {
                panic!("{name} is accepted");
            };
            assert_eq!(found, name);
        }
    }
}
