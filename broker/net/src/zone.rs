//! What connections of a zone are given when they come in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::ServerConfig;
use crate::quota::{Buckets, PublishQuotas};
use crate::worker::ticks;

/// What connections of one zone are given.
#[derive(Debug)]
pub(crate) struct Zone {
    /// How many ticks they may take to send their CONNECT.
    pub(crate) idle_ticks: u32,
    /// What they pay for their messages from, beside what their listener has.
    pub(crate) buckets: Arc<Buckets>,
}

/// All zones, looked up once for each connection.
#[derive(Debug)]
pub(crate) struct Zones {
    default: Zone,
    named: HashMap<String, Zone>,
}

impl Zones {
    pub(crate) fn new(config: &ServerConfig, now: Instant) -> Self {
        let buckets = |quotas: &PublishQuotas| Arc::new(Buckets::new(quotas, now));
        let idle_ticks = |timeout: Duration| ticks(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        let default = Zone { idle_ticks: idle_ticks(config.idle_timeout), buckets: buckets(&config.quotas) };
        let named = config.zones.iter().map(|(name, zone)| {
            let own = zone.quotas.as_ref().map(buckets);
            let buckets = own.unwrap_or_else(|| Arc::clone(&default.buckets));
            (name.clone(), Zone { idle_ticks: idle_ticks(zone.idle_timeout), buckets })
        });
        let named = named.collect();
        Self { default, named }
    }

    /// Returns the zone of that name; the one of everybody without a name, and for a name that is not known.
    pub(crate) fn get(&self, name: Option<&str>) -> &Zone {
        name.and_then(|name| self.named.get(name)).unwrap_or(&self.default)
    }
}
