//! The constant by which the connector describes itself.

use std::sync::Arc;

use connectors_api::{Capabilities, Connector, ConnectorDef};

use crate::config::{ActionConfig, ActionFields, ConnectorConfig, ConnectorFields};
use crate::sink::HttpConnector;

/// HTTP and HTTPS requests to one server.
pub const DEFINITION: ConnectorDef = ConnectorDef {
    kind: "http",
    title: "HTTP Server",
    summary: "Sends each row as an HTTP request. A row is confirmed by a success status of the answer.",
    capabilities: Capabilities {
        batch_size_default: 1,
        batch_time_ms_default: 0,
        batch_size_limit: 1000,
        keeps_order: false,
    },
    secrets: &[
        "auth.password",
        "auth.token",
        "headers.authorization",
        "headers.Authorization",
        "headers.proxy-authorization",
        "headers.cookie",
        "headers.x-api-key",
        "ssl.password",
    ],
    connector_schema: || schemars::schema_for!(ConnectorFields).to_value(),
    action_schema: || schemars::schema_for!(ActionFields).to_value(),
    check_connector: |config| ConnectorConfig::read(config).map(drop),
    check_action: |parameters| ActionConfig::read(parameters).map(drop),
    start: |context, config| {
        Box::pin(async move {
            let connector = HttpConnector::start(&context, &config).await?;
            Ok(Arc::new(connector) as Arc<dyn Connector>)
        })
    },
};
