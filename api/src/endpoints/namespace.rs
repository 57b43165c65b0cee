//! The fields `ns` and `only_global`, which newer clients send along.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::Deserialize;

use crate::web::{Answer, ApiError, Query};

/// The query of a request that knows no other fields. They are checked when it is taken.
pub(super) struct Namespace;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamespaceQuery {
    ns: Option<String>,
    only_global: Option<bool>,
}

impl<S: Send + Sync> FromRequestParts<S> for Namespace {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(query) = Query::<NamespaceQuery>::from_request_parts(parts, state).await?;
        check_namespace(query.ns.as_deref(), query.only_global)?;
        Ok(Self)
    }
}

/// Accepts the fields of a query that pick a namespace, as long as they pick the only one there is.
pub(super) fn check_namespace(namespace: Option<&str>, _only_global: Option<bool>) -> Answer<()> {
    match namespace {
        None | Some("" | "global") => Ok(()),
        Some(_) => Err(ApiError::bad_request("Managed namespace not found")),
    }
}
