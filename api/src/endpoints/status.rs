//! Whether the node is running, for probes.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::web::Query;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(status))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatusQuery {
    /// `json`, or text when it is not given.
    #[param(inline)]
    format: Option<Format>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    Text,
    Json,
}

/// Status of the node.
#[derive(Serialize, ToSchema)]
struct NodeStatus {
    node_name: String,
    cluster: &'static str,
    broker_status: &'static str,
    app_status: &'static str,
}

/// Tells that the node is running; needs no credentials. Probes look for the words `is running`.
#[utoipa::path(
    get, path = "/status", tag = "Nodes", params(StatusQuery),
    responses((status = 200, body = NodeStatus, description = "Text, or JSON with `format=json`"))
)]
pub(crate) async fn status(State(api): State<Api>, Query(query): Query<StatusQuery>) -> Response {
    let node = &api.settings().node;
    let mut response = match query.format {
        Some(Format::Json) => Json(NodeStatus {
            node_name: node.clone(),
            cluster: "sluice",
            broker_status: "started",
            app_status: "running",
        })
        .into_response(),
        // programs that watch EMQX look for these very words
        Some(Format::Text) | None => format!("Node {node} is started\nemqx is running").into_response(),
    };
    response.headers_mut().insert(RETRY_AFTER, http::HeaderValue::from_static("15"));
    response
}
