//! What waits for clients, as the configuration describes it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use broker_codec::topic::validate_topic_filter;
use broker_core::{BrokerConfig, DefaultPriority, QueueOverflow};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use crate::mqtt_config::Mqtt;

/// What a full queue does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MqueueOverflow {
    /// Its oldest message of the same priority gives way.
    #[default]
    DropOldest,
    /// The new message is dropped.
    DropNewest,
    /// The new message is dropped, and the client disconnected.
    Disconnect,
}

/// Where topics stand that have no priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MqueueDefaultPriority {
    /// Behind all that have one.
    #[default]
    Lowest,
    /// Before all that have one.
    Highest,
}

/// A number of things, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u32);

impl std::fmt::Display for Count {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => formatter.write_str("infinity"),
            count => write!(formatter, "{count}"),
        }
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => writer.serialize_str("infinity"),
            count => writer.serialize_u32(count),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let value = Json::deserialize(reader)?;
        let count = match &value {
            Json::String(text) if text == "infinity" => Some(0),
            value => value.as_u64().and_then(|count| u32::try_from(count).ok()),
        };
        count
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("expected a number or `infinity`, got `{value}`")))
    }
}

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [{"type": "integer", "minimum": 0}, {"const": "infinity"}]})
    }
}

/// Priorities 1 to 255 by topic or filter, or `disabled`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MqueuePriorities(BTreeMap<String, u8>);

impl Serialize for MqueuePriorities {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() { writer.serialize_str("disabled") } else { self.0.serialize(writer) }
    }
}

impl<'de> Deserialize<'de> for MqueuePriorities {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let table = match Json::deserialize(reader)? {
            Json::String(text) if text == "disabled" => return Ok(Self::default()),
            Json::Object(table) => table,
            other => {
                let expected = "expected a table of topics with their priorities, or `disabled`";
                return Err(D::Error::custom(format!("{expected}, got `{other}`")));
            }
        };
        let read = |(filter, value): (String, Json)| {
            validate_topic_filter(&filter).map_err(|error| format!("`{filter}`: {error}"))?;
            let priority = value.as_u64().and_then(|number| u8::try_from(number).ok());
            match priority.filter(|priority| *priority > 0) {
                Some(priority) => Ok((filter, priority)),
                None => Err(format!("`{filter}`: expected a priority from 1 to 255, got `{value}`")),
            }
        };
        let table: Result<_, String> = table.into_iter().map(read).collect();
        table.map(Self).map_err(D::Error::custom)
    }
}

impl JsonSchema for MqueuePriorities {
    fn schema_name() -> Cow<'static, str> {
        "MqueuePriorities".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1, "maximum": 255}},
            {"const": "disabled"},
        ]})
    }
}

/// Completes the broker's configuration with these settings.
pub(crate) fn complete(broker: &mut BrokerConfig, mqtt: &Mqtt) {
    broker.max_queue_len = mqtt.max_mqueue_len.0 as usize;
    broker.max_queue_bytes = usize::try_from(mqtt.max_mqueue_bytes.get()).unwrap_or(usize::MAX);
    broker.queue_overflow = match mqtt.mqueue_overflow {
        MqueueOverflow::DropOldest => QueueOverflow::DropOldest,
        MqueueOverflow::DropNewest => QueueOverflow::DropNewest,
        MqueueOverflow::Disconnect => QueueOverflow::Disconnect,
    };
    broker.queue_priorities = mqtt.mqueue_priorities.0.clone();
    broker.queue_default_priority = match mqtt.mqueue_default_priority {
        MqueueDefaultPriority::Lowest => DefaultPriority::Lowest,
        MqueueDefaultPriority::Highest => DefaultPriority::Highest,
    };
    broker.store_qos0 = mqtt.mqueue_store_qos0;
    broker.offline_qos0 = mqtt.offline_qos0;
}

#[cfg(test)]
mod tests {
    use connectors_api::parse_config;
    use serde_json::json;

    use super::*;

    #[test]
    fn queues_are_read_and_shown() {
        let given = json!({
            "max_mqueue_len": "infinity", "max_mqueue_bytes": "2MB", "mqueue_overflow": "disconnect",
            "mqueue_priorities": {"a/#": 3, "b": 255}, "mqueue_default_priority": "highest",
            "mqueue_store_qos0": false, "offline_qos0": false
        });
        let mqtt: Mqtt = parse_config(&given).expect("settings");
        let mut broker = BrokerConfig::default();
        complete(&mut broker, &mqtt);
        assert_eq!((broker.max_queue_len, broker.max_queue_bytes), (0, 2 << 20));
        assert_eq!(broker.queue_overflow, QueueOverflow::Disconnect);
        assert_eq!(broker.queue_priorities["b"], 255);
        let shown = serde_json::to_value(&mqtt).expect("JSON");
        for (name, value) in given.as_object().expect("a table") {
            assert_eq!(&shown[name], value, "{name}");
        }
        let default = serde_json::to_value(Mqtt::default()).expect("JSON");
        assert_eq!(
            (&default["mqueue_priorities"], &default["max_mqueue_len"]),
            (&json!("disabled"), &json!(1000))
        );
    }

    #[test]
    fn priorities_are_checked() {
        let check = |value: Json, want: &str| {
            let error = parse_config::<Mqtt>(&json!({ "mqueue_priorities": value })).expect_err("wrong");
            assert!(error.to_string().contains(want), "{error}");
        };
        check(json!({"a": 0}), "`a`: expected a priority from 1 to 255, got `0`");
        check(json!({"a": 256}), "from 1 to 255, got `256`");
        check(json!({"a/#/b": 1}), "`a/#/b`: ");
        check(json!("on"), "expected a table of topics");
    }
}
