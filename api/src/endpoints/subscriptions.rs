//! Subscriptions of all clients.

use axum::Json;
use axum::extract::State;
use broker_core::SubscriptionInfo;
use engine_event::topic;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::clients::off_thread;
use crate::Api;
use crate::web::{Answer, ApiError, Code, Page, PageRequest, Query};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_subscriptions))
}

/// A subscription of a client.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Subscription {
    node: String,
    clientid: String,
    /// The filter as the client wrote it, `$share/…` included.
    topic: String,
    /// As granted.
    qos: u8,
    /// No Local.
    nl: u8,
    /// Retain As Published.
    rap: u8,
    /// Retain Handling.
    rh: u8,
    /// Whether it is kept on disk.
    durable: bool,
}

impl Subscription {
    pub(super) fn new(info: SubscriptionInfo, node: &str) -> Self {
        Self {
            node: node.to_owned(),
            clientid: info.client_id.to_str_lossy().into_owned(),
            topic: info.filter.into(),
            qos: info.options.qos.as_u8(),
            nl: info.options.no_local.into(),
            rap: info.options.retain_as_published.into(),
            rh: info.options.retain_handling as u8,
            durable: false,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SubscriptionQuery {
    /// Number of the page, from 1.
    page: Option<u32>,
    /// Most elements of a page, 1 to 10,000.
    limit: Option<u32>,
    /// Only clients of this node.
    node: Option<String>,
    clientid: Option<String>,
    qos: Option<u8>,
    /// The filter as the client wrote it.
    topic: Option<String>,
    /// A topic or filter: subscriptions that overlap with it.
    match_topic: Option<String>,
    /// Group of a shared subscription.
    share_group: Option<String>,
    durable: Option<bool>,
}

impl SubscriptionQuery {
    fn accepts(&self, subscription: &SubscriptionInfo, node: &str) -> bool {
        let (group, filter) = split_share(&subscription.filter);
        self.node.as_ref().is_none_or(|wanted| wanted == node)
            && self
                .clientid
                .as_ref()
                .is_none_or(|wanted| subscription.client_id.as_bytes() == wanted.as_bytes())
            && self.qos.is_none_or(|qos| subscription.options.qos.as_u8() == qos)
            && self.topic.as_ref().is_none_or(|wanted| **wanted == *subscription.filter)
            && self.match_topic.as_ref().is_none_or(|wanted| overlap(filter, wanted))
            && self.share_group.as_ref().is_none_or(|wanted| group == Some(wanted))
            && self.durable != Some(true)
    }
}

/// Takes `$share/<group>/<filter>` and `$queue/<filter>` apart.
fn split_share(filter: &str) -> (Option<&str>, &str) {
    if let Some((group, filter)) = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        return (Some(group), filter);
    }
    filter.strip_prefix("$queue/").map_or((None, filter), |filter| (Some("$queue"), filter))
}

/// Tells whether some topic matches both filters.
fn overlap(a: &str, b: &str) -> bool {
    let mut a = a.split('/').peekable();
    let mut b = b.split('/').peekable();
    // a wildcard in front does not match topics that begin with `$`
    let hides = |x: Option<&&str>, y: Option<&&str>| {
        matches!(x, Some(&("+" | "#"))) && y.is_some_and(|level| level.starts_with('$'))
    };
    if hides(a.peek(), b.peek()) || hides(b.peek(), a.peek()) {
        return false;
    }
    loop {
        match (a.next(), b.next()) {
            (None, None) | (Some("#"), _) | (_, Some("#")) => return true,
            (Some(x), Some(y)) if x == y || x == "+" || y == "+" => {}
            _ => return false,
        }
    }
}

/// Lists subscriptions.
#[utoipa::path(
    get, path = "/subscriptions", tag = "Subscriptions", params(SubscriptionQuery),
    responses((status = 200, body = Page<Subscription>))
)]
async fn list_subscriptions(
    State(api): State<Api>,
    Query(query): Query<SubscriptionQuery>,
) -> Answer<Json<Page<Subscription>>> {
    let page = PageRequest::new(query.page, query.limit)?;
    if let Some(wanted) = &query.match_topic
        && (split_share(wanted).0.is_some() || !topic::is_valid_filter(wanted))
    {
        return Err(ApiError::new(
            Code::InvalidParameter,
            format!(
                "match_topic_invalid: expected a topic or a filter without a share group, got `{wanted}`"
            ),
        ));
    }
    let node = api.settings().node.clone();
    off_thread(&api, move |broker| {
        let all = broker.subscriptions().into_iter();
        let found = all.filter(|subscription| query.accepts(subscription, &node)).collect();
        Json(page.cut(found).map(|subscription| Subscription::new(subscription, &node)))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_overlap_when_a_topic_matches_both() {
        for (a, b, expect) in [
            ("cmd/+", "cmd/pump-17", true),
            ("cmd/#", "cmd", true),
            ("a/+/c", "+/b/+", true),
            ("a/#", "+/b", true),
            ("a/b", "a/c", false),
            ("a/b", "a/b/c", false),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/+/x", true),
            ("#", "+", true),
        ] {
            assert_eq!(overlap(a, b), expect, "{a} {b}");
            assert_eq!(overlap(b, a), expect, "{b} {a}");
        }
    }

    #[test]
    fn share_groups_are_split_off() {
        assert_eq!(split_share("$share/g/a/b"), (Some("g"), "a/b"));
        assert_eq!(split_share("$queue/a"), (Some("$queue"), "a"));
        assert_eq!(split_share("a/b"), (None, "a/b"));
        assert_eq!(split_share("$share/g"), (None, "$share/g"));
    }
}
