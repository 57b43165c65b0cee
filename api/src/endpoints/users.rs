//! Users of the dashboard.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::access::{Caller, CallerKind, UserUpdate};
use crate::store::{Role, UserRecord};
use crate::web::{Answer, ApiError, Code, JsonBody, NoQuery, Path, Query};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_users, create_user))
        .routes(routes!(update_user, delete_user))
        .routes(routes!(change_password))
}

/// A user.
#[derive(Serialize, ToSchema)]
struct User {
    username: String,
    description: String,
    role: Role,
    /// Always `local`: the password is kept here.
    backend: &'static str,
}

impl From<UserRecord> for User {
    fn from(user: UserRecord) -> Self {
        Self { username: user.username, description: user.description, role: user.role, backend: "local" }
    }
}

/// A user to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    username: String,
    /// 8 to 64 characters of at least two of letters, digits and others.
    password: String,
    #[serde(default)]
    description: String,
    #[serde(default = "viewer")]
    role: Role,
}

fn viewer() -> Role {
    Role::Viewer
}

/// What may be changed of a user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserChange {
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    role: Option<Role>,
}

/// The old and the new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    /// Required but for the command line on the same machine.
    #[serde(default)]
    old_pwd: Option<String>,
    new_pwd: String,
}

/// Lists the users.
#[utoipa::path(get, path = "/users", tag = "Users", responses((status = 200, body = Vec<User>)))]
async fn list_users(State(api): State<Api>, _: Query<NoQuery>) -> Json<Vec<User>> {
    Json(api.accounts().users().into_iter().map(User::from).collect())
}

/// Makes a user.
#[utoipa::path(post, path = "/users", tag = "Users", request_body = NewUser, responses((status = 200, body = User)))]
async fn create_user(
    State(api): State<Api>,
    _: Query<NoQuery>,
    JsonBody(new): JsonBody<NewUser>,
) -> Answer<Json<User>> {
    let user = api.accounts().create_user(&new.username, &new.password, new.description, new.role).await?;
    Ok(Json(user.into()))
}

/// Changes description and role of a user.
#[utoipa::path(put, path = "/users/{username}", tag = "Users", request_body = UserChange, responses((status = 200, body = User)))]
async fn update_user(
    State(api): State<Api>,
    Path(username): Path<String>,
    _: Query<NoQuery>,
    JsonBody(change): JsonBody<UserChange>,
) -> Answer<Json<User>> {
    let update = UserUpdate { description: change.description, role: change.role };
    Ok(Json(api.accounts().update_user(&username, update).await?.into()))
}

/// Removes a user. The last administrator and oneself cannot be removed.
#[utoipa::path(delete, path = "/users/{username}", tag = "Users", responses((status = 204)))]
async fn delete_user(
    State(api): State<Api>,
    caller: Caller,
    Path(username): Path<String>,
    _: Query<NoQuery>,
) -> Answer<StatusCode> {
    if caller.kind == CallerKind::User && caller.name == username {
        return Err(ApiError::bad_request("you cannot remove yourself"));
    }
    api.accounts().delete_user(&username).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets a new password; the user's tokens end.
#[utoipa::path(
    post, path = "/users/{username}/change_pwd", tag = "Users", request_body = PasswordChange,
    responses((status = 204))
)]
async fn change_password(
    State(api): State<Api>,
    caller: Caller,
    Path(username): Path<String>,
    _: Query<NoQuery>,
    JsonBody(change): JsonBody<PasswordChange>,
) -> Answer<StatusCode> {
    if caller.role != Role::Administrator && caller.name != username {
        return Err(ApiError::new(Code::UnauthorizedRole, "you may change only your own password"));
    }
    if change.old_pwd.is_none() && caller.kind != CallerKind::Local {
        return Err(ApiError::bad_request("old_pwd: required, but missing"));
    }
    api.accounts().change_password(&username, change.old_pwd.as_deref(), &change.new_pwd).await?;
    Ok(StatusCode::NO_CONTENT)
}
