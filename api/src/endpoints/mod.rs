//! The endpoints, one file for each area.

mod actions;
mod api_keys;
mod banned;
mod client_object;
mod clients;
mod connectors;
mod delayed;
mod error_codes;
mod listeners;
mod login;
mod metrics;
mod namespace;
mod nodes;
mod object_query;
mod planned;
mod prometheus;
mod publish;
mod retained;
mod rule_test;
mod rules;
mod schemas;
mod slow_subscriptions;
mod sources;
mod status;
mod subscriptions;
mod topic_metrics;
mod topics;
mod traces;
mod users;

pub(crate) use status::status;

use utoipa_axum::router::OpenApiRouter;

use crate::Api;

/// Every path under `/api/v5`.
pub(crate) fn routes() -> OpenApiRouter<Api> {
    let areas = [
        actions::routes(),
        api_keys::routes(),
        banned::routes(),
        clients::routes(),
        connectors::routes(),
        delayed::routes(),
        error_codes::routes(),
        listeners::routes(),
        login::routes(),
        metrics::routes(),
        nodes::routes(),
        planned::routes(),
        prometheus::routes(),
        publish::routes(),
        retained::routes(),
        rule_test::routes(),
        rules::routes(),
        schemas::routes(),
        slow_subscriptions::routes(),
        sources::routes(),
        status::routes(),
        subscriptions::routes(),
        topic_metrics::routes(),
        topics::routes(),
        traces::routes(),
        users::routes(),
    ];
    areas.into_iter().fold(OpenApiRouter::new(), OpenApiRouter::merge)
}
