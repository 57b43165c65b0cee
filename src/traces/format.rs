//! Lines of traces as they are written: for people, or as JSON.

use std::fmt::Write as _;

use api::{PayloadEncode, TraceDefinition, TraceFormatter, TraceVerbosity};
use engine_event::{JsonOptions, Text, TraceEvent, TraceLevel, Value, encode_json, write_text_form};
use serde_json::{Map, Value as Json};

/// How the lines of one trace are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    formatter: TraceFormatter,
    payload_encode: PayloadEncode,
    payload_limit: usize,
    least: TraceLevel,
}

impl Format {
    pub(super) fn of(definition: &TraceDefinition) -> Self {
        Self {
            formatter: definition.formatter,
            payload_encode: definition.payload_encode,
            payload_limit: match definition.payload_limit {
                0 => usize::MAX,
                limit => limit as usize,
            },
            least: match definition.level {
                TraceVerbosity::Debug => TraceLevel::Debug,
                TraceVerbosity::Info => TraceLevel::Info,
                TraceVerbosity::Warning => TraceLevel::Warning,
                TraceVerbosity::Error => TraceLevel::Error,
            },
        }
    }

    /// Appends the line of an event, with its end; nothing when it does not matter enough.
    pub(super) fn write(&self, event: &TraceEvent, line: &mut String) {
        if event.level < self.least {
            return;
        }
        match self.formatter {
            TraceFormatter::Text => self.write_text(event, line),
            TraceFormatter::Json => self.write_json(event, line),
        }
        line.push('\n');
    }

    fn write_text(&self, event: &TraceEvent, line: &mut String) {
        line.push_str(&time(event.at_ms));
        let _ = write!(line, " [{}] [{}] ", event.level.as_str(), event.tag); // to a text: never fails
        match (&event.client_id, event.peer) {
            (Some(client_id), Some(peer)) => {
                push_escaped(&client_id.to_str_lossy(), line);
                let _ = write!(line, "@{peer} ");
            }
            (Some(client_id), None) => {
                push_escaped(&client_id.to_str_lossy(), line);
                line.push(' ');
            }
            (None, Some(peer)) => {
                let _ = write!(line, "{peer} ");
            }
            (None, None) => {}
        }
        let _ = write!(line, "msg: {}", event.what);
        if let Some(username) = &event.username {
            line.push_str(", username: ");
            push_escaped(&username.to_str_lossy(), line);
        }
        for (name, value) in &event.fields {
            let mut text = Vec::new();
            write_text_form(value, &mut text);
            let _ = write!(line, ", {name}: ");
            push_escaped(&String::from_utf8_lossy(&text), line);
        }
        if let Some((name, payload)) = &event.payload {
            let _ = write!(line, ", {name}: ");
            push_escaped(&self.shown(payload), line);
        }
    }

    fn write_json(&self, event: &TraceEvent, line: &mut String) {
        let mut meta = Map::new();
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                meta.insert(name.to_owned(), value.into());
            }
        };
        let lossy = |text: &Text| text.to_str_lossy().into_owned();
        put("trace_tag", Some(event.tag.to_owned()));
        put("clientid", event.client_id.as_ref().map(lossy));
        put("username", event.username.as_ref().map(lossy));
        put("peername", event.peer.map(|peer| peer.to_string()));
        let mut object = Map::new();
        object.insert("time".to_owned(), time(event.at_ms).into());
        object.insert("level".to_owned(), event.level.as_str().into());
        object.insert("msg".to_owned(), event.what.into());
        object.insert("meta".to_owned(), meta.into());
        for (name, value) in &event.fields {
            object.insert((*name).to_owned(), json_of(value));
        }
        if let Some((name, payload)) = &event.payload {
            object.insert((*name).to_owned(), self.shown(payload).into());
        }
        line.push_str(&Json::Object(object).to_string());
    }

    /// A payload as the trace shows it.
    fn shown(&self, payload: &Text) -> String {
        let bytes = payload.as_bytes();
        let kept = &bytes[..bytes.len().min(self.payload_limit)];
        let mut text = match self.payload_encode {
            PayloadEncode::Hidden => return "******".to_owned(),
            PayloadEncode::Text => String::from_utf8_lossy(kept).into_owned(),
            PayloadEncode::Hex => kept.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02X}");
                text
            }),
        };
        if kept.len() < bytes.len() {
            let _ = write!(text, "...({} bytes more)", bytes.len() - kept.len());
        }
        text
    }
}

fn time(at_ms: i64) -> String {
    match chrono::DateTime::from_timestamp_millis(at_ms) {
        Some(time) => time.format("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string(),
        None => at_ms.to_string(),
    }
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::Text(text) => text.to_str_lossy().into_owned().into(),
        value => serde_json::from_slice(&encode_json(value, JsonOptions::default())).unwrap_or_default(),
    }
}

/// Appends a text so that it stays within its line: what clients send could end it.
fn push_escaped(text: &str, line: &mut String) {
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use api::TraceKind;

    use super::*;

    fn definition() -> TraceDefinition {
        TraceDefinition {
            name: "t".into(),
            kind: TraceKind::ClientId,
            value: "c".into(),
            start_at_ms: 0,
            end_at_ms: None,
            payload_encode: PayloadEncode::Text,
            payload_limit: 8,
            formatter: TraceFormatter::Text,
            level: TraceVerbosity::Debug,
            file: "t.log".into(),
        }
    }

    fn event() -> TraceEvent {
        TraceEvent {
            client_id: Some("c\n1".into()),
            username: Some("u".into()),
            peer: Some(([127, 0, 0, 1], 5).into()),
            ..TraceEvent::new(1_772_357_400_125, "MQTT", "publish_received")
        }
        .with("topic", "a\r\nb")
        .with("qos", 1_u8)
        .with("filters", Value::array(vec!["x".into()]))
        .payload("payload", "12345678\u{7}9".into())
    }

    #[track_caller]
    fn check(definition: &TraceDefinition, expect: &str) {
        let mut line = String::new();
        Format::of(definition).write(&event(), &mut line);
        assert_eq!(line, expect);
    }

    #[test]
    fn a_line_is_one_line_whatever_clients_send() {
        check(
            &definition(),
            "2026-03-01T09:30:00.125+00:00 [debug] [MQTT] c\\n1@127.0.0.1:5 msg: publish_received, username: u, \
             topic: a\\r\\nb, qos: 1, filters: [\"x\"], payload: 12345678...(2 bytes more)\n",
        );
        check(
            &TraceDefinition { formatter: TraceFormatter::Json, payload_limit: 0, ..definition() },
            "{\"time\":\"2026-03-01T09:30:00.125+00:00\",\"level\":\"debug\",\"msg\":\"publish_received\",\"meta\":\
             {\"trace_tag\":\"MQTT\",\"clientid\":\"c\\n1\",\"username\":\"u\",\"peername\":\"127.0.0.1:5\"},\
             \"topic\":\"a\\r\\nb\",\"qos\":1,\"filters\":[\"x\"],\"payload\":\"12345678\\u00079\"}\n",
        );
    }

    #[test]
    fn payloads_are_shown_as_asked() {
        for (payload_encode, payload_limit, expect) in [
            (PayloadEncode::Hidden, 0, "payload: ******\n"),
            (PayloadEncode::Hex, 2, "payload: 3132...(8 bytes more)\n"),
            (PayloadEncode::Text, 100, "payload: 12345678\\u{7}9\n"),
        ] {
            let mut line = String::new();
            let definition = TraceDefinition { payload_encode, payload_limit, ..definition() };
            Format::of(&definition).write(&event(), &mut line);
            assert!(line.ends_with(expect), "{line}");
        }
    }

    #[test]
    fn what_matters_less_is_left_out() {
        let mut line = String::new();
        let format = Format::of(&TraceDefinition { level: TraceVerbosity::Warning, ..definition() });
        format.write(&event(), &mut line);
        assert_eq!(line, "");
        format.write(&event().level(TraceLevel::Warning), &mut line);
        assert!(line.contains(" [warning] "), "{line}");
    }
}
