//! The clients and topics whose messages took longest.

use axum::Json;
use axum::extract::State;
use broker_core::SlowSubscription;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::slow_subs::SlowSubsSettings;
use crate::web::{Answer, JsonBody, NoQuery, Page, PageRequest, Query};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_slow_subscriptions, clear_slow_subscriptions))
        .routes(routes!(get_slow_subscription_settings, put_slow_subscription_settings))
}

/// A subscription that was slow.
#[derive(Debug, Serialize, ToSchema)]
struct SlowSubscriber {
    clientid: String,
    node: String,
    /// Topic of the message.
    topic: String,
    /// The longest time that a message took, in milliseconds.
    timespan: u64,
    /// When that was, Unix milliseconds.
    last_update_time: i64,
}

impl SlowSubscriber {
    fn new(slow: SlowSubscription, node: &str) -> Self {
        Self {
            clientid: slow.client_id.to_str_lossy().into_owned(),
            node: node.to_owned(),
            topic: slow.topic.into(),
            timespan: slow.took_ms,
            last_update_time: slow.at_ms,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SlowQuery {
    /// Number of the page, from 1.
    page: Option<u32>,
    /// Most elements of a page, 1 to 10,000.
    limit: Option<u32>,
}

/// Lists the slowest subscriptions, the worst first.
#[utoipa::path(
    get, path = "/slow_subscriptions", tag = "Slow subscriptions", params(SlowQuery),
    responses((status = 200, body = Page<SlowSubscriber>))
)]
async fn list_slow_subscriptions(
    State(api): State<Api>,
    Query(query): Query<SlowQuery>,
) -> Answer<Json<Page<SlowSubscriber>>> {
    let page = PageRequest::new(query.page, query.limit)?;
    let node = &api.settings().node;
    Ok(Json(page.cut(api.broker().slow_subscriptions()).map(|slow| SlowSubscriber::new(slow, node))))
}

/// Empties the list of slow subscriptions.
#[utoipa::path(
    delete, path = "/slow_subscriptions", tag = "Slow subscriptions", responses((status = 204))
)]
async fn clear_slow_subscriptions(State(api): State<Api>, _: Query<NoQuery>) -> StatusCode {
    api.broker().clear_slow_subscriptions();
    StatusCode::NO_CONTENT
}

/// Shows when a subscription counts as slow.
#[utoipa::path(
    get, path = "/slow_subscriptions/settings", tag = "Slow subscriptions",
    responses((status = 200, body = SlowSubsSettings))
)]
async fn get_slow_subscription_settings(State(api): State<Api>, _: Query<NoQuery>) -> Json<SlowSubsSettings> {
    Json(api.slow_subs().settings())
}

/// Sets when a subscription counts as slow, and whether times are taken at all.
#[utoipa::path(
    put, path = "/slow_subscriptions/settings", tag = "Slow subscriptions", request_body = SlowSubsSettings,
    responses((status = 200, body = SlowSubsSettings))
)]
async fn put_slow_subscription_settings(
    State(api): State<Api>,
    _: Query<NoQuery>,
    JsonBody(settings): JsonBody<SlowSubsSettings>,
) -> Answer<Json<SlowSubsSettings>> {
    api.slow_subs().change(settings).await?;
    Ok(Json(api.slow_subs().settings()))
}
