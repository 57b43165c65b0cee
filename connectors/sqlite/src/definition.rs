//! The constant by which the connector describes itself.

use std::sync::Arc;

use connectors_api::{Capabilities, Connector, ConnectorDef};

use crate::config::{ActionFields, ConnectorConfig, ConnectorFields, read_action};
use crate::sink::SqliteConnector;

/// A SQLite database file.
pub const DEFINITION: ConnectorDef = ConnectorDef {
    kind: "sqlite",
    title: "SQLite",
    summary: "Writes rows into a table of a SQLite file. A row is confirmed when its transaction is committed.",
    capabilities: Capabilities {
        batch_size_default: 100,
        batch_time_ms_default: 100,
        batch_size_limit: 10_000,
        keeps_order: false,
    },
    secrets: &[],
    connector_schema: || schemars::schema_for!(ConnectorFields).to_value(),
    action_schema: || schemars::schema_for!(ActionFields).to_value(),
    check_connector: |config| ConnectorConfig::read(config).map(drop),
    check_action: |parameters| read_action(parameters).map(drop),
    start: |context, config| {
        Box::pin(async move {
            let connector = SqliteConnector::start(&context, &config).await?;
            Ok(Arc::new(connector) as Arc<dyn Connector>)
        })
    },
};
