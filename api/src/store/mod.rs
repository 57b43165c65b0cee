//! What outlives the process: users, API keys, and the objects that were made through the interface.
//!
//! The server fills the trait in with its SQLite store; everything is cached in memory, so a store only loads and
//! applies changes.

mod memory;
mod record;

pub use memory::MemoryStore;
pub use record::{ApiKeyRecord, Change, Role, Snapshot, TopicMetricsRecord, UserRecord};

use async_trait::async_trait;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(pub Box<dyn std::error::Error + Send + Sync>);

impl StoreError {
    /// Wraps the cause.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

/// Keeps users, API keys and objects.
#[async_trait]
pub trait Store: Send + Sync {
    /// Reads everything.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn load(&self) -> Result<Snapshot, StoreError>;

    /// Applies changes, all or none, and returns when they are safe on disk.
    ///
    /// # Errors
    /// When nothing was changed.
    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError>;
}
