//! Messages that are published later.

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use broker_core::DelayedInfo;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::clients::off_thread;
use crate::Api;
use crate::web::{Answer, ApiError, Code, NoQuery, Page, PageRequest, Path, Query, rfc3339_ms};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_delayed)).routes(routes!(delete_delayed))
}

/// A message that waits for its time.
#[derive(Debug, Serialize, ToSchema)]
struct DelayedMessage {
    msgid: String,
    node: String,
    /// When it was accepted.
    publish_at: String,
    /// Seconds from then to its time.
    delayed_interval: i64,
    /// Seconds from now to its time.
    delayed_remaining: i64,
    /// Its time.
    expected_at: String,
    topic: String,
    qos: u8,
    from_clientid: String,
    from_username: String,
    /// Base64.
    payload: String,
}

impl DelayedMessage {
    fn of(delayed: &DelayedInfo, node: &str, now_ms: i64) -> Self {
        let username = delayed.username.as_ref().map(|name| name.to_str_lossy().into_owned());
        Self {
            msgid: format!("{:032X}", delayed.id),
            node: node.to_owned(),
            publish_at: rfc3339_ms(delayed.accepted_at_ms),
            delayed_interval: (delayed.due_ms - delayed.accepted_at_ms).max(0) / 1000,
            delayed_remaining: (delayed.due_ms - now_ms).max(0) / 1000,
            expected_at: rfc3339_ms(delayed.due_ms),
            topic: delayed.publish.topic().to_owned(),
            qos: delayed.publish.qos().as_u8(),
            from_clientid: delayed.client_id.to_str_lossy().into_owned(),
            from_username: username.unwrap_or_else(|| "undefined".to_owned()),
            payload: STANDARD.encode(delayed.publish.payload_slice()),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DelayedQuery {
    /// Number of the page, from 1.
    page: Option<u32>,
    /// Most elements of a page, 1 to 10,000.
    limit: Option<u32>,
}

/// Lists messages that wait for their time, the next ones first.
#[utoipa::path(
    get, path = "/mqtt/delayed/messages", tag = "Delayed messages", params(DelayedQuery),
    responses((status = 200, body = Page<DelayedMessage>))
)]
async fn list_delayed(
    State(api): State<Api>,
    Query(query): Query<DelayedQuery>,
) -> Answer<Json<Page<DelayedMessage>>> {
    let page = PageRequest::new(query.page, query.limit)?;
    off_thread(&api, move |broker| {
        // one more than the page shows, to know whether there is another
        let upto = page.skip().saturating_add(page.limit()).saturating_add(1);
        let mut found = broker.delayed_messages(upto);
        let has_next = found.len() == upto;
        let whole = if has_next { None } else { Some(found.len()) };
        found.truncate(upto - 1);
        let (node, now_ms) = (&broker.config().node, broker.now_ms());
        let shown = found.iter().skip(page.skip());
        let data = shown.map(|delayed| DelayedMessage::of(delayed, node, now_ms)).collect();
        Json(page.page(data, whole, has_next))
    })
    .await
}

/// Forgets a message that waits for its time.
#[utoipa::path(
    delete, path = "/mqtt/delayed/messages/{node}/{msgid}", tag = "Delayed messages",
    responses((status = 204))
)]
async fn delete_delayed(
    State(api): State<Api>,
    Path((node, msgid)): Path<(String, String)>,
    _: Query<NoQuery>,
) -> Answer<StatusCode> {
    let missing = || ApiError::new(Code::NotFound, format!("no delayed message `{msgid}` on `{node}`"));
    let id = u128::from_str_radix(&msgid, 16).map_err(|_| missing())?;
    if node == api.broker().config().node && api.broker().delete_delayed(id) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(missing())
    }
}
