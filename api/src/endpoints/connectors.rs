//! Connectors.

use axum::Json;
use axum::extract::State;
use engine_runtime::{EngineError, ObjectClass};
use http::StatusCode;
use serde_json::Value as JsonValue;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::namespace::Namespace;
use super::object_query::ObjectQuery;
use super::schemas::usable_types;
use crate::Api;
use crate::web::{Answer, ApiError, Code, JsonBody, Path, Query};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_connectors, create_connector))
        .routes(routes!(get_connector, update_connector, delete_connector))
        .routes(routes!(enable_connector))
        .routes(routes!(start_connector))
        .routes(routes!(stop_connector))
        .routes(routes!(restart_connector))
        .routes(routes!(start_connector_on_node))
        .routes(routes!(probe_connector))
        .routes(routes!(list_connector_types))
}

/// Lists connectors.
#[utoipa::path(
    get, path = "/connectors", tag = "Connectors", params(ObjectQuery),
    responses((status = 200, body = Vec<JsonValue>))
)]
async fn list_connectors(
    State(api): State<Api>,
    Query(query): Query<ObjectQuery>,
) -> Answer<Json<Vec<JsonValue>>> {
    Ok(Json(query.pick(api.engine().connectors().iter().map(|connector| connector.to_json()))?))
}

/// Makes a connector; a target that is down does not stop it.
#[utoipa::path(
    post, path = "/connectors", tag = "Connectors", request_body = JsonValue,
    responses((status = 201, body = JsonValue))
)]
async fn create_connector(
    State(api): State<Api>,
    _: Namespace,
    JsonBody(config): JsonBody<JsonValue>,
) -> Answer<(StatusCode, Json<JsonValue>)> {
    Ok((StatusCode::CREATED, Json(api.changes().create(ObjectClass::Connector, config).await?)))
}

/// Shows a connector.
#[utoipa::path(get, path = "/connectors/{id}", tag = "Connectors", responses((status = 200, body = JsonValue)))]
async fn get_connector(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Namespace,
) -> Answer<Json<JsonValue>> {
    let connector = api.engine().connector(&id);
    let connector = connector.ok_or(EngineError::NotFound { class: ObjectClass::Connector, id })?;
    Ok(Json(connector.to_json()))
}

/// Replaces a connector; `******` keeps a secret.
#[utoipa::path(
    put, path = "/connectors/{id}", tag = "Connectors", request_body = JsonValue,
    responses((status = 200, body = JsonValue))
)]
async fn update_connector(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Namespace,
    JsonBody(config): JsonBody<JsonValue>,
) -> Answer<Json<JsonValue>> {
    Ok(Json(api.changes().update(ObjectClass::Connector, &id, config).await?))
}

/// Deletes a connector that no action uses.
#[utoipa::path(delete, path = "/connectors/{id}", tag = "Connectors", responses((status = 204)))]
async fn delete_connector(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Namespace,
) -> Answer<StatusCode> {
    api.changes().delete(ObjectClass::Connector, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Enables or disables a connector.
#[utoipa::path(put, path = "/connectors/{id}/enable/{enable}", tag = "Connectors", responses((status = 204)))]
async fn enable_connector(
    State(api): State<Api>,
    Path((id, enable)): Path<(String, bool)>,
    _: Namespace,
) -> Answer<StatusCode> {
    api.changes().enable(ObjectClass::Connector, &id, enable).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tries to connect now; answers when the connector is healthy, or with the reason why not.
#[utoipa::path(post, path = "/connectors/{id}/start", tag = "Connectors", responses((status = 204)))]
async fn start_connector(State(api): State<Api>, Path(id): Path<String>, _: Namespace) -> Answer<StatusCode> {
    api.engine().start_connector(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stops a connector until it is started again or the server restarts.
#[utoipa::path(post, path = "/connectors/{id}/stop", tag = "Connectors", responses((status = 204)))]
async fn stop_connector(State(api): State<Api>, Path(id): Path<String>, _: Namespace) -> Answer<StatusCode> {
    api.engine().stop_connector(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stops a connector and starts it again.
#[utoipa::path(post, path = "/connectors/{id}/restart", tag = "Connectors", responses((status = 204)))]
async fn restart_connector(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Namespace,
) -> Answer<StatusCode> {
    api.engine().stop_connector(&id).await?;
    api.engine().start_connector(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tries to connect now, on one node.
#[utoipa::path(
    post, path = "/nodes/{node}/connectors/{id}/start", tag = "Connectors",
    responses((status = 204))
)]
async fn start_connector_on_node(
    State(api): State<Api>,
    Path((node, id)): Path<(String, String)>,
    _: Namespace,
) -> Answer<StatusCode> {
    super::nodes::check_node(&api, &node)?;
    api.engine().start_connector(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tries a connector without keeping it.
#[utoipa::path(
    post, path = "/connectors_probe", tag = "Connectors", request_body = JsonValue,
    responses((status = 204))
)]
async fn probe_connector(
    State(api): State<Api>,
    _: Namespace,
    JsonBody(config): JsonBody<JsonValue>,
) -> Answer<StatusCode> {
    probed(api.engine().probe_connector(config).await)
}

/// What a probe found: a target that is not healthy has a code of its own.
pub(super) fn probed(result: Result<(), EngineError>) -> Answer<StatusCode> {
    match result {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(EngineError::Unhealthy { reason }) => Err(ApiError::new(Code::TestFailed, reason)),
        Err(error) => Err(error.into()),
    }
}

/// Lists the types of connectors that this deployment may use.
#[utoipa::path(get, path = "/connector_types", tag = "Connectors", responses((status = 200, body = Vec<String>)))]
async fn list_connector_types(State(api): State<Api>, _: Namespace) -> Json<Vec<&'static str>> {
    Json(usable_types(&api))
}
