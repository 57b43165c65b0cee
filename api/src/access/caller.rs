//! Who is asking.

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::store::Role;
use crate::web::ApiError;

/// Who made a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Name of the user or of the API key.
    pub(crate) name: String,
    /// What the caller may do.
    pub(crate) role: Role,
    /// How the caller proved it.
    pub(crate) kind: CallerKind,
    /// The token, for logging out.
    pub(crate) token: Option<String>,
}

/// How a caller proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerKind {
    /// A person with a token.
    User,
    /// A program with an API key.
    ApiKey,
    /// The command line on the same machine.
    Local,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| ApiError::internal("the path was asked for without its guard"))
    }
}
