//! Errors as the interface answers them.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value as JsonValue, json};

use super::Code;

/// An error answer: a status, a code, a message, and further fields where the interface names them.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    status: StatusCode,
    code: Code,
    message: String,
    fields: Map<String, JsonValue>,
    retry_after_s: Option<u64>,
}

/// What an endpoint gives: an answer or an error.
pub(crate) type Answer<T> = Result<T, ApiError>;

impl ApiError {
    /// Makes an error with the usual status of its code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { status: code.status(), code, message: message.into(), fields: Map::new(), retry_after_s: None }
    }

    /// The request is not valid.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, message)
    }

    /// Something failed inside; the message is for people who may see it, so it holds no secrets.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::InternalError, message)
    }

    /// Answers with another status than the code usually has.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Adds a field beside `code` and `message`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<JsonValue>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Says when another try makes sense.
    #[must_use]
    pub fn retry_after_s(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({"code": self.code.name(), "message": self.message});
        if let JsonValue::Object(object) = &mut body {
            object.extend(self.fields);
        }
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic Realm=\"emqx-dashboard\""));
        }
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The body of an error, for the description of the interface.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Error)]
pub struct ErrorBody {
    /// A word for programs, `BAD_REQUEST`.
    #[schema(example = "BAD_REQUEST")]
    pub code: String,
    /// A sentence for people.
    pub message: String,
}
