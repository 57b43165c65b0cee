//! API keys.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::access::{ApiKeyUpdate, Caller, CallerKind};
use crate::store::{ApiKeyRecord, Role};
use crate::web::{Answer, ApiError, JsonBody, NoQuery, Path, Query, Until, rfc3339_s};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_api_keys, create_api_key)).routes(routes!(
        get_api_key,
        update_api_key,
        delete_api_key
    ))
}

/// An API key without its secret.
#[derive(Serialize, ToSchema)]
struct ApiKey {
    name: String,
    /// The user part of Basic authentication.
    api_key: String,
    /// RFC 3339, or `infinity`.
    expired_at: String,
    created_at: String,
    desc: String,
    enable: bool,
    /// Whether its time has come.
    expired: bool,
    role: Role,
}

/// An API key with its secret: nobody sees it again.
#[derive(Serialize, ToSchema)]
struct NewApiKeyAnswer {
    #[serde(flatten)]
    key: ApiKey,
    api_secret: String,
}

impl ApiKey {
    fn new(key: ApiKeyRecord, now_ms: i64) -> Self {
        Self {
            expired: key.is_expired(now_ms),
            expired_at: key.expires_at_ms.map_or_else(|| "infinity".to_owned(), rfc3339_s),
            created_at: rfc3339_s(key.created_at_ms),
            name: key.name,
            api_key: key.api_key,
            desc: key.description,
            enable: key.enable,
            role: key.role,
        }
    }
}

/// An API key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewApiKey {
    name: String,
    /// RFC 3339, Unix seconds, or `infinity`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    expired_at: Option<Until>,
    #[serde(default)]
    desc: Option<String>,
    #[serde(default)]
    enable: Option<bool>,
    #[serde(default)]
    role: Option<Role>,
    /// A secret of one's own; only the command line on the same machine may choose it.
    #[serde(default)]
    api_secret: Option<String>,
}

/// What may be changed of an API key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ApiKeyChange {
    /// RFC 3339, Unix seconds, or `infinity`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    expired_at: Option<Until>,
    #[serde(default)]
    desc: Option<String>,
    #[serde(default)]
    enable: Option<bool>,
    #[serde(default)]
    role: Option<Role>,
}

/// Lists the API keys, without their secrets.
#[utoipa::path(get, path = "/api_key", tag = "API keys", responses((status = 200, body = Vec<ApiKey>)))]
async fn list_api_keys(State(api): State<Api>, _: Query<NoQuery>) -> Json<Vec<ApiKey>> {
    let now_ms = api.now_ms();
    Json(api.accounts().api_keys().into_iter().map(|key| ApiKey::new(key, now_ms)).collect())
}

/// Makes an API key. The answer is the only sight of its secret.
#[utoipa::path(
    post, path = "/api_key", tag = "API keys", request_body = NewApiKey,
    responses((status = 200, body = NewApiKeyAnswer))
)]
async fn create_api_key(
    State(api): State<Api>,
    caller: Caller,
    _: Query<NoQuery>,
    JsonBody(new): JsonBody<NewApiKey>,
) -> Answer<Json<NewApiKeyAnswer>> {
    match &new.api_secret {
        Some(_) if caller.kind != CallerKind::Local => {
            return Err(ApiError::bad_request("api_secret: the server chooses it"));
        }
        Some(secret) if secret.len() < 8 || secret.len() > 1024 => {
            return Err(ApiError::bad_request(format!(
                "api_secret: expected 8 to 1024 bytes, got {}",
                secret.len()
            )));
        }
        _ => {}
    }
    let update = ApiKeyUpdate {
        description: new.desc,
        role: new.role,
        enable: new.enable,
        expires_at_ms: new.expired_at.map(Until::unix_ms),
    };
    let (key, api_secret) = api.accounts().create_api_key(&new.name, update, new.api_secret).await?;
    Ok(Json(NewApiKeyAnswer { key: ApiKey::new(key, api.now_ms()), api_secret }))
}

/// Shows an API key, without its secret.
#[utoipa::path(get, path = "/api_key/{name}", tag = "API keys", responses((status = 200, body = ApiKey)))]
async fn get_api_key(
    State(api): State<Api>,
    Path(name): Path<String>,
    _: Query<NoQuery>,
) -> Answer<Json<ApiKey>> {
    Ok(Json(ApiKey::new(api.accounts().api_key(&name)?, api.now_ms())))
}

/// Changes end, description, role of an API key, or whether it works.
#[utoipa::path(put, path = "/api_key/{name}", tag = "API keys", request_body = ApiKeyChange, responses((status = 200, body = ApiKey)))]
async fn update_api_key(
    State(api): State<Api>,
    Path(name): Path<String>,
    _: Query<NoQuery>,
    JsonBody(change): JsonBody<ApiKeyChange>,
) -> Answer<Json<ApiKey>> {
    let update = ApiKeyUpdate {
        description: change.desc,
        role: change.role,
        enable: change.enable,
        expires_at_ms: change.expired_at.map(Until::unix_ms),
    };
    let key = api.accounts().update_api_key(&name, update).await?;
    Ok(Json(ApiKey::new(key, api.now_ms())))
}

/// Removes an API key.
#[utoipa::path(delete, path = "/api_key/{name}", tag = "API keys", responses((status = 204)))]
async fn delete_api_key(
    State(api): State<Api>,
    Path(name): Path<String>,
    _: Query<NoQuery>,
) -> Answer<StatusCode> {
    api.accounts().delete_api_key(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
