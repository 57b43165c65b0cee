//! Topics that somebody has subscribed to (routes).

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::clients::off_thread;
use crate::Api;
use crate::web::{Answer, ApiError, Code, NoQuery, Page, PageRequest, Path, Query};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_topics)).routes(routes!(get_topic))
}

/// A filter that somebody on a node has subscribed to.
#[derive(Debug, Serialize, ToSchema)]
struct Topic {
    topic: String,
    node: String,
    /// Session of a durable subscription; there are none.
    session: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TopicQuery {
    /// Number of the page, from 1.
    page: Option<u32>,
    /// Most elements of a page, 1 to 10,000.
    limit: Option<u32>,
    /// Exactly this filter.
    topic: Option<String>,
    /// Only of this node.
    node: Option<String>,
}

/// Lists topics that somebody has subscribed to.
#[utoipa::path(
    get, path = "/topics", tag = "Topics", params(TopicQuery),
    responses((status = 200, body = Page<Topic>))
)]
async fn list_topics(State(api): State<Api>, Query(query): Query<TopicQuery>) -> Answer<Json<Page<Topic>>> {
    let page = PageRequest::new(query.page, query.limit)?;
    let node = api.settings().node.clone();
    off_thread(&api, move |broker| {
        let is_wanted = |filter: &str| {
            query.topic.as_deref().is_none_or(|wanted| wanted == filter)
                && query.node.as_ref().is_none_or(|wanted| *wanted == node)
        };
        let routes = broker.topics().into_iter().map(|route| route.filter);
        let found = routes.filter(|filter| is_wanted(filter)).collect();
        Json(page.cut(found).map(|topic| Topic { topic, node: node.clone(), session: None }))
    })
    .await
}

/// Shows on which nodes somebody has subscribed to a topic.
#[utoipa::path(get, path = "/topics/{topic}", tag = "Topics", responses((status = 200, body = Vec<Topic>)))]
async fn get_topic(
    State(api): State<Api>,
    Path(topic): Path<String>,
    _: Query<NoQuery>,
) -> Answer<Json<Vec<Topic>>> {
    let wanted = topic.clone();
    let known =
        off_thread(&api, move |broker| broker.topics().iter().any(|route| route.filter == wanted)).await?;
    if !known {
        return Err(ApiError::new(Code::TopicNotFound, format!("nobody has subscribed to `{topic}`")));
    }
    Ok(Json(vec![Topic { topic, node: api.settings().node.clone(), session: None }]))
}
