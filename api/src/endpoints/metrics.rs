//! Counters and gauges of the node.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value as JsonValue};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::nodes::check_node;
use crate::Api;
use crate::counters::{Sample, counters, gauges};
use crate::web::{Answer, NoQuery, Path, Query};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(get_metrics))
        .routes(routes!(get_stats))
        .routes(routes!(get_node_metrics))
        .routes(routes!(get_node_stats))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MetricsQuery {
    /// One object for the cluster instead of one for each node.
    aggregate: Option<bool>,
    /// Only this node.
    node: Option<String>,
}

/// Shows the counters.
#[utoipa::path(
    get, path = "/metrics", tag = "Metrics", params(MetricsQuery),
    responses((status = 200, body = JsonValue))
)]
async fn get_metrics(State(api): State<Api>, Query(query): Query<MetricsQuery>) -> Answer<Json<JsonValue>> {
    answer(&api, &query, counters(&api))
}

/// Shows the gauges, now and at their highest.
#[utoipa::path(
    get, path = "/stats", tag = "Metrics", params(MetricsQuery),
    responses((status = 200, body = JsonValue))
)]
async fn get_stats(State(api): State<Api>, Query(query): Query<MetricsQuery>) -> Answer<Json<JsonValue>> {
    answer(&api, &query, gauges(&api))
}

/// Shows the counters of a node.
#[utoipa::path(get, path = "/nodes/{node}/metrics", tag = "Metrics", responses((status = 200, body = JsonValue)))]
async fn get_node_metrics(
    State(api): State<Api>,
    Path(node): Path<String>,
    _: Query<NoQuery>,
) -> Answer<Json<JsonValue>> {
    check_node(&api, &node)?;
    Ok(Json(object(Some(&node), counters(&api))))
}

/// Shows the gauges of a node.
#[utoipa::path(get, path = "/nodes/{node}/stats", tag = "Metrics", responses((status = 200, body = JsonValue)))]
async fn get_node_stats(
    State(api): State<Api>,
    Path(node): Path<String>,
    _: Query<NoQuery>,
) -> Answer<Json<JsonValue>> {
    check_node(&api, &node)?;
    Ok(Json(object(Some(&node), gauges(&api))))
}

fn answer(api: &Api, query: &MetricsQuery, samples: Vec<Sample>) -> Answer<Json<JsonValue>> {
    if let Some(node) = &query.node {
        check_node(api, node)?;
    }
    if query.aggregate.unwrap_or(false) {
        return Ok(Json(object(None, samples)));
    }
    Ok(Json(JsonValue::Array(vec![object(Some(&api.settings().node), samples)])))
}

fn object(node: Option<&str>, samples: Vec<Sample>) -> JsonValue {
    let mut object = Map::with_capacity(samples.len() + 1);
    if let Some(node) = node {
        object.insert("node".to_owned(), node.into());
    }
    object.extend(samples.into_iter().map(|(name, value)| (name.to_owned(), value.into())));
    JsonValue::Object(object)
}
