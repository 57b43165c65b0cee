//! The ban list.

use std::borrow::Cow;

use axum::Json;
use axum::extract::State;
use broker_core::{Ban, BanError, BanSubject};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::web::{
    Answer, ApiError, Code, JsonBody, NoQuery, Page, PageRequest, Path, Query, Until, rfc3339_s,
};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_banned, create_ban, clear_banned)).routes(routes!(delete_ban))
}

/// Bytes of `by` and of `reason` at most.
const TEXT_BYTES_MAX: usize = 1024;

/// A ban.
#[derive(Debug, Serialize, ToSchema)]
struct Banned {
    /// What `who` is: `clientid`, `username`, `peerhost`, `clientid_re`, `username_re` or `peerhost_net`.
    r#as: &'static str,
    who: String,
    /// Who made the ban.
    by: String,
    reason: String,
    /// When it was made, RFC 3339.
    at: String,
    /// When it ends, RFC 3339, or `infinity`.
    until: String,
}

impl Banned {
    fn new(ban: Ban) -> Self {
        Self {
            r#as: ban.subject.kind(),
            who: ban.subject.who(),
            at: rfc3339_s(ban.at_ms),
            until: ban.until_ms.map_or_else(|| "infinity".to_owned(), rfc3339_s),
            by: ban.by,
            reason: ban.reason,
        }
    }
}

/// A ban to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBan {
    /// What `who` is: `clientid`, `username`, `peerhost`, `clientid_re`, `username_re` or `peerhost_net`.
    r#as: String,
    /// Client id, user name, address, regular expression, or network such as `10.0.0.0/8`.
    who: String,
    /// Who makes the ban; `mgmt_api` unless given.
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    /// When it was made: RFC 3339 or Unix seconds; now unless given.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    at: Option<Until>,
    /// When it ends: RFC 3339, Unix seconds, or `infinity`, which it is unless given.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    until: Option<Until>,
}

impl NewBan {
    fn check(self, now_ms: i64) -> Answer<Ban> {
        let subject = parse_subject(&self.r#as, &self.who)?;
        let by = self.by.unwrap_or_else(|| "mgmt_api".to_owned());
        let reason = self.reason.unwrap_or_default();
        for (field, text) in [("by", &by), ("reason", &reason)] {
            if text.len() > TEXT_BYTES_MAX {
                return Err(ApiError::bad_request(format!(
                    "{field}: expected at most {TEXT_BYTES_MAX} bytes, got {}",
                    text.len()
                )));
            }
        }
        let until_ms = self.until.and_then(Until::unix_ms);
        if let Some(until_ms) = until_ms.filter(|until_ms| *until_ms <= now_ms) {
            return Err(ApiError::bad_request(format!(
                "until: expected a time to come, got `{}`",
                rfc3339_s(until_ms)
            )));
        }
        Ok(Ban { subject, by, reason, at_ms: self.at.and_then(Until::unix_ms).unwrap_or(now_ms), until_ms })
    }
}

fn parse_subject(kind: &str, who: &str) -> Answer<BanSubject> {
    BanSubject::parse(kind, who).map_err(|error| {
        let field = if matches!(error, BanError::Kind { .. }) { "as" } else { "who" };
        ApiError::bad_request(format!("{field}: {error}"))
    })
}

#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BannedQuery {
    /// Number of the page, from 1.
    page: Option<u32>,
    /// Most elements of a page, 1 to 10,000.
    limit: Option<u32>,
    /// The ban of this client id.
    clientid: Option<String>,
    /// The ban of this user name.
    username: Option<String>,
    /// The ban of this address.
    peerhost: Option<String>,
    /// Part of the client id or of its pattern.
    like_clientid: Option<String>,
    /// Part of the user name or of its pattern.
    like_username: Option<String>,
    /// Part of the address.
    like_peerhost: Option<String>,
    /// Part of the network.
    like_peerhost_net: Option<String>,
}

impl BannedQuery {
    fn accepts(&self, subject: &BanSubject) -> bool {
        let exact = [
            (self.clientid.as_deref(), "clientid"),
            (self.username.as_deref(), "username"),
            (self.peerhost.as_deref(), "peerhost"),
        ];
        let partly = [
            (self.like_clientid.as_deref(), &["clientid", "clientid_re"][..]),
            (self.like_username.as_deref(), &["username", "username_re"]),
            (self.like_peerhost.as_deref(), &["peerhost"]),
            (self.like_peerhost_net.as_deref(), &["peerhost_net"]),
        ];
        let who: Cow<'_, str> = subject.who().into();
        exact
            .iter()
            .all(|(wanted, kind)| wanted.is_none_or(|wanted| subject.kind() == *kind && who == wanted))
            && partly.iter().all(|(wanted, kinds)| {
                wanted.is_none_or(|wanted| kinds.contains(&subject.kind()) && who.contains(wanted))
            })
    }
}

/// Lists the bans that hold.
#[utoipa::path(
    get, path = "/banned", tag = "Banned", params(BannedQuery),
    responses((status = 200, body = Page<Banned>))
)]
async fn list_banned(State(api): State<Api>, Query(query): Query<BannedQuery>) -> Answer<Json<Page<Banned>>> {
    let page = PageRequest::new(query.page, query.limit)?;
    let mut bans = api.broker().bans().all(api.now_ms());
    bans.retain(|ban| query.accepts(&ban.subject));
    Ok(Json(page.cut(bans).map(Banned::new)))
}

/// Bans somebody, and ends the connections and sessions of those who are connected.
#[utoipa::path(
    post, path = "/banned", tag = "Banned", request_body = NewBan,
    responses((status = 200, body = Banned))
)]
async fn create_ban(
    State(api): State<Api>,
    _: Query<NoQuery>,
    JsonBody(new): JsonBody<NewBan>,
) -> Answer<Json<Banned>> {
    let now_ms = api.now_ms();
    let ban = new.check(now_ms)?;
    api.bans().create(ban.clone(), now_ms).await?;
    Ok(Json(Banned::new(ban)))
}

/// Takes all bans back.
#[utoipa::path(delete, path = "/banned", tag = "Banned", responses((status = 204)))]
async fn clear_banned(State(api): State<Api>, _: Query<NoQuery>) -> Answer<StatusCode> {
    api.bans().clear(api.now_ms()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a ban back.
#[utoipa::path(delete, path = "/banned/{as}/{who}", tag = "Banned", responses((status = 204)))]
async fn delete_ban(
    State(api): State<Api>,
    Path((kind, who)): Path<(String, String)>,
    _: Query<NoQuery>,
) -> Answer<StatusCode> {
    let subject = parse_subject(&kind, &who)?;
    if api.bans().delete(&subject, api.now_ms()).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::new(Code::NotFound, format!("there is no ban of {kind} `{who}`")))
    }
}
