//! Which topics are counted, as the interface changes it: in force and stored, or neither.

use std::sync::Arc;

use broker_core::{Broker, TopicMetricsError};
use http::StatusCode;
use tokio::sync::Mutex;
use tracing::error;

use crate::access::store_failed;
use crate::store::{Change, Snapshot, Store, TopicMetricsRecord};
use crate::web::{Answer, ApiError, Code};

/// The topics that the broker counts, and their copy in the store.
pub(crate) struct CountedTopics {
    broker: Arc<Broker>,
    store: Arc<dyn Store>,
    /// Held while a change is on its way to the store, so that broker and store change in the same order.
    turn: Mutex<()>,
}

impl CountedTopics {
    /// Takes over the topics of a snapshot.
    pub(crate) fn new(broker: Arc<Broker>, store: Arc<dyn Store>, snapshot: &Snapshot) -> Self {
        for record in &snapshot.topic_metrics {
            if let Err(error) = broker.add_topic_metrics(&record.filter, record.created_at_ms) {
                error!(%error, "a stored topic is not counted");
            }
        }
        Self { broker, store, turn: Mutex::default() }
    }

    /// Counts a topic or filter from now on.
    pub(crate) async fn add(&self, filter: &str) -> Answer<()> {
        let _turn = self.turn.lock().await;
        let created_at_ms = self.broker.now_ms();
        self.broker.add_topic_metrics(filter, created_at_ms).map_err(refused)?;
        let record = TopicMetricsRecord { filter: filter.to_owned(), created_at_ms };
        let stored = self.store.apply(&[Change::PutTopicMetrics(record)]).await;
        stored.map_err(|error| {
            self.broker.remove_topic_metrics(filter);
            store_failed(error)
        })
    }

    /// Counts a topic or filter no longer, and says whether it was.
    pub(crate) async fn remove(&self, filter: &str) -> Answer<bool> {
        let _turn = self.turn.lock().await;
        if self.broker.topic_metrics_of(filter).is_none() {
            return Ok(false);
        }
        let change = Change::DeleteTopicMetrics { filter: filter.to_owned() };
        self.store.apply(&[change]).await.map_err(store_failed)?;
        Ok(self.broker.remove_topic_metrics(filter))
    }
}

fn refused(error: TopicMetricsError) -> ApiError {
    let message = match &error {
        TopicMetricsError::Filter { source, .. } => format!("topic: {error}: {source}"),
        _ => format!("topic: {error}"),
    };
    match error {
        TopicMetricsError::Filter { .. } | TopicMetricsError::Levels { .. } => {
            ApiError::new(Code::BadTopic, message)
        }
        TopicMetricsError::Exists { .. } => {
            ApiError::new(Code::AlreadyExists, message).with_status(StatusCode::CONFLICT)
        }
        TopicMetricsError::Full => {
            ApiError::new(Code::ExceedLimit, message).with_status(StatusCode::CONFLICT)
        }
    }
}
