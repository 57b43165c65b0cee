//! Sources: there are none yet, and the lists say so.

use axum::Json;
use axum::extract::State;
use http::Method;
use serde_json::Value as JsonValue;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::namespace::Namespace;
use super::object_query::ObjectQuery;
use crate::Api;
use crate::web::{Answer, ApiError, Code, Path, Query};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_sources, create_source))
        .routes(routes!(get_source, update_source, delete_source))
        .routes(routes!(summarize_sources))
        .routes(routes!(list_source_types))
        .routes(routes!(probe_source))
        .route("/sources/{id}/{*rest}", axum::routing::any(no_source_at))
}

/// Lists sources.
#[utoipa::path(
    get, path = "/sources", tag = "Sources", params(ObjectQuery),
    responses((status = 200, body = Vec<JsonValue>))
)]
async fn list_sources(Query(query): Query<ObjectQuery>) -> Answer<Json<Vec<JsonValue>>> {
    Ok(Json(query.pick(std::iter::empty())?))
}

/// Not there yet in this version.
#[utoipa::path(post, path = "/sources", tag = "Sources", responses((status = 501, body = crate::ErrorBody)))]
async fn create_source(State(_): State<Api>, _: Namespace) -> ApiError {
    not_yet()
}

/// Shows a source.
#[utoipa::path(get, path = "/sources/{id}", tag = "Sources", responses((status = 404, body = crate::ErrorBody)))]
async fn get_source(Path(id): Path<String>, _: Namespace) -> ApiError {
    no_source(&id)
}

/// Replaces a source.
#[utoipa::path(put, path = "/sources/{id}", tag = "Sources", responses((status = 404, body = crate::ErrorBody)))]
async fn update_source(Path(id): Path<String>, _: Namespace) -> ApiError {
    no_source(&id)
}

/// Deletes a source.
#[utoipa::path(delete, path = "/sources/{id}", tag = "Sources", responses((status = 404, body = crate::ErrorBody)))]
async fn delete_source(Path(id): Path<String>, _: Namespace) -> ApiError {
    no_source(&id)
}

/// Lists the fields of sources that a table shows.
#[utoipa::path(
    get, path = "/sources_summary", tag = "Sources", params(ObjectQuery),
    responses((status = 200, body = Vec<JsonValue>))
)]
async fn summarize_sources(Query(query): Query<ObjectQuery>) -> Answer<Json<Vec<JsonValue>>> {
    Ok(Json(query.pick(std::iter::empty())?))
}

/// Lists the types of sources that this deployment may use.
#[utoipa::path(get, path = "/source_types", tag = "Sources", responses((status = 200, body = Vec<String>)))]
async fn list_source_types(_: Namespace) -> Json<Vec<String>> {
    Json(Vec::new())
}

/// Not there yet in this version.
#[utoipa::path(post, path = "/sources_probe", tag = "Sources", responses((status = 501, body = crate::ErrorBody)))]
async fn probe_source(State(_): State<Api>, _: Namespace) -> ApiError {
    not_yet()
}

async fn no_source_at(Path((id, _)): Path<(String, String)>, _: Method) -> ApiError {
    no_source(&id)
}

fn no_source(id: &str) -> ApiError {
    ApiError::new(Code::NotFound, format!("source `{id}` not found"))
}

fn not_yet() -> ApiError {
    ApiError::new(Code::NotImplemented, "sources are not there yet in this version")
}
