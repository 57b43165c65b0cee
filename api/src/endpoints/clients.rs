//! Clients: their sessions and connections.

use std::cmp::Ordering;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use broker_core::{Broker, ClientInfo};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::client_object::ClientObject;
use super::publish::committed;
use super::subscriptions::Subscription;
use crate::Api;
use crate::web::{Answer, ApiError, Code, JsonBody, NoQuery, Page, PageRequest, Path, Query, TimeMs};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_clients))
        .routes(routes!(list_clients_by_cursor))
        .routes(routes!(get_client, kick_client))
        .routes(routes!(kick_clients))
        .routes(routes!(list_client_subscriptions))
}

/// Clients of one bulk request at most.
const BULK_MAX: usize = 10_000;

#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ClientQuery {
    /// Number of the page, from 1.
    page: Option<u32>,
    /// Most elements of a page, 1 to 10,000.
    limit: Option<u32>,
    /// `cursor` of the page before; only for `/clients_v2`.
    cursor: Option<String>,
    /// Only clients of this node.
    node: Option<String>,
    /// Several mean any of them.
    #[serde(default)]
    clientid: Vec<String>,
    /// Several mean any of them.
    #[serde(default)]
    username: Vec<String>,
    /// Address of the client, without its port.
    ip_address: Option<String>,
    /// Whether there is a connection.
    #[param(inline)]
    conn_state: Option<ConnectionState>,
    clean_start: Option<bool>,
    /// 3, 4 or 5.
    proto_ver: Option<u8>,
    /// Part of the client id.
    like_clientid: Option<String>,
    /// Part of the user name.
    like_username: Option<String>,
    /// RFC 3339, or Unix milliseconds.
    #[param(value_type = Option<String>)]
    gte_created_at: Option<TimeMs>,
    /// RFC 3339, or Unix milliseconds.
    #[param(value_type = Option<String>)]
    lte_created_at: Option<TimeMs>,
    /// RFC 3339, or Unix milliseconds.
    #[param(value_type = Option<String>)]
    gte_connected_at: Option<TimeMs>,
    /// RFC 3339, or Unix milliseconds.
    #[param(value_type = Option<String>)]
    lte_connected_at: Option<TimeMs>,
    /// `all`, or the fields of the answer, separated by commas.
    fields: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ConnectionState {
    Connected,
    /// Connected but not yet accepted: such connections are not listed.
    Idle,
    Disconnected,
}

impl ClientQuery {
    fn accepts(&self, client: &ClientInfo) -> bool {
        let id = client.client_id.to_str_lossy();
        let username = client.username.as_ref().map(|name| name.to_str_lossy());
        let within = |at_ms: i64, from: Option<TimeMs>, to: Option<TimeMs>| {
            from.is_none_or(|from| at_ms >= from.0) && to.is_none_or(|to| at_ms <= to.0)
        };
        self.node.as_ref().is_none_or(|node| client.node.as_bytes() == node.as_bytes())
            && (self.clientid.is_empty() || self.clientid.iter().any(|wanted| *wanted == id))
            && (self.username.is_empty()
                || username.as_ref().is_some_and(|name| self.username.iter().any(|wanted| wanted == name)))
            && self.ip_address.as_ref().is_none_or(|ip| client.peer.ip().to_string() == *ip)
            && self.conn_state.is_none_or(|state| match state {
                ConnectionState::Connected => client.connected,
                ConnectionState::Idle => false,
                ConnectionState::Disconnected => !client.connected,
            })
            && self.clean_start.is_none_or(|clean_start| client.clean_start == clean_start)
            && self.proto_ver.is_none_or(|version| client.version.level() == version)
            && self.like_clientid.as_ref().is_none_or(|part| id.contains(part))
            && self
                .like_username
                .as_ref()
                .is_none_or(|part| username.as_ref().is_some_and(|name| name.contains(part)))
            && within(client.created_at_ms, self.gte_created_at, self.lte_created_at)
            && within(client.connected_at_ms, self.gte_connected_at, self.lte_connected_at)
    }

    /// The fields that are asked for; none for all of them.
    fn fields(&self) -> Option<Vec<&str>> {
        let fields = self.fields.as_deref().filter(|fields| *fields != "all" && !fields.is_empty())?;
        Some(fields.split(',').map(str::trim).collect())
    }

    /// Turns a client into its answer.
    fn show(&self, client: &ClientInfo) -> ShownClient {
        let object = ClientObject::new(client);
        let Some(fields) = self.fields() else { return ShownClient::Whole(Box::new(object)) };
        let mut object = serde_json::to_value(object).unwrap_or_default();
        if let JsonValue::Object(object) = &mut object {
            object.retain(|name, _| fields.contains(&name.as_str()));
        }
        ShownClient::Picked(object)
    }
}

/// A client, or the fields of it that were asked for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum ShownClient {
    Whole(Box<ClientObject>),
    Picked(JsonValue),
}

/// Lists clients, also those that are away but have a session.
#[utoipa::path(
    get, path = "/clients", tag = "Clients", params(ClientQuery),
    responses((status = 200, body = Page<ShownClient>))
)]
async fn list_clients(State(api): State<Api>, Query(query): Query<ClientQuery>) -> Answer<Response> {
    if query.cursor.is_some() {
        return Err(ApiError::bad_request("query field cursor: only /clients_v2 has cursors"));
    }
    let page = PageRequest::new(query.page, query.limit)?;
    off_thread(&api, move |broker| {
        let clients = broker.clients().into_iter().filter(|client| query.accepts(client)).collect();
        Json(page.cut(clients).map(|client: ClientInfo| query.show(&client))).into_response()
    })
    .await
}

/// A page of clients, and where the next one begins.
#[derive(Serialize, ToSchema)]
struct CursorPage {
    data: Vec<ShownClient>,
    meta: CursorMeta,
}

#[derive(Serialize, ToSchema)]
struct CursorMeta {
    /// Clients of all pages.
    count: usize,
    /// What to ask for next; missing on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    hasnext: bool,
}

/// Lists clients page after page: a client that stays is listed once, whoever comes and goes meanwhile.
#[utoipa::path(
    get, path = "/clients_v2", tag = "Clients", params(ClientQuery),
    responses((status = 200, body = CursorPage))
)]
async fn list_clients_by_cursor(
    State(api): State<Api>,
    Query(query): Query<ClientQuery>,
) -> Answer<Response> {
    if query.page.is_some() {
        return Err(ApiError::bad_request("query field page: /clients_v2 has cursors instead"));
    }
    let limit = PageRequest::new(None, query.limit)?.limit();
    let after = match query.cursor.as_deref() {
        None | Some("" | "none") => None,
        Some(cursor) => Some(URL_SAFE_NO_PAD.decode(cursor).map_err(|_| {
            ApiError::bad_request(format!("query field cursor: expected one of an answer, got `{cursor}`"))
        })?),
    };
    off_thread(&api, move |broker| {
        let clients: Vec<_> = broker.clients().into_iter().filter(|client| query.accepts(client)).collect();
        let count = clients.len();
        let is_before = |client: &ClientInfo| {
            let after = after.as_deref();
            after.is_some_and(|after| client.client_id.as_bytes().cmp(after) != Ordering::Greater)
        };
        let rest = &clients[clients.partition_point(is_before)..];
        let (shown, has_next) = (&rest[..limit.min(rest.len())], rest.len() > limit);
        let last = shown.last().filter(|_| has_next);
        Json(CursorPage {
            meta: CursorMeta {
                count,
                cursor: last.map(|client| URL_SAFE_NO_PAD.encode(client.client_id.as_bytes())),
                hasnext: has_next,
            },
            data: shown.iter().map(|client| query.show(client)).collect(),
        })
        .into_response()
    })
    .await
}

/// Shows a client.
#[utoipa::path(get, path = "/clients/{clientid}", tag = "Clients", responses((status = 200, body = ClientObject)))]
async fn get_client(
    State(api): State<Api>,
    Path(client_id): Path<String>,
    _: Query<NoQuery>,
) -> Answer<Json<ClientObject>> {
    let broker = api.broker();
    let client = broker.client(&client_id).ok_or_else(no_client)?;
    Ok(Json(ClientObject::new(&client)))
}

/// Disconnects a client and ends its session.
#[utoipa::path(delete, path = "/clients/{clientid}", tag = "Clients", responses((status = 204)))]
async fn kick_client(
    State(api): State<Api>,
    Path(client_id): Path<String>,
    _: Query<NoQuery>,
) -> Answer<StatusCode> {
    if !api.broker().kick(&client_id) {
        return Err(no_client());
    }
    ended_for_good(&api).await
}

/// Disconnects clients and ends their sessions; those that are not there do not matter.
#[utoipa::path(
    post, path = "/clients/kickout/bulk", tag = "Clients", request_body = Vec<String>,
    responses((status = 204))
)]
async fn kick_clients(
    State(api): State<Api>,
    _: Query<NoQuery>,
    JsonBody(client_ids): JsonBody<Vec<String>>,
) -> Answer<StatusCode> {
    if client_ids.len() > BULK_MAX {
        return Err(ApiError::bad_request(format!(
            "expected at most {BULK_MAX} client ids, got {}",
            client_ids.len()
        )));
    }
    off_thread(&api, move |broker| {
        for client_id in &client_ids {
            broker.kick(client_id);
        }
    })
    .await?;
    ended_for_good(&api).await
}

/// Answers when the end of durable sessions is stored.
async fn ended_for_good(api: &Api) -> Answer<StatusCode> {
    if committed(api).await {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::internal("disconnected, but that the session has ended cannot be stored"))
    }
}

/// Lists the subscriptions of a client.
#[utoipa::path(
    get, path = "/clients/{clientid}/subscriptions", tag = "Clients",
    responses((status = 200, body = Vec<Subscription>))
)]
async fn list_client_subscriptions(
    State(api): State<Api>,
    Path(client_id): Path<String>,
    _: Query<NoQuery>,
) -> Answer<Json<Vec<Subscription>>> {
    let subscriptions = api.broker().subscriptions_of(&client_id).ok_or_else(no_client)?;
    let node = &api.settings().node;
    Ok(Json(subscriptions.into_iter().map(|found| Subscription::new(found, node)).collect()))
}

fn no_client() -> ApiError {
    ApiError::new(Code::ClientIdNotFound, "Client ID not found")
}

/// Goes through all clients or subscriptions away from the threads that answer requests: there may be very many.
pub(super) async fn off_thread<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce(&Broker) -> T + Send + 'static,
) -> Answer<T> {
    let broker = Arc::clone(api.broker());
    let done = tokio::task::spawn_blocking(move || work(&broker)).await;
    done.map_err(|_| ApiError::internal("the request broke off inside the server"))
}
