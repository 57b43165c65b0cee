//! Reading the body of a request.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;

use super::{ApiError, Code};

/// Largest body in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 8 << 20;

/// Reads the body as JSON into `T`, which denies unknown fields.
///
/// A missing `Content-Type` is taken for JSON, as scripts leave it out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if let Some(content_type) = request.headers().get(CONTENT_TYPE) {
            let is_json = content_type.to_str().is_ok_and(is_json_type);
            if !is_json {
                let found = String::from_utf8_lossy(content_type.as_bytes()).into_owned();
                return Err(ApiError::new(
                    Code::UnsupportedMediaType,
                    format!("expected a body of type application/json, got `{found}`"),
                ));
            }
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                ApiError::new(Code::ExceedLimit, format!("the body is larger than {BODY_BYTES_MAX} bytes"))
            } else {
                ApiError::bad_request("the body could not be read to its end")
            }
        })?;
        parse_body(&bytes).map(Self)
    }
}

fn is_json_type(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence
            .to_ascii_lowercase()
            .strip_prefix("application/")
            .is_some_and(|kind| kind.ends_with("+json"))
}

/// Reads JSON; errors name the place.
pub(crate) fn parse_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::bad_request("expected a JSON body, got none"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_syntax() || inner.is_eof() {
            ApiError::bad_request(format!("the body is not JSON: {inner}"))
        } else if path == "." {
            ApiError::bad_request(inner.to_string())
        } else {
            ApiError::bad_request(format!("{path}: {inner}"))
        }
    })?;
    reader.end().map_err(|error| ApiError::bad_request(format!("the body is not JSON: {error}")))?;
    Ok(value)
}
