//! The started connector: a pool, and the channels on it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use connectors_api::{Channel, ChannelContext, ChannelError, Connector, Health, StartContext, StartError};
use serde_json::Value as Json;

use crate::channel::PostgresChannel;
use crate::classify::classify;
use crate::config::ConnectorConfig;
use crate::doubt::Doubts;
use crate::parameters::ActionConfig;
use crate::pool::Pool;

/// How long a check, a start, or the preparation of a channel may take.
pub(crate) const CHECK_LIMIT: Duration = Duration::from_secs(10);
/// How long a stop waits for connections to say good-bye.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// A connector of type `pgsql`.
pub(crate) struct PostgresConnector {
    id: Arc<str>,
    pool: Arc<Pool>,
    /// The server can tell what became of a transaction; cleared by the first that cannot.
    tracked: Arc<AtomicBool>,
}

impl PostgresConnector {
    /// Opens the first connection.
    ///
    /// # Errors
    /// A wrong configuration, or what the server says.
    pub(crate) async fn start(context: &StartContext, config: &Json) -> Result<Self, StartError> {
        let pool = Pool::new(ConnectorConfig::read(config)?);
        let lease = pool.lease((Instant::now() + CHECK_LIMIT).into()).await.map_err(StartError::Target)?;
        lease.give_back();
        tracing::debug!(connector = %context.id, "connected");
        Ok(Self {
            id: Arc::clone(&context.id),
            pool: Arc::new(pool),
            tracked: Arc::new(AtomicBool::new(true)),
        })
    }
}

#[async_trait]
impl Connector for PostgresConnector {
    async fn check(&self) -> Health {
        let checked = async {
            let mut lease = self.pool.lease((Instant::now() + CHECK_LIMIT).into()).await?;
            match lease.session.ping().await {
                Ok(()) => {
                    lease.give_back();
                    Ok(())
                }
                Err(error) => {
                    self.pool.drop_idle();
                    Err(classify(&error).1)
                }
            }
        };
        match tokio::time::timeout(CHECK_LIMIT, checked).await {
            Ok(Ok(())) => Health::Connected,
            Ok(Err(reason)) => Health::Disconnected(reason.to_string()),
            Err(_) => Health::Disconnected("no answer from the server".to_owned()),
        }
    }

    async fn add_channel(
        &self,
        context: ChannelContext,
        parameters: &Json,
    ) -> Result<Arc<dyn Channel>, ChannelError> {
        let config = ActionConfig::read(parameters)?;
        let deadline = Instant::now() + CHECK_LIMIT;
        let doubts = Doubts::of(&self.id, &context.id);
        let (pool, tracked) = (Arc::clone(&self.pool), Arc::clone(&self.tracked));
        let channel = PostgresChannel::add(pool, tracked, doubts, config, deadline).await?;
        tracing::debug!(action = %context.id, "statement prepared");
        Ok(Arc::new(channel))
    }

    async fn stop(&self) {
        if tokio::time::timeout(STOP_LIMIT, self.pool.close()).await.is_err() {
            tracing::debug!("connections dropped without a good-bye");
        }
    }
}
