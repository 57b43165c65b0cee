//! The route table, and what stands around it.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, ORIGIN,
};
use http::{HeaderValue, Method, StatusCode, Uri};
use utoipa_axum::router::OpenApiRouter;

use crate::access::guard;
use crate::web::{ApiError, BODY_BYTES_MAX, Code};
use crate::{Api, endpoints, openapi};

/// What every path of the interface begins with.
pub(crate) const BASE_PATH: &str = "/api/v5";

/// Makes the whole interface: everything under `/api/v5`, `/status` and `/api-docs`.
pub fn router(api: Api) -> Router {
    let guarded = endpoints::routes().route_layer(from_fn_with_state(api.clone(), guard));
    let (router, description) =
        OpenApiRouter::with_openapi(openapi::base(&api)).nest(BASE_PATH, guarded).split_for_parts();
    let description = openapi::finish(description);
    let page: &'static str = Box::leak(openapi::page(&description).into_boxed_str());
    let json: &'static [u8] = Box::leak(openapi::to_json(&description).into_boxed_slice());
    router
        .route("/status", get(endpoints::status))
        .route("/api-docs", get(move || async move { axum::response::Html(page) }))
        .route(
            "/api-docs/swagger.json",
            get(move || async move { ([(http::header::CONTENT_TYPE, "application/json")], json) }),
        )
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(no_cache))
        .layer(from_fn_with_state(api.clone(), cors))
        .with_state(api)
}

async fn unknown_path(uri: Uri) -> ApiError {
    let path = uri.path();
    let hint = match path.strip_prefix(BASE_PATH) {
        Some(rest) if rest.starts_with("/bridges") => {
            ": bridges are split into connectors and actions, see /connectors and /actions"
        }
        Some(rest) if rest.starts_with("/license") => ": this server has no licence to manage",
        _ => "",
    };
    ApiError::new(Code::NotFound, format!("there is no path `{path}`{hint}"))
}

async fn unknown_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(Code::MethodNotAllowed, format!("path `{}` has no method {method}", uri.path()))
}

async fn no_cache(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Lets pages from elsewhere use the interface. They have to bring their own credentials: there are no cookies.
async fn cors(State(api): State<Api>, request: Request, next: Next) -> Response {
    if !api.settings().cors || !request.headers().contains_key(ORIGIN) {
        return next.run(request).await;
    }
    let is_preflight =
        *request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response =
        if is_preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if is_preflight {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, DELETE"));
        headers.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("Authorization, Content-Type, Accept"),
        );
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    response
}
