//! Listeners of MQTT.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value as JsonValue, json};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::listeners::{ListenerFault, ListenerView};
use crate::web::{Answer, ApiError, Code, JsonBody, NoQuery, Path, Query};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_listeners, create_listener))
        .routes(routes!(get_listener, update_listener, create_listener_by_id, delete_listener))
        .routes(routes!(start_listener))
        .routes(routes!(stop_listener))
        .routes(routes!(restart_listener))
        .routes(routes!(list_listener_types))
}

impl From<ListenerFault> for ApiError {
    fn from(fault: ListenerFault) -> Self {
        let message = fault.to_string();
        let code = match fault {
            ListenerFault::BadId(_) => Code::BadListenerId,
            ListenerFault::Unknown(_) => Code::NotFound,
            ListenerFault::Exists(_) | ListenerFault::Invalid(_) | ListenerFault::Failed(_) => {
                Code::BadRequest
            }
            ListenerFault::ReadOnly(_) => Code::Conflict,
            ListenerFault::Internal(_) => Code::InternalError,
        };
        Self::new(code, message)
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TypeQuery {
    /// Only of this type: `tcp`, `ssl`, `ws` or `wss`.
    r#type: Option<String>,
}

/// Lists listeners.
#[utoipa::path(
    get, path = "/listeners", tag = "Listeners", params(TypeQuery),
    responses((status = 200, body = Vec<JsonValue>))
)]
async fn list_listeners(
    State(api): State<Api>,
    Query(query): Query<TypeQuery>,
) -> Answer<Json<Vec<JsonValue>>> {
    if let Some(kind) = &query.r#type
        && !TYPES.contains(&kind.as_str())
    {
        return Err(ApiError::bad_request(format!(
            "type: expected `tcp`, `ssl`, `ws` or `wss`, got `{kind}`"
        )));
    }
    let views = api.listeners().list().into_iter();
    let wanted = views.filter(|view| query.r#type.as_ref().is_none_or(|kind| *kind == view.kind));
    Ok(Json(wanted.map(|view| body(&api, view)).collect()))
}

/// Makes a listener; its type and name are in the body.
#[utoipa::path(
    post, path = "/listeners", tag = "Listeners", request_body = JsonValue,
    responses((status = 200, body = JsonValue))
)]
async fn create_listener(
    State(api): State<Api>,
    _: Query<NoQuery>,
    JsonBody(config): JsonBody<Map<String, JsonValue>>,
) -> Answer<Json<JsonValue>> {
    let text = |key: &str| config.get(key).and_then(JsonValue::as_str);
    let id = match (text("id"), text("type"), text("name")) {
        (Some(id), ..) => id.to_owned(),
        (None, Some(kind), Some(name)) => format!("{kind}:{name}"),
        _ => return Err(ApiError::bad_request("expected `type` and `name` of the listener")),
    };
    create(&api, &id, config).await
}

/// Makes a listener of that id.
#[utoipa::path(
    post, path = "/listeners/{id}", tag = "Listeners", request_body = JsonValue,
    responses((status = 200, body = JsonValue))
)]
async fn create_listener_by_id(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Query<NoQuery>,
    JsonBody(config): JsonBody<Map<String, JsonValue>>,
) -> Answer<Json<JsonValue>> {
    create(&api, &id, config).await
}

/// Shows a listener.
#[utoipa::path(get, path = "/listeners/{id}", tag = "Listeners", responses((status = 200, body = JsonValue)))]
async fn get_listener(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Query<NoQuery>,
) -> Answer<Json<JsonValue>> {
    find(&api, &id).map(|view| Json(body(&api, view)))
}

/// Changes a listener: fields that are left out stay. Its clients stay too.
#[utoipa::path(
    put, path = "/listeners/{id}", tag = "Listeners", request_body = JsonValue,
    responses((status = 200, body = JsonValue))
)]
async fn update_listener(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Query<NoQuery>,
    JsonBody(changes): JsonBody<Map<String, JsonValue>>,
) -> Answer<Json<JsonValue>> {
    let mut config = find(&api, &id)?.config;
    merge(&mut config, own_fields(&id, changes)?);
    api.listeners().update(&id, config).await?;
    find(&api, &id).map(|view| Json(body(&api, view)))
}

/// Removes a listener and drops its clients.
#[utoipa::path(delete, path = "/listeners/{id}", tag = "Listeners", responses((status = 204)))]
async fn delete_listener(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Query<NoQuery>,
) -> Answer<StatusCode> {
    api.listeners().delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Has a listener accept connections.
#[utoipa::path(post, path = "/listeners/{id}/start", tag = "Listeners", responses((status = 200)))]
async fn start_listener(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Query<NoQuery>,
) -> Answer<StatusCode> {
    api.listeners().start(&id).await?;
    Ok(StatusCode::OK)
}

/// Has a listener accept nothing more. Its clients stay.
#[utoipa::path(post, path = "/listeners/{id}/stop", tag = "Listeners", responses((status = 200)))]
async fn stop_listener(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Query<NoQuery>,
) -> Answer<StatusCode> {
    api.listeners().stop(&id).await?;
    Ok(StatusCode::OK)
}

/// Opens a listener anew and drops its clients.
#[utoipa::path(post, path = "/listeners/{id}/restart", tag = "Listeners", responses((status = 200)))]
async fn restart_listener(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Query<NoQuery>,
) -> Answer<StatusCode> {
    api.listeners().restart(&id).await?;
    Ok(StatusCode::OK)
}

/// Shows listeners by type.
#[utoipa::path(
    get, path = "/listeners_status", tag = "Listeners",
    responses((status = 200, body = Vec<JsonValue>))
)]
async fn list_listener_types(State(api): State<Api>, _: Query<NoQuery>) -> Json<Vec<JsonValue>> {
    let views = api.listeners().list();
    let of_type = |kind: &str| {
        let own: Vec<&ListenerView> = views.iter().filter(|view| view.kind == kind).collect();
        if own.is_empty() {
            return None;
        }
        let current: u64 = own.iter().map(|view| view.current_connections).sum();
        let status = json!({
            "running": together(own.iter().map(|view| view.running.into())),
            "max_connections": max_together(&own),
            "current_connections": current,
        });
        Some(json!({
            "type": kind,
            "enable": together(own.iter().map(|view| view.config.get("enable").cloned().unwrap_or_default())),
            "ids": own.iter().map(|view| view.id()).collect::<Vec<_>>(),
            "status": status,
            "node_status": [{"node": api.settings().node, "status": status}],
        }))
    };
    Json(TYPES.into_iter().filter_map(of_type).collect())
}

/// The types of listeners.
const TYPES: [&str; 4] = ["tcp", "ssl", "ws", "wss"];

/// What all say, or `inconsistent`.
fn together(values: impl Iterator<Item = JsonValue>) -> JsonValue {
    let mut values = values;
    let first = values.next().unwrap_or_default();
    if values.all(|value| value == first) { first } else { "inconsistent".into() }
}

/// The sum of the limits, unless one has none.
fn max_together(views: &[&ListenerView]) -> JsonValue {
    let each = views.iter().map(|view| view.config.get("max_connections").and_then(JsonValue::as_u64));
    each.sum::<Option<u64>>().map_or_else(|| "infinity".into(), Into::into)
}

async fn create(api: &Api, id: &str, config: Map<String, JsonValue>) -> Answer<Json<JsonValue>> {
    api.listeners().create(id, own_fields(id, config)?).await?;
    find(api, id).map(|view| Json(body(api, view)))
}

fn find(api: &Api, id: &str) -> Result<ListenerView, ApiError> {
    let found = api.listeners().list().into_iter().find(|view| view.id() == id);
    found.ok_or_else(|| ListenerFault::Unknown(id.to_owned()).into())
}

/// What a listener has in the answers beside its configuration; all of it may come back in a request.
fn constants() -> [(&'static str, JsonValue); 2] {
    [("acceptors", 16.into()), ("enable_authn", true.into())]
}

fn body(api: &Api, view: ListenerView) -> JsonValue {
    let id = view.id();
    let max_connections = view.config.get("max_connections").cloned().unwrap_or_default();
    let status = json!({
        "running": view.running,
        "max_connections": max_connections,
        "current_connections": view.current_connections,
    });
    let mut body = Map::new();
    body.insert("id".to_owned(), id.into());
    body.insert("type".to_owned(), view.kind.into());
    body.insert("name".to_owned(), view.name.into());
    body.extend(view.config);
    body.extend(constants().map(|(key, value)| (key.to_owned(), value)));
    body.insert("running".to_owned(), view.running.into());
    body.insert("current_connections".to_owned(), view.current_connections.into());
    body.insert("listen_on".to_owned(), view.listen_on.into());
    let counters = view.counters.into_iter().map(|(name, count)| (name.to_owned(), count.into()));
    body.insert("counters".to_owned(), JsonValue::Object(counters.collect()));
    body.insert("status".to_owned(), status.clone());
    body.insert("node_status".to_owned(), json!([{"node": api.settings().node, "status": status}]));
    body.into()
}

/// Takes out of a request what is no configuration of ours, and refuses what would do nothing.
fn own_fields(id: &str, mut config: Map<String, JsonValue>) -> Result<Map<String, JsonValue>, ApiError> {
    let (kind, name) = id.split_once(':').ok_or_else(|| ListenerFault::BadId(id.to_owned()))?;
    for (key, own) in [("id", id), ("type", kind), ("name", name)] {
        match config.shift_remove(key) {
            Some(given) if given != own => {
                return Err(ApiError::bad_request(format!("{key}: the listener is `{id}`, got {given}")));
            }
            _ => {}
        }
    }
    for key in ["running", "current_connections", "listen_on", "counters", "status", "node_status", "number"]
    {
        config.shift_remove(key);
    }
    for (key, value) in constants() {
        match config.shift_remove(key) {
            Some(given) if given != value && key != "acceptors" => {
                return Err(ApiError::bad_request(format!(
                    "{key}: only {value} is there in this version, got {given}"
                )));
            }
            _ => {}
        }
    }
    Ok(config)
}

/// Puts the fields of `changes` over those of `config`, and inside of objects likewise.
fn merge(config: &mut Map<String, JsonValue>, changes: Map<String, JsonValue>) {
    for (key, change) in changes {
        match (config.get_mut(&key), change) {
            (Some(JsonValue::Object(known)), JsonValue::Object(changes)) => merge(known, changes),
            (_, change) => {
                config.insert(key, change);
            }
        }
    }
}
