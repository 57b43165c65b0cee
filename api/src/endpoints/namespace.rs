//! The fields `ns` and `only_global`, which newer clients send along.

use crate::web::{Answer, ApiError};

/// Accepts the fields of a query that pick a namespace, as long as they pick the only one there is.
pub(super) fn check_namespace(namespace: Option<&str>, _only_global: Option<bool>) -> Answer<()> {
    match namespace {
        None | Some("" | "global") => Ok(()),
        Some(_) => Err(ApiError::bad_request("Managed namespace not found")),
    }
}
