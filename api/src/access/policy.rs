//! Who may use which path.

use http::Method;

use super::caller::{Caller, CallerKind};
use crate::store::Role;
use crate::web::{Answer, ApiError, Code};

/// Paths that need no credentials.
const OPEN: &[&str] = &["/login", "/status", "/error_codes", "/prometheus"];

/// Paths that are for people: an API key may not use them.
const PEOPLE_ONLY: &[&str] =
    &["/login", "/logout", "/users", "/api_key", "/sso", "/user_scopes", "/api_key_scopes"];

/// Paths that the role publisher may POST to.
const PUBLISHING: &[&str] = &["/publish", "/publish/bulk"];

/// What a viewer may do beside looking. Whose password it is, the endpoint checks.
const OWN_AFFAIRS: &[&str] = &["/logout", "/users/{username}/change_pwd"];

/// Tells whether a path is open to everybody. Paths are those of the route table, without their prefix.
pub(super) fn is_open(path: &str) -> bool {
    is_under(path, OPEN)
}

/// Checks that the caller may use a path.
pub(super) fn check(caller: &Caller, method: &Method, path: &str) -> Answer<()> {
    if caller.kind == CallerKind::ApiKey && is_under(path, PEOPLE_ONLY) {
        return Err(ApiError::new(Code::ApiKeyNotAllowed, "an API key may not use this path"));
    }
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let allowed = match caller.role {
        Role::Administrator => true,
        Role::Viewer => reads || (*method == Method::POST && OWN_AFFAIRS.contains(&path)),
        Role::Publisher => *method == Method::POST && PUBLISHING.contains(&path),
    };
    if allowed {
        return Ok(());
    }
    Err(ApiError::new(Code::UnauthorizedRole, format!("the role {} may not do this", caller.role.as_str())))
}

fn is_under(path: &str, roots: &[&str]) -> bool {
    roots
        .iter()
        .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_their_paths() {
        use CallerKind::{ApiKey, User};
        use Role::{Administrator, Publisher, Viewer};
        let check = |kind, role, request: &str, expect: Result<(), Code>| {
            let (method, path) = request.split_once(' ').unwrap();
            let caller = Caller { name: "ann".to_owned(), role, kind, token: None };
            let result = super::check(&caller, &method.parse().unwrap(), path).map_err(|error| error.code());
            assert_eq!(result, expect, "{kind:?} {role:?} {request}");
        };
        let role = Err(Code::UnauthorizedRole);
        let key = Err(Code::ApiKeyNotAllowed);
        check(User, Administrator, "DELETE /rules/{id}", Ok(()));
        check(User, Viewer, "GET /rules", Ok(()));
        check(User, Viewer, "HEAD /rules", Ok(()));
        check(User, Viewer, "POST /rules", role);
        check(User, Viewer, "POST /rule_test", role);
        check(User, Viewer, "POST /logout", Ok(()));
        check(User, Viewer, "POST /users/{username}/change_pwd", Ok(()));
        check(User, Viewer, "PUT /users/{username}", role);
        check(ApiKey, Administrator, "PUT /rules/{id}", Ok(()));
        check(ApiKey, Administrator, "GET /users", key);
        check(ApiKey, Administrator, "GET /users/{username}", key);
        check(ApiKey, Administrator, "GET /api_key", key);
        check(ApiKey, Administrator, "POST /logout", key);
        check(ApiKey, Viewer, "GET /clients", Ok(()));
        check(ApiKey, Viewer, "DELETE /clients/{clientid}", role);
        check(ApiKey, Publisher, "POST /publish", Ok(()));
        check(ApiKey, Publisher, "POST /publish/bulk", Ok(()));
        check(ApiKey, Publisher, "GET /publish", role);
        check(ApiKey, Publisher, "GET /clients", role);
        check(ApiKey, Publisher, "POST /publishers", role);
    }

    #[test]
    fn open_paths_are_whole_segments() {
        for (path, open) in [
            ("/status", true),
            ("/prometheus/stats", true),
            ("/error_codes/{code}", true),
            ("/statusx", false),
            ("/nodes", false),
        ] {
            assert_eq!(is_open(path), open, "{path}");
        }
    }
}
