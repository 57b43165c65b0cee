//! Logging in and out.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::access::Caller;
use crate::store::Role;
use crate::web::{Answer, ApiError, Code, JsonBody, NoQuery, Query};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(log_in)).routes(routes!(log_out))
}

/// Name and password of a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LoginRequest {
    username: String,
    password: String,
    /// Not used: there is no second factor yet.
    #[serde(default)]
    mfa_token: Option<String>,
}

/// A token, and what a dashboard wants to know at once.
#[derive(Serialize, ToSchema)]
struct LoginAnswer {
    /// To be sent as `Authorization: Bearer …`; each use extends its life.
    token: String,
    /// Version of the server.
    version: String,
    license: License,
    role: Role,
}

#[derive(Serialize, ToSchema)]
struct License {
    /// `opensource` or `enterprise`.
    edition: String,
}

/// Logs a user in and gives a token.
#[utoipa::path(post, path = "/login", tag = "Users", request_body = LoginRequest, responses((status = 200, body = LoginAnswer)))]
async fn log_in(
    State(api): State<Api>,
    _: Query<NoQuery>,
    JsonBody(request): JsonBody<LoginRequest>,
) -> Answer<Json<LoginAnswer>> {
    if request.mfa_token.is_some_and(|token| !token.is_empty()) {
        return Err(ApiError::bad_request("mfa_token: no user of this server has a second factor"));
    }
    let (token, role) = api.accounts().log_in(&request.username, &request.password).await?;
    let settings = api.settings();
    let license = License { edition: settings.edition.to_lowercase() };
    Ok(Json(LoginAnswer { token, version: settings.version.clone(), license, role }))
}

/// Who logs out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LogoutRequest {
    username: String,
}

/// Ends the token that the request was made with.
#[utoipa::path(post, path = "/logout", tag = "Users", request_body = LogoutRequest, responses((status = 204)))]
async fn log_out(
    State(api): State<Api>,
    caller: Caller,
    _: Query<NoQuery>,
    JsonBody(request): JsonBody<LogoutRequest>,
) -> Answer<StatusCode> {
    let token = caller.token.as_deref().filter(|_| caller.name == request.username).ok_or_else(|| {
        ApiError::new(
            Code::WrongTokenOrUsername,
            format!("the token does not belong to user `{}`", request.username),
        )
    })?;
    api.accounts().log_out(token);
    Ok(StatusCode::NO_CONTENT)
}
