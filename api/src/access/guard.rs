//! The gate in front of every path: who is asking, and may they.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};

use super::caller::{Caller, CallerKind};
use super::policy;
use super::tokens::TokenVerdict;
use crate::Api;
use crate::router::BASE_PATH;
use crate::store::Role;
use crate::web::{Answer, ApiError, Code};

/// Lets a request pass when its caller may make it; endpoints find the [`Caller`] in the request.
pub(crate) async fn guard(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let Some(route) = request.extensions().get::<MatchedPath>().cloned() else {
        return ApiError::internal("the guard stands outside the route table").into_response();
    };
    let path = route.as_str().strip_prefix(BASE_PATH).unwrap_or(route.as_str());
    if policy::is_open(path) {
        return next.run(request).await;
    }
    let caller = match identify(&api, request.headers()).await {
        Ok(caller) => caller,
        Err(error) => return error.into_response(),
    };
    if let Err(error) = policy::check(&caller, request.method(), path) {
        return error.into_response();
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    request.extensions_mut().insert(caller);
    if reads { next.run(request).await } else { run_to_the_end(request, next).await }
}

/// Runs a request on a task of its own: a change that has begun does not stop half-way when its client goes.
async fn run_to_the_end(request: Request, next: Next) -> Response {
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(error = %error, "a request broke off");
            ApiError::internal("the request broke off inside the server").into_response()
        }
    }
}

async fn identify(api: &Api, headers: &HeaderMap) -> Answer<Caller> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, credentials) =
        header.and_then(|header| header.trim().split_once(' ')).ok_or_else(header_not_understood)?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        identify_token(api, credentials)
    } else if scheme.eq_ignore_ascii_case("basic") {
        identify_key(api, credentials).await
    } else {
        Err(header_not_understood())
    }
}

fn header_not_understood() -> ApiError {
    ApiError::new(
        Code::AuthorizationHeader,
        "Support authorization: basic/bearer: expected `Authorization: Basic …` with an API key, or `Bearer …` with a token",
    )
}

fn identify_token(api: &Api, token: &str) -> Answer<Caller> {
    if api.is_local_token(token) {
        return Ok(Caller {
            name: "ctl".to_owned(),
            role: Role::Administrator,
            kind: CallerKind::Local,
            token: None,
        });
    }
    let accounts = api.accounts();
    let bad = || ApiError::new(Code::BadToken, "the token is not known, log in again");
    match accounts.tokens.touch(token, accounts.clock.now_ms()) {
        TokenVerdict::Unknown => Err(bad()),
        TokenVerdict::Expired => {
            Err(ApiError::new(Code::TokenTimeOut, "the token has expired, log in again"))
        }
        TokenVerdict::Valid(username) => {
            let user = accounts.user(&username).ok_or_else(bad)?;
            Ok(Caller {
                name: user.username,
                role: user.role,
                kind: CallerKind::User,
                token: Some(token.to_owned()),
            })
        }
    }
}

async fn identify_key(api: &Api, credentials: &str) -> Answer<Caller> {
    let decoded = STANDARD.decode(credentials).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.ok_or_else(header_not_understood)?;
    let (api_key, secret) = decoded.split_once(':').ok_or_else(header_not_understood)?;
    let key = api.accounts().check_api_key(api_key, secret).await?;
    Ok(Caller { name: key.name, role: key.role, kind: CallerKind::ApiKey, token: None })
}
