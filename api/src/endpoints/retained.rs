//! Retained messages.

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use broker_core::RetainedInfo;
use engine_event::topic;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::clients::off_thread;
use crate::Api;
use crate::web::{Answer, ApiError, Code, NoQuery, Page, PageRequest, Path, Query, rfc3339_ms};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_retained, delete_all_retained))
        .routes(routes!(get_retained, delete_retained))
}

/// A retained message without its payload.
#[derive(Debug, Serialize, ToSchema)]
struct RetainedMessage {
    /// Message id; empty: it is not kept.
    msgid: String,
    topic: String,
    qos: u8,
    publish_at: String,
    from_clientid: String,
    /// User name; `undefined`: it is not kept.
    from_username: String,
}

/// A retained message with its payload.
#[derive(Debug, Serialize, ToSchema)]
struct RetainedPayload {
    #[serde(flatten)]
    message: RetainedMessage,
    /// Base64.
    payload: String,
}

impl From<&RetainedInfo> for RetainedMessage {
    fn from(retained: &RetainedInfo) -> Self {
        Self {
            msgid: String::new(),
            topic: retained.publish.topic().to_owned(),
            qos: retained.publish.qos().as_u8(),
            publish_at: rfc3339_ms(retained.received_at_ms),
            from_clientid: retained.client_id.to_str_lossy().into_owned(),
            from_username: "undefined".to_owned(),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RetainedQuery {
    /// Number of the page, from 1.
    page: Option<u32>,
    /// Most elements of a page, 1 to 10,000.
    limit: Option<u32>,
    /// Only topics that match this filter.
    topic: Option<String>,
}

/// Lists retained messages, in the order of topics.
#[utoipa::path(
    get, path = "/mqtt/retainer/messages", tag = "Retained messages", params(RetainedQuery),
    responses((status = 200, body = Page<RetainedMessage>))
)]
async fn list_retained(
    State(api): State<Api>,
    Query(query): Query<RetainedQuery>,
) -> Answer<Json<Page<RetainedMessage>>> {
    let page = PageRequest::new(query.page, query.limit)?;
    if let Some(filter) = query.topic.as_deref().filter(|filter| !topic::is_valid_filter(filter)) {
        return Err(ApiError::bad_request(format!("query field topic: `{filter}` is not a topic filter")));
    }
    off_thread(&api, move |broker| {
        // one more than the page shows, to know whether there is another
        let upto = page.skip().saturating_add(page.limit()).saturating_add(1);
        let mut found = match &query.topic {
            Some(filter) => broker.retained_messages(filter, upto),
            None => all_retained(broker, upto),
        };
        let has_next = found.len() == upto;
        let whole = if has_next { None } else { Some(found.len()) };
        found.truncate(upto - 1);
        let data = found.iter().skip(page.skip()).map(RetainedMessage::from).collect();
        Json(page.page(data, whole, has_next))
    })
    .await
}

/// Messages of every topic, also those that begin with `$`, which `#` does not match.
fn all_retained(broker: &broker_core::Broker, limit: usize) -> Vec<RetainedInfo> {
    let mut found = broker.retained_messages("$SYS/#", limit);
    found.extend(broker.retained_messages("#", limit));
    found.truncate(limit);
    found
}

/// Forgets all retained messages.
#[utoipa::path(
    delete, path = "/mqtt/retainer/messages", tag = "Retained messages",
    responses((status = 204))
)]
async fn delete_all_retained(State(api): State<Api>, _: Query<NoQuery>) -> Answer<StatusCode> {
    off_thread(&api, |broker| {
        for retained in all_retained(broker, usize::MAX) {
            broker.delete_retained(retained.publish.topic());
        }
        StatusCode::NO_CONTENT
    })
    .await
}

/// Shows the retained message of a topic with its payload.
#[utoipa::path(
    get, path = "/mqtt/retainer/message/{topic}", tag = "Retained messages",
    responses((status = 200, body = RetainedPayload))
)]
async fn get_retained(
    State(api): State<Api>,
    Path(topic): Path<String>,
    _: Query<NoQuery>,
) -> Answer<Json<RetainedPayload>> {
    let retained = api.broker().retained_message(&topic).ok_or_else(|| nothing_retained(&topic))?;
    Ok(Json(RetainedPayload {
        message: (&retained).into(),
        payload: STANDARD.encode(retained.publish.payload_slice()),
    }))
}

/// Forgets the retained message of a topic.
#[utoipa::path(
    delete, path = "/mqtt/retainer/message/{topic}", tag = "Retained messages",
    responses((status = 204))
)]
async fn delete_retained(
    State(api): State<Api>,
    Path(topic): Path<String>,
    _: Query<NoQuery>,
) -> Answer<StatusCode> {
    if api.broker().delete_retained(&topic) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(nothing_retained(&topic))
    }
}

fn nothing_retained(topic: &str) -> ApiError {
    ApiError::new(Code::NotFound, format!("topic `{topic}` has no retained message"))
}
