//! The error codes, with a sentence each.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::web::{Answer, ApiError, Code, NoQuery, Path, Query};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_error_codes)).routes(routes!(get_error_code))
}

/// An error code.
#[derive(Serialize, ToSchema)]
struct ErrorCode {
    code: &'static str,
    description: &'static str,
}

impl From<Code> for ErrorCode {
    fn from(code: Code) -> Self {
        Self { code: code.name(), description: code.summary() }
    }
}

/// Lists the error codes.
#[utoipa::path(get, path = "/error_codes", tag = "Error codes", responses((status = 200, body = Vec<ErrorCode>)))]
async fn list_error_codes(_: Query<NoQuery>) -> Json<Vec<ErrorCode>> {
    Json(Code::ALL.iter().map(|code| ErrorCode::from(*code)).collect())
}

/// Explains an error code.
#[utoipa::path(get, path = "/error_codes/{code}", tag = "Error codes", responses((status = 200, body = ErrorCode)))]
async fn get_error_code(Path(name): Path<String>, _: Query<NoQuery>) -> Answer<Json<ErrorCode>> {
    let code = Code::ALL.iter().find(|code| code.name() == name);
    let code =
        code.ok_or_else(|| ApiError::new(Code::NotFound, format!("there is no error code `{name}`")))?;
    Ok(Json((*code).into()))
}
