//! The constant by which the connector describes itself.

use std::sync::Arc;

use connectors_api::{Capabilities, Connector, ConnectorDef};

use crate::config::{ConnectorConfig, ConnectorFields};
use crate::connector::PostgresConnector;
use crate::parameters::{ActionConfig, ActionFields};

/// PostgreSQL, TimescaleDB and others of the same protocol.
pub const DEFINITION: ConnectorDef = ConnectorDef {
    kind: "pgsql",
    title: "PostgreSQL",
    summary: "Writes rows to a table, or runs an SQL statement for each. A row is confirmed by the answer to COMMIT.",
    capabilities: Capabilities {
        batch_size_default: 100,
        batch_time_ms_default: 100,
        batch_size_limit: 10_000,
        keeps_order: false,
    },
    secrets: &["password", "ssl.password"],
    connector_schema: || schemars::schema_for!(ConnectorFields).to_value(),
    action_schema: || schemars::schema_for!(ActionFields).to_value(),
    check_connector: |config| ConnectorConfig::read(config).map(drop),
    check_action: |parameters| ActionConfig::read(parameters).map(drop),
    start: |context, config| {
        Box::pin(async move {
            let connector = PostgresConnector::start(&context, &config).await?;
            Ok(Arc::new(connector) as Arc<dyn Connector>)
        })
    },
};
