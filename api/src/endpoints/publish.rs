//! Publishing messages.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine_event::{Map, NewMessage, PublishError, Publisher, Text, Value, topic};
use http::StatusCode;
use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::web::{Answer, ApiError, JsonBody, NoQuery, Query};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(publish)).routes(routes!(publish_bulk))
}

/// Column `clientid` of the rules that such a message triggers.
const PUBLISHER: &str = "sluice_mgmt";

/// Messages of one bulk request at most.
const BULK_MAX: usize = 10_000;

/// MQTT reason codes of the answers.
const NO_MATCHING_SUBSCRIBERS: u8 = 16;
const IMPLEMENTATION_ERROR: u8 = 131;
const TOPIC_NAME_INVALID: u8 = 144;
/// EMQX answers a message that is too large with this code, which is Quota Exceeded in MQTT.
const PACKET_TOO_LARGE: u8 = 151;
const QUOTA_EXCEEDED: u8 = 151;
const PAYLOAD_FORMAT_INVALID: u8 = 153;

/// A message to be published.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Message {
    topic: String,
    payload: String,
    /// How `payload` is written: `plain`, which is the default, or `base64`.
    #[serde(default, alias = "encoding")]
    payload_encoding: Encoding,
    /// 0, 1 or 2; the default is 0.
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    retain: bool,
    #[serde(default)]
    properties: Properties,
    /// Accepted and not used: the publisher's client id is fixed.
    #[serde(default)]
    #[allow(dead_code)]
    clientid: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Plain,
    Base64,
}

/// MQTT 5 properties of a message.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Properties {
    #[serde(default)]
    payload_format_indicator: Option<u8>,
    /// Seconds.
    #[serde(default)]
    message_expiry_interval: Option<u32>,
    #[serde(default)]
    response_topic: Option<String>,
    #[serde(default)]
    correlation_data: Option<String>,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    #[schema(value_type = Object)]
    user_properties: IndexMap<String, String>,
}

impl Properties {
    fn into_map(self) -> Map {
        let mut map = Map::new();
        let mut insert = |name: &'static str, value: Option<Value>| {
            if let Some(value) = value {
                map.insert(Text::from_static(name), value);
            }
        };
        insert("Payload-Format-Indicator", self.payload_format_indicator.map(Value::from));
        insert("Message-Expiry-Interval", self.message_expiry_interval.map(Value::from));
        insert("Response-Topic", self.response_topic.map(Value::from));
        insert("Correlation-Data", self.correlation_data.map(Value::from));
        insert("Content-Type", self.content_type.map(Value::from));
        if !self.user_properties.is_empty() {
            let user: Map = self.user_properties.into_iter().collect();
            insert("User-Property", Some(Value::Map(user)));
        }
        map
    }
}

/// What became of a message: an HTTP status and a body.
struct Report {
    status: StatusCode,
    body: JsonValue,
}

impl IntoResponse for Report {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl Report {
    fn refused(status: StatusCode, reason_code: u8, word: &str, detail: Option<String>) -> Self {
        let code =
            if status == StatusCode::SERVICE_UNAVAILABLE { "SERVICE_UNAVAILABLE" } else { "BAD_REQUEST" };
        let mut body = json!({"code": code, "reason_code": reason_code, "message": word});
        if let Some(detail) = detail {
            body["detail"] = detail.into();
        }
        Self { status, body }
    }

    fn malformed(reason_code: u8, word: &str, detail: String) -> Self {
        Self::refused(StatusCode::BAD_REQUEST, reason_code, word, Some(detail))
    }
}

/// Publishes a message as if a client had.
#[utoipa::path(
    post, path = "/publish", tag = "Publish", request_body = Message,
    responses(
        (status = 200, body = JsonValue, description = "Handed to at least one subscriber"),
        (status = 202, body = JsonValue, description = "Accepted, but nobody has subscribed"),
    )
)]
async fn publish(State(api): State<Api>, _: Query<NoQuery>, JsonBody(message): JsonBody<Message>) -> Report {
    match check(&api, message) {
        Ok(message) => {
            let report = dispatch(&api, message);
            if committed(&api).await { report } else { undeliverable(&PublishError::NotStored) }
        }
        Err(report) => report,
    }
}

/// Publishes messages in order. When one is malformed, none is published.
#[utoipa::path(
    post, path = "/publish/bulk", tag = "Publish", request_body = Vec<Message>,
    responses(
        (status = 200, body = Vec<JsonValue>, description = "Each was handed to at least one subscriber"),
        (status = 202, body = Vec<JsonValue>, description = "Nobody has subscribed to some of them"),
    )
)]
async fn publish_bulk(
    State(api): State<Api>,
    _: Query<NoQuery>,
    JsonBody(messages): JsonBody<Vec<Message>>,
) -> Answer<Report> {
    if messages.len() > BULK_MAX {
        return Err(ApiError::bad_request(format!(
            "expected at most {BULK_MAX} messages, got {}",
            messages.len()
        )));
    }
    let checked: Vec<_> = messages.into_iter().map(|message| check(&api, message)).collect();
    if checked.iter().any(Result::is_err) {
        return Ok(refused_bulk(&checked));
    }
    let reports: Vec<_> = checked.into_iter().flatten().map(|message| dispatch(&api, message)).collect();
    if !committed(&api).await {
        return Ok(undeliverable(&PublishError::NotStored));
    }
    let any = |status| reports.iter().any(|report: &Report| report.status == status);
    let worst = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::BAD_REQUEST, StatusCode::ACCEPTED];
    let status = worst.into_iter().find(|status| any(*status)).unwrap_or(StatusCode::OK);
    Ok(Report { status, body: reports.into_iter().map(|report| report.body).collect() })
}

/// The answer when messages are malformed: those that are not were not sent either.
fn refused_bulk(checked: &[Result<NewMessage, Report>]) -> Report {
    let body = checked.iter().map(|result| match result {
        Ok(_) => json!({"code": "BAD_REQUEST", "reason_code": IMPLEMENTATION_ERROR,
            "message": "not_sent", "detail": "another message of the request is malformed"}),
        Err(report) => report.body.clone(),
    });
    Report { status: StatusCode::BAD_REQUEST, body: body.collect() }
}

/// Finds what is wrong with a message before any of a bulk request is sent.
fn check(api: &Api, message: Message) -> Result<NewMessage, Report> {
    if !topic::is_valid_name(&message.topic) {
        let detail = format!("expected a topic without wildcards, got `{}`", message.topic);
        return Err(Report::malformed(TOPIC_NAME_INVALID, "topic_name_invalid", detail));
    }
    if message.qos > 2 {
        let detail = format!("expected a qos of 0, 1 or 2, got {}", message.qos);
        return Err(Report::malformed(IMPLEMENTATION_ERROR, "qos_invalid", detail));
    }
    let payload = match message.payload_encoding {
        Encoding::Plain => message.payload.into_bytes(),
        Encoding::Base64 => STANDARD.decode(&message.payload).map_err(|error| {
            Report::malformed(
                PAYLOAD_FORMAT_INVALID,
                "payload_format_invalid",
                format!("payload: not base64: {error}"),
            )
        })?,
    };
    let limit = api.broker().config().max_packet_size as usize;
    let size = message.topic.len() + payload.len();
    if size > limit {
        return Err(undeliverable(&PublishError::TooLarge { size, limit }));
    }
    if let Some(indicator @ 2..) = message.properties.payload_format_indicator {
        let detail = format!("properties.payload_format_indicator: expected 0 or 1, got {indicator}");
        return Err(Report::malformed(IMPLEMENTATION_ERROR, "property_invalid", detail));
    }
    Ok(NewMessage {
        topic: message.topic.into(),
        payload: payload.into(),
        qos: message.qos,
        retain: message.retain,
        properties: message.properties.into_map(),
        client_id: Text::from_static(PUBLISHER),
        ..NewMessage::default()
    })
}

/// Waits until what durable sessions got, or was retained, is stored, and says whether it is.
pub(super) async fn committed(api: &Api) -> bool {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    api.broker().commit_then(Box::new(move |committed| {
        let _ = sender.send(committed); // who asked may have gone
    }));
    receiver.await.unwrap_or(false)
}

fn dispatch(api: &Api, message: NewMessage) -> Report {
    match api.broker().publish(message) {
        Ok(report) if report.subscribers > 0 => {
            Report { status: StatusCode::OK, body: json!({"id": format!("{:032X}", report.id)}) }
        }
        Ok(_) => Report {
            status: StatusCode::ACCEPTED,
            body: json!({"reason_code": NO_MATCHING_SUBSCRIBERS, "message": "no_matching_subscribers"}),
        },
        Err(error) => undeliverable(&error),
    }
}

fn undeliverable(error: &PublishError) -> Report {
    let detail = error.to_string();
    match error {
        PublishError::Topic { .. } => Report::malformed(TOPIC_NAME_INVALID, "topic_name_invalid", detail),
        PublishError::TooLarge { .. } => Report::malformed(PACKET_TOO_LARGE, "packet_too_large", detail),
        PublishError::Property { .. } => Report::malformed(IMPLEMENTATION_ERROR, "property_invalid", detail),
        PublishError::Full => Report::malformed(QUOTA_EXCEEDED, "quota_exceeded", detail),
        PublishError::NotStored | PublishError::Stopping => Report::refused(
            StatusCode::SERVICE_UNAVAILABLE,
            IMPLEMENTATION_ERROR,
            "failed_to_dispatch",
            Some(detail),
        ),
    }
}
