//! Actions: what rules do with their rows.

use axum::Json;
use axum::extract::State;
use engine_runtime::{EngineError, ObjectClass};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::connectors::probed;
use super::namespace::{Namespace, check_namespace};
use super::object_query::{ObjectQuery, summary};
use super::schemas::usable_types;
use crate::Api;
use crate::web::{Answer, JsonBody, Path, Query};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_actions, create_action))
        .routes(routes!(get_action, update_action, delete_action))
        .routes(routes!(enable_action))
        .routes(routes!(start_action))
        .routes(routes!(stop_action))
        .routes(routes!(restart_action))
        .routes(routes!(start_action_on_node))
        .routes(routes!(probe_action))
        .routes(routes!(list_action_types))
        .routes(routes!(summarize_actions))
        .routes(routes!(get_action_metrics))
        .routes(routes!(reset_action_metrics))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeleteQuery {
    /// Take the action out of the rules that use it.
    also_delete_dep_actions: Option<bool>,
    /// Namespace; there is only the global one.
    ns: Option<String>,
    /// Accepted: there is only the global namespace.
    only_global: Option<bool>,
}

/// Lists actions.
#[utoipa::path(
    get, path = "/actions", tag = "Actions", params(ObjectQuery),
    responses((status = 200, body = Vec<JsonValue>))
)]
async fn list_actions(
    State(api): State<Api>,
    Query(query): Query<ObjectQuery>,
) -> Answer<Json<Vec<JsonValue>>> {
    Ok(Json(query.pick(api.engine().actions().iter().map(|action| action.to_json()))?))
}

/// Makes an action on a connector that is there; a target that is down does not stop it.
#[utoipa::path(
    post, path = "/actions", tag = "Actions", request_body = JsonValue,
    responses((status = 201, body = JsonValue))
)]
async fn create_action(
    State(api): State<Api>,
    _: Namespace,
    JsonBody(config): JsonBody<JsonValue>,
) -> Answer<(StatusCode, Json<JsonValue>)> {
    Ok((StatusCode::CREATED, Json(api.changes().create(ObjectClass::Action, config).await?)))
}

/// Shows an action.
#[utoipa::path(get, path = "/actions/{id}", tag = "Actions", responses((status = 200, body = JsonValue)))]
async fn get_action(State(api): State<Api>, Path(id): Path<String>, _: Namespace) -> Answer<Json<JsonValue>> {
    let action = api.engine().action(&id);
    let action = action.ok_or(EngineError::NotFound { class: ObjectClass::Action, id })?;
    Ok(Json(action.to_json()))
}

/// Replaces an action; `******` keeps a secret.
#[utoipa::path(
    put, path = "/actions/{id}", tag = "Actions", request_body = JsonValue,
    responses((status = 200, body = JsonValue))
)]
async fn update_action(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Namespace,
    JsonBody(config): JsonBody<JsonValue>,
) -> Answer<Json<JsonValue>> {
    Ok(Json(api.changes().update(ObjectClass::Action, &id, config).await?))
}

/// Deletes an action that no rule uses; with `also_delete_dep_actions=true` it is taken out of its rules first.
#[utoipa::path(delete, path = "/actions/{id}", tag = "Actions", params(DeleteQuery), responses((status = 204)))]
async fn delete_action(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(query): Query<DeleteQuery>,
) -> Answer<StatusCode> {
    check_namespace(query.ns.as_deref(), query.only_global)?;
    if query.also_delete_dep_actions.unwrap_or(false) {
        api.changes().delete_action_with_uses(&id).await?;
    } else {
        api.changes().delete(ObjectClass::Action, &id).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Enables or disables an action; disabling discards its queue.
#[utoipa::path(put, path = "/actions/{id}/enable/{enable}", tag = "Actions", responses((status = 204)))]
async fn enable_action(
    State(api): State<Api>,
    Path((id, enable)): Path<(String, bool)>,
    _: Namespace,
) -> Answer<StatusCode> {
    api.changes().enable(ObjectClass::Action, &id, enable).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Checks the action now; answers when it is healthy, or with the reason why not.
#[utoipa::path(post, path = "/actions/{id}/start", tag = "Actions", responses((status = 204)))]
async fn start_action(State(api): State<Api>, Path(id): Path<String>, _: Namespace) -> Answer<StatusCode> {
    api.engine().start_action(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stops an action until it is started again or the server restarts.
#[utoipa::path(post, path = "/actions/{id}/stop", tag = "Actions", responses((status = 204)))]
async fn stop_action(State(api): State<Api>, Path(id): Path<String>, _: Namespace) -> Answer<StatusCode> {
    api.engine().stop_action(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stops an action and starts it again.
#[utoipa::path(post, path = "/actions/{id}/restart", tag = "Actions", responses((status = 204)))]
async fn restart_action(State(api): State<Api>, Path(id): Path<String>, _: Namespace) -> Answer<StatusCode> {
    api.engine().stop_action(&id).await?;
    api.engine().start_action(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Checks the action now, on one node.
#[utoipa::path(
    post, path = "/nodes/{node}/actions/{id}/start", tag = "Actions",
    responses((status = 204))
)]
async fn start_action_on_node(
    State(api): State<Api>,
    Path((node, id)): Path<(String, String)>,
    _: Namespace,
) -> Answer<StatusCode> {
    super::nodes::check_node(&api, &node)?;
    api.engine().start_action(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tries an action without keeping it.
#[utoipa::path(
    post, path = "/actions_probe", tag = "Actions", request_body = JsonValue,
    responses((status = 204))
)]
async fn probe_action(
    State(api): State<Api>,
    _: Namespace,
    JsonBody(config): JsonBody<JsonValue>,
) -> Answer<StatusCode> {
    probed(api.engine().probe_action(config).await)
}

/// Lists the types of actions that this deployment may use.
#[utoipa::path(get, path = "/action_types", tag = "Actions", responses((status = 200, body = Vec<String>)))]
async fn list_action_types(State(api): State<Api>, _: Namespace) -> Json<Vec<&'static str>> {
    Json(usable_types(&api))
}

/// Lists the fields of actions that a table shows.
#[utoipa::path(
    get, path = "/actions_summary", tag = "Actions", params(ObjectQuery),
    responses((status = 200, body = Vec<JsonValue>))
)]
async fn summarize_actions(
    State(api): State<Api>,
    Query(query): Query<ObjectQuery>,
) -> Answer<Json<Vec<JsonValue>>> {
    let picked = query.pick(api.engine().actions().iter().map(|action| action.to_json()))?;
    Ok(Json(picked.iter().map(summary).collect()))
}

/// Shows the counters of an action.
#[utoipa::path(get, path = "/actions/{id}/metrics", tag = "Actions", responses((status = 200, body = JsonValue)))]
async fn get_action_metrics(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Namespace,
) -> Answer<Json<JsonValue>> {
    let metrics = api.engine().action_metrics(&id);
    let metrics = metrics.ok_or(EngineError::NotFound { class: ObjectClass::Action, id })?.to_json();
    let node = &api.settings().node;
    Ok(Json(json!({"metrics": metrics, "node_metrics": [{"node": node, "metrics": metrics}]})))
}

/// Sets the counters of an action to zero.
#[utoipa::path(put, path = "/actions/{id}/metrics/reset", tag = "Actions", responses((status = 204)))]
async fn reset_action_metrics(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Namespace,
) -> Answer<StatusCode> {
    api.engine().reset_action_metrics(&id)?;
    Ok(StatusCode::NO_CONTENT)
}
