//! What holds for the clients of some listeners, where that is something else than for others.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::session::QueueSettings;

/// The name of the zone of listeners that name none.
const DEFAULT: &str = "default";

/// What holds for the clients of a zone. A connection takes it at its CONNECT and keeps it: nothing is looked up by name
/// after that.
#[derive(Debug)]
pub(crate) struct Zone {
    name: Arc<str>,
    config: BrokerConfig,
    /// What the queues of its sessions are made with.
    pub(crate) queue: QueueSettings,
}

impl Zone {
    pub(crate) fn new(name: &str, config: BrokerConfig) -> Self {
        Self { name: name.into(), queue: QueueSettings::of(&config), config }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::new(DEFAULT, BrokerConfig::default())
    }
}

impl Deref for Zone {
    type Target = BrokerConfig;

    #[inline]
    fn deref(&self) -> &BrokerConfig {
        &self.config
    }
}

/// All zones.
#[derive(Debug)]
pub(crate) struct Zones {
    default: Arc<Zone>,
    named: HashMap<String, Arc<Zone>>,
}

impl Zones {
    pub(crate) fn new(config: &BrokerConfig) -> Self {
        let make = |name: &str, config: &BrokerConfig| Arc::new(Zone::new(name, config.clone().clamped()));
        let named = config.zones.iter().map(|(name, zone)| (name.clone(), make(name, zone)));
        Self { default: make(DEFAULT, config), named: named.collect() }
    }

    fn all(&self) -> impl Iterator<Item = &Zone> {
        std::iter::once(&*self.default).chain(self.named.values().map(|zone| &**zone))
    }

    /// Returns the zone of that name; the one of everybody without a name, and for a name that is not known.
    pub(crate) fn get(&self, name: Option<&str>) -> &Arc<Zone> {
        name.and_then(|name| self.named.get(name)).unwrap_or(&self.default)
    }
}

impl Broker {
    /// Returns what holds for the clients of a zone; for those of no zone, and of one that is not known, what holds for
    /// everybody.
    pub fn zone_config(&self, zone: Option<&str>) -> &BrokerConfig {
        self.zones.get(zone)
    }

    /// Says whether [`Connection::force_shutdown`](crate::Connection::force_shutdown) is something for any client.
    pub fn has_force_shutdown(&self) -> bool {
        self.zones.all().any(|zone| zone.force_shutdown.is_some())
    }

    /// Returns the zone of a listener, for sessions whose connection is not there to say it.
    pub(crate) fn zone_of_listener(&self, listener: &str) -> &Arc<Zone> {
        self.zones.get(self.config().listener_zones.get(listener).map(String::as_str))
    }
}
