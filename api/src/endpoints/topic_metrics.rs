//! Counters of single topics.

use axum::Json;
use axum::extract::State;
use broker_core::{TopicCounter, TopicMetrics};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as JsonValue};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::web::{Answer, ApiError, Code, JsonBody, NoQuery, Path, Query, rfc3339_ms};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_topic_metrics, create_topic_metrics, reset_topic_metrics))
        .routes(routes!(get_topic_metrics, delete_topic_metrics))
}

/// A topic that is counted.
#[derive(Debug, Serialize, ToSchema)]
struct CountedTopic {
    /// The topic or filter.
    topic: String,
    /// RFC 3339.
    create_time: String,
    /// When the counters were set to zero, RFC 3339; missing for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    reset_time: Option<String>,
    /// For each of `messages.in`, `messages.out`, `messages.dropped` and `messages.qos0.in` to `messages.qos2.out`: `.count`,
    /// and `.rate` for each second of the last five.
    metrics: Map<String, JsonValue>,
}

impl CountedTopic {
    fn new(metrics: &TopicMetrics) -> Self {
        let rounded = |rate: f64| (rate * 100.0).round() / 100.0;
        let values = TopicCounter::ALL.into_iter().flat_map(|counter| {
            let name = counter.name();
            [
                (format!("{name}.count"), metrics.count(counter).into()),
                (format!("{name}.rate"), rounded(metrics.rate(counter)).into()),
            ]
        });
        Self {
            topic: metrics.filter.to_string(),
            create_time: rfc3339_ms(metrics.created_at_ms),
            reset_time: metrics.reset_at_ms.map(rfc3339_ms),
            metrics: values.collect(),
        }
    }
}

/// A topic to be counted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewCountedTopic {
    /// A topic, or a filter whose topics are counted together.
    topic: String,
}

/// What is to be done with counters.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TopicMetricsAction {
    action: TopicMetricsVerb,
    /// The topic or filter; all of them unless given.
    #[serde(default)]
    topic: Option<String>,
}

/// What can be done with counters.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum TopicMetricsVerb {
    /// Set them to zero.
    Reset,
}

fn unknown(topic: &str) -> ApiError {
    ApiError::new(Code::TopicNotFound, format!("topic `{topic}` is not counted"))
}

/// Lists the topics that are counted.
#[utoipa::path(
    get, path = "/mqtt/topic_metrics", tag = "Topic metrics", responses((status = 200, body = Vec<CountedTopic>))
)]
async fn list_topic_metrics(State(api): State<Api>, _: Query<NoQuery>) -> Json<Vec<CountedTopic>> {
    Json(api.broker().topic_metrics().iter().map(CountedTopic::new).collect())
}

/// Counts the messages of a topic, or of all topics that a filter matches; at most 512.
#[utoipa::path(
    post, path = "/mqtt/topic_metrics", tag = "Topic metrics", request_body = NewCountedTopic,
    responses((status = 200, body = CountedTopic))
)]
async fn create_topic_metrics(
    State(api): State<Api>,
    _: Query<NoQuery>,
    JsonBody(new): JsonBody<NewCountedTopic>,
) -> Answer<Json<CountedTopic>> {
    api.counted_topics().add(&new.topic).await?;
    show(&api, &new.topic)
}

/// Sets the counters of a topic, or of all, to zero.
#[utoipa::path(
    put, path = "/mqtt/topic_metrics", tag = "Topic metrics", request_body = TopicMetricsAction,
    responses((status = 204))
)]
async fn reset_topic_metrics(
    State(api): State<Api>,
    _: Query<NoQuery>,
    JsonBody(TopicMetricsAction { action: TopicMetricsVerb::Reset, topic }): JsonBody<TopicMetricsAction>,
) -> Answer<StatusCode> {
    match topic {
        Some(topic) if !api.broker().reset_topic_metrics(Some(&topic)) => Err(unknown(&topic)),
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => {
            api.broker().reset_topic_metrics(None);
            Ok(StatusCode::NO_CONTENT)
        }
    }
}

/// Shows the counters of a topic.
#[utoipa::path(
    get, path = "/mqtt/topic_metrics/{topic}", tag = "Topic metrics", responses((status = 200, body = CountedTopic))
)]
async fn get_topic_metrics(
    State(api): State<Api>,
    Path(topic): Path<String>,
    _: Query<NoQuery>,
) -> Answer<Json<CountedTopic>> {
    show(&api, &topic)
}

fn show(api: &Api, topic: &str) -> Answer<Json<CountedTopic>> {
    let metrics = api.broker().topic_metrics_of(topic).ok_or_else(|| unknown(topic))?;
    Ok(Json(CountedTopic::new(&metrics)))
}

/// Counts a topic no longer.
#[utoipa::path(
    delete, path = "/mqtt/topic_metrics/{topic}", tag = "Topic metrics", responses((status = 204))
)]
async fn delete_topic_metrics(
    State(api): State<Api>,
    Path(topic): Path<String>,
    _: Query<NoQuery>,
) -> Answer<StatusCode> {
    if api.counted_topics().remove(&topic).await? { Ok(StatusCode::NO_CONTENT) } else { Err(unknown(&topic)) }
}
