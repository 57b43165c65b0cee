//! When a subscription counts as slow, as the interface changes it: in force and stored, or neither.

use std::sync::Arc;

use broker_core::{Broker, SlowStats, SlowSubsConfig};
use connectors_api::Period;
use serde::{Deserialize, Serialize, Serializer};
use tokio::sync::Mutex;
use tracing::error;
use utoipa::ToSchema;

use crate::access::store_failed;
use crate::store::{Change, Snapshot, Store};
use crate::web::{Answer, ApiError, Code};

/// Name of the settings in the store, and of their table in the configuration file.
const NAME: &str = "slow_subs";

/// Entries at most.
const TOP_K_MAX: usize = 1000;

/// The shortest time that counts as slow, in milliseconds.
const THRESHOLD_MS_MIN: u64 = 100;

/// When a subscription counts as slow: in the configuration file, in the store and in the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SlowSubsSettings {
    /// Whether times are taken.
    pub enable: bool,
    /// What took less is not noted; at least `100ms`.
    #[serde(serialize_with = "in_seconds")]
    #[schema(value_type = String, example = "500ms")]
    pub threshold: Period,
    /// When an entry that does not get slower is forgotten.
    #[serde(serialize_with = "in_seconds")]
    #[schema(value_type = String, example = "300s")]
    pub expire_interval: Period,
    /// The most entries, 1 to 1000: the slowest ones.
    pub top_k_num: usize,
    /// Which time is taken.
    pub stats_type: SlowSubsStats,
}

/// Which time is taken of a delivery.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum SlowSubsStats {
    /// From the arrival of the message to its acknowledgement; with QoS 0 until it is sent.
    #[default]
    Whole,
    /// From the arrival of the message until it is first sent.
    Internal,
    /// From its first sending to its acknowledgement.
    Response,
}

impl Default for SlowSubsSettings {
    fn default() -> Self {
        Self::of(SlowSubsConfig::default())
    }
}

impl SlowSubsSettings {
    /// Says what is out of its range: the field, and what was expected and found.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let expected = |field, expected: &str, found: &dyn std::fmt::Display| {
            Some((field, format!("expected {expected}, got `{found}`")))
        };
        if self.threshold.duration().as_millis() < u128::from(THRESHOLD_MS_MIN) {
            return expected("threshold", "100ms or more", &self.threshold);
        }
        if self.expire_interval.duration().as_millis() < 1000 {
            return expected("expire_interval", "1s or more", &self.expire_interval);
        }
        if !(1..=TOP_K_MAX).contains(&self.top_k_num) {
            return expected("top_k_num", "1 to 1000", &self.top_k_num);
        }
        None
    }

    /// Returns what the broker is told.
    pub fn config(&self) -> SlowSubsConfig {
        let millis = |period: Period| u64::try_from(period.duration().as_millis()).unwrap_or(u64::MAX);
        SlowSubsConfig {
            enable: self.enable,
            threshold_ms: millis(self.threshold),
            expire_interval_ms: millis(self.expire_interval),
            top_k: self.top_k_num,
            stats: match self.stats_type {
                SlowSubsStats::Whole => SlowStats::Whole,
                SlowSubsStats::Internal => SlowStats::Internal,
                SlowSubsStats::Response => SlowStats::Response,
            },
        }
    }

    fn of(config: SlowSubsConfig) -> Self {
        Self {
            enable: config.enable,
            threshold: Period::millis(config.threshold_ms),
            expire_interval: Period::millis(config.expire_interval_ms),
            top_k_num: config.top_k,
            stats_type: match config.stats {
                SlowStats::Whole => SlowSubsStats::Whole,
                SlowStats::Internal => SlowSubsStats::Internal,
                SlowStats::Response => SlowSubsStats::Response,
            },
        }
    }
}

/// Writes `300s` where others write `5m`: what programs have always read here.
fn in_seconds<S: Serializer>(period: &Period, writer: S) -> Result<S::Ok, S::Error> {
    let millis = period.duration().as_millis();
    if period.is_infinite() || !millis.is_multiple_of(1000) {
        return period.serialize(writer);
    }
    writer.collect_str(&format_args!("{}s", millis / 1000))
}

/// The settings of the broker, and their copy in the store.
pub(crate) struct SlowSubs {
    broker: Arc<Broker>,
    store: Arc<dyn Store>,
    /// They stand in the configuration file and cannot be changed.
    is_fixed: bool,
    /// Held while a change is on its way to the store, so that broker and store change in the same order.
    turn: Mutex<()>,
}

impl SlowSubs {
    /// Takes over the settings of a snapshot, unless they stand in the configuration file.
    pub(crate) fn new(
        broker: Arc<Broker>,
        store: Arc<dyn Store>,
        is_fixed: bool,
        snapshot: &Snapshot,
    ) -> Self {
        let stored = snapshot.settings.iter().find(|(name, _)| name == NAME).filter(|_| !is_fixed);
        if let Some((_, value)) = stored {
            match serde_json::from_value::<SlowSubsSettings>(value.clone()) {
                Ok(settings) if settings.problem().is_none() => broker.set_slow_subs(settings.config()),
                Ok(_) => {
                    error!("the stored settings of slow subscriptions are out of range and not in force");
                }
                Err(error) => error!(%error, "the stored settings of slow subscriptions cannot be read"),
            }
        }
        Self { broker, store, is_fixed, turn: Mutex::default() }
    }

    pub(crate) fn settings(&self) -> SlowSubsSettings {
        SlowSubsSettings::of(self.broker.slow_subs_config())
    }

    /// Changes the settings.
    pub(crate) async fn change(&self, settings: SlowSubsSettings) -> Answer<()> {
        if let Some((field, message)) = settings.problem() {
            return Err(ApiError::bad_request(format!("{field}: {message}")));
        }
        if self.is_fixed {
            let message =
                format!("`[{NAME}]` stands in the configuration file: change it there, and restart");
            return Err(ApiError::new(Code::Conflict, message));
        }
        let value = serde_json::to_value(settings).map_err(|error| ApiError::internal(error.to_string()))?;
        let _turn = self.turn.lock().await;
        let change = Change::PutSetting { name: NAME.to_owned(), value };
        self.store.apply(&[change]).await.map_err(store_failed)?;
        self.broker.set_slow_subs(settings.config());
        Ok(())
    }
}
