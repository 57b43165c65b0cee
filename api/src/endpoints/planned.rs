//! Paths that this version knows but does not have yet: they answer 501.

use axum::extract::MatchedPath;
use axum::routing::any;
use http::Method;
use utoipa_axum::router::OpenApiRouter;

use crate::Api;
use crate::web::{ApiError, Code};

/// The paths, without their prefix.
const PLANNED: &[&str] = &[
    "/alarms",
    "/alarms/force_deactivate",
    "/audit",
    "/authentication",
    "/authentication/{*rest}",
    "/authorization/{*rest}",
    "/actions/{id}/buffer",
    "/actions/{id}/buffer/purge",
    "/actions/{id}/dead_letters",
    "/actions/{id}/dead_letters/{*rest}",
    "/actions/{id}/tap",
    "/clients/{clientid}/authorization/cache",
    "/clients/{clientid}/inflight_messages",
    "/clients/{clientid}/keepalive",
    "/clients/{clientid}/mqueue_messages",
    "/clients/{clientid}/subscribe",
    "/clients/{clientid}/subscribe/bulk",
    "/clients/{clientid}/unsubscribe",
    "/clients/{clientid}/unsubscribe/bulk",
    "/cluster",
    "/cluster/{*rest}",
    "/configs",
    "/configs/{*rest}",
    "/configs_reset/{*rest}",
    "/data/{*rest}",
    "/gateways",
    "/gateways/{*rest}",
    "/message_transformations",
    "/message_transformations/{*rest}",
    "/monitor",
    "/monitor/{*rest}",
    "/monitor_current",
    "/monitor_current/{*rest}",
    "/mqtt/auto_subscribe",
    "/mqtt/delayed",
    "/mqtt/delayed/{*rest}",
    "/mqtt/retainer",
    "/mqtt/topic_rewrite",
    "/schema_registry",
    "/schema_registry/{*rest}",
    "/schema_registry_external",
    "/schema_registry_external/{*rest}",
    "/schema_registry_protobuf/bundle",
    "/schema_validations",
    "/schema_validations/{*rest}",
    "/sessions_count",
    "/sso",
    "/sso/{*rest}",
    "/users/{username}/mfa",
    "/api_key_scopes",
    "/user_scopes",
    "/prometheus",
    "/prometheus/auth",
    "/prometheus/message_transformation",
    "/prometheus/schema_validation",
    "/prometheus/topic_metrics",
];

pub(super) fn routes() -> OpenApiRouter<Api> {
    PLANNED.iter().fold(OpenApiRouter::new(), |router, path| router.route(path, any(not_yet)))
}

async fn not_yet(method: Method, path: MatchedPath) -> ApiError {
    ApiError::new(
        Code::NotImplemented,
        format!("{method} {} is not there yet in this version", path.as_str()),
    )
}
