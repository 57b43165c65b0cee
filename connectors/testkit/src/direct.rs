//! A connector without an engine around it: for tests of what `deliver` answers.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connectors_api::{
    Channel, ChannelContext, ChannelError, Connector, ConnectorDef, Delivery, Outcome, StartContext,
    StartError,
};
use engine_event::{Row, Text, Value, decode_json};
use serde_json::Value as Json;

/// Starts a connector as the engine does, after checking its configuration.
///
/// # Errors
/// Why it did not start.
pub async fn start(
    def: ConnectorDef,
    config: &Json,
    data_dir: &Path,
) -> Result<Arc<dyn Connector>, StartError> {
    (def.check_connector)(config)?;
    let context = StartContext { id: format!("{}:test", def.kind).into(), data_dir: data_dir.to_owned() };
    (def.start)(context, config.clone()).await
}

/// Adds a channel as the engine does, after checking its parameters.
///
/// # Errors
/// Why it was not added.
pub async fn add_channel(
    def: ConnectorDef,
    connector: &dyn Connector,
    parameters: &Json,
) -> Result<Arc<dyn Channel>, ChannelError> {
    (def.check_action)(parameters)?;
    let context = ChannelContext { id: format!("{}:test", def.kind).into() };
    connector.add_channel(context, parameters).await
}

/// Makes a row of a JSON object.
///
/// # Panics
/// When the JSON is no object.
#[track_caller]
pub fn row(json: &Json) -> Row {
    match decode_json(json.to_string().as_bytes()) {
        Ok(Value::Map(row)) => row,
        _ => panic!("not an object: {json}"),
    }
}

/// Makes the delivery of a row, with a delivery id made of `number`.
pub fn delivery(number: usize, key: Option<&str>, row: Row) -> Delivery {
    Delivery {
        row,
        delivery_id: Text::from(format!("delivery-{number}")),
        rule_id: "test".into(),
        key: key.map(Text::from),
        attempts: 0,
    }
}

/// Delivers rows with ten seconds to go, and checks that each has an outcome.
///
/// # Panics
/// When there are fewer or more outcomes than rows.
pub async fn deliver(channel: &dyn Channel, batch: &[Delivery]) -> Vec<Outcome> {
    deliver_within(channel, batch, Duration::from_secs(10)).await
}

/// As [`deliver`], with `limit` to go.
///
/// # Panics
/// When there are fewer or more outcomes than rows.
pub async fn deliver_within(channel: &dyn Channel, batch: &[Delivery], limit: Duration) -> Vec<Outcome> {
    let outcomes = channel.deliver(batch, Instant::now() + limit).await;
    assert_eq!(outcomes.len(), batch.len(), "each row has exactly one outcome");
    outcomes
}
