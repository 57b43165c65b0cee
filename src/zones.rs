//! Zones: what is different for the clients of some listeners.

use std::collections::BTreeMap;

use broker_core::BrokerConfig;
use broker_net::{PublishQuotas, ZoneConfig};
use connectors_api::{ConfigProblem, parse_config};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::config::{Config, FlappingDetect, ForceShutdown};
use crate::mqtt_config::Mqtt;
use crate::protection;

/// Settings that are different, by their names.
type Changes = Map<String, Json>;

/// What is different for the clients of listeners that name this zone. Everything else is as for all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Zone {
    /// Limits and defaults of the protocol: settings of `mqtt`.
    pub(crate) mqtt: Changes,
    /// Bans of clients that connect and disconnect over and over: settings of `flapping_detect`.
    pub(crate) flapping_detect: Changes,
    /// The end of connections for which too much is kept: settings of `force_shutdown`.
    pub(crate) force_shutdown: Changes,
    /// What survives the end of the process.
    pub(crate) durable_sessions: ZoneDurability,
}

/// What survives the end of the process, of the clients of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ZoneDurability {
    /// Whether sessions are on disk, where they are for others.
    pub(crate) enable: bool,
}

impl Default for ZoneDurability {
    fn default() -> Self {
        Self { enable: true }
    }
}

/// What holds for the clients of a zone, in full.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ZoneSettings {
    mqtt: Mqtt,
    /// Its clients have rates of their own.
    has_limiter: bool,
    flapping_detect: FlappingDetect,
    force_shutdown: ForceShutdown,
    is_durable: bool,
}

/// All zones, in full.
pub(crate) type Zones = BTreeMap<String, ZoneSettings>;

/// The zone of listeners that name none.
pub(crate) const DEFAULT: &str = "default";

/// Settings of `mqtt` that are of no single client.
const OF_THE_SERVER: [&str; 5] = [
    "max_retained_messages",
    "shared_subscription_strategy",
    "shared_subscription_initial_sticky_pick",
    "shared_subscription_offline",
    "shared_subscription_backlog",
];

/// Works out what holds in each zone.
///
/// # Errors
/// Every problem with its place.
pub(crate) fn resolve(config: &Config) -> Result<Zones, Vec<ConfigProblem>> {
    let mut zones = Zones::new();
    let mut problems = Vec::new();
    for (name, zone) in &config.zones {
        match zone.settings(config, name) {
            Ok(settings) => {
                zones.insert(name.clone(), settings);
            }
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(zones) } else { Err(problems) }
}

/// Says what is wrong with a listener that names a zone.
pub(crate) fn check_name(zone: &str, zones: &BTreeMap<String, impl Sized>) -> Result<(), String> {
    if zone == DEFAULT || zones.contains_key(zone) {
        return Ok(());
    }
    let known: Vec<&str> = std::iter::once(DEFAULT).chain(zones.keys().map(String::as_str)).collect();
    Err(format!("expected the name of a zone, of which there are {}, got `{zone}`", known.join(", ")))
}

impl Zone {
    fn settings(&self, config: &Config, name: &str) -> Result<ZoneSettings, Vec<ConfigProblem>> {
        let at = format!("zones.{name}");
        let mut problems = Vec::new();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(is_name) {
            problems.push(ConfigProblem::new(&at, "expected a name of letters, digits, `_` and `-`"));
        }
        if name == DEFAULT {
            problems
                .push(ConfigProblem::new(&at, "what holds in the default zone stands outside of `zones`"));
        }
        for key in OF_THE_SERVER.iter().filter(|key| self.mqtt.contains_key(**key)) {
            let message = "it holds for the whole server: expected it in `mqtt`, outside of `zones`";
            problems.push(ConfigProblem::new(format!("{at}.mqtt.{key}"), message));
        }
        let mqtt = changed(&config.mqtt, &self.mqtt, &format!("{at}.mqtt"));
        let flapping =
            changed(&config.flapping_detect, &self.flapping_detect, &format!("{at}.flapping_detect"));
        let force = changed(&config.force_shutdown, &self.force_shutdown, &format!("{at}.force_shutdown"));
        let (Ok(mqtt), Ok(flapping_detect), Ok(force_shutdown)) = (&mqtt, &flapping, &force) else {
            let found = [mqtt.err(), flapping.err(), force.err()];
            problems.extend(found.into_iter().flatten());
            return Err(problems);
        };
        problems.extend(mqtt.problems(&format!("{at}.mqtt.")));
        problems.extend(flapping_detect.problems(&format!("{at}.flapping_detect.")));
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(ZoneSettings {
            mqtt: mqtt.clone(),
            has_limiter: self.mqtt.contains_key("limiter"),
            flapping_detect: flapping_detect.clone(),
            force_shutdown: force_shutdown.clone(),
            is_durable: self.durable_sessions.enable,
        })
    }
}

/// Puts settings over those that hold for all.
fn changed<T: Serialize + DeserializeOwned>(
    base: &T,
    changes: &Changes,
    at: &str,
) -> Result<T, ConfigProblem> {
    let internal = |error: &dyn std::fmt::Display| ConfigProblem::new(at, error.to_string());
    let mut whole = serde_json::to_value(base).map_err(|error| internal(&error))?;
    put_over(&mut whole, changes);
    parse_config(&whole).map_err(|error| {
        let first = error.0.into_iter().next();
        let ConfigProblem { path, message } = first.unwrap_or_else(|| ConfigProblem::new("", "wrong"));
        ConfigProblem::new(if path.is_empty() { at.to_owned() } else { format!("{at}.{path}") }, message)
    })
}

/// Tables of settings are changed setting by setting; tables of topics are replaced.
fn put_over(base: &mut Json, changes: &Changes) {
    let Json::Object(base) = base else { return };
    for (name, change) in changes {
        match (base.get_mut(name), change) {
            (Some(known @ Json::Object(_)), Json::Object(changes)) if name != "mqueue_priorities" => {
                put_over(known, changes);
            }
            _ => {
                base.insert(name.clone(), change.clone());
            }
        }
    }
}

impl ZoneSettings {
    /// Returns what holds for its clients; `all` is what holds for all.
    fn broker(&self, all: &BrokerConfig) -> BrokerConfig {
        let mut broker = BrokerConfig {
            flapping: protection::flapping(&self.flapping_detect),
            force_shutdown: protection::force_shutdown(&self.force_shutdown),
            durable: self.is_durable,
            ..all.clone()
        };
        self.mqtt.complete(&mut broker);
        broker
    }

    fn network(&self) -> ZoneConfig {
        ZoneConfig {
            idle_timeout: self.mqtt.idle_timeout.duration(),
            quotas: self.has_limiter.then(|| PublishQuotas {
                node: self.mqtt.limiter.all().quotas(),
                each: self.mqtt.limiter.client.quotas(),
            }),
        }
    }
}

/// Completes the broker's configuration with the zones.
pub(crate) fn complete(broker: &mut BrokerConfig, zones: &Zones) {
    broker.zones = zones.iter().map(|(name, zone)| (name.clone(), zone.broker(broker))).collect();
}

/// Bytes of the largest packet that a client of any zone may send.
pub(crate) fn largest_packet(config: &Config) -> usize {
    let of_zones = config.resolved_zones.values().map(|zone| zone.mqtt.max_packet_size.get());
    let largest = of_zones.chain([config.mqtt.max_packet_size.get()]).max();
    largest.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX)
}

/// Returns the zones as the network part understands them.
pub(crate) fn to_network(zones: &Zones) -> BTreeMap<String, ZoneConfig> {
    zones.iter().map(|(name, zone)| (name.clone(), zone.network())).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::toml_file::TomlFile;

    fn check(text: &str) -> Result<Config, String> {
        let file = TomlFile::parse(Path::new("sluice.toml"), text.to_owned()).expect("TOML");
        config::check(&file).map_err(|problems| {
            let lines = problems.iter().map(|problem| format!("{}: {}", problem.line, problem.message));
            lines.collect::<Vec<_>>().join("\n")
        })
    }

    #[test]
    fn a_zone_is_over_what_holds_for_all_and_that_over_the_defaults() {
        let text = "[mqtt]\nmax_inflight = 7\nmax_mqueue_len = 50\nlimiter.client.messages_rate = '9/s'\n\
                    mqueue_priorities = { a = 1, b = 2 }\n\
                    [zones.lab.mqtt]\nmax_mqueue_len = 'infinity'\nidle_timeout = '3s'\nmqueue_priorities = { b = 3 }\n\
                    [zones.lab.mqtt.limiter]\nbytes_rate = '1MB/s'\n\
                    [zones.lab.flapping_detect]\nenable = true\n\
                    [zones.lab.durable_sessions]\nenable = false\n[zones.other]\n";
        let config = check(text).expect("a configuration");
        let mut broker = BrokerConfig { max_inflight: 7, ..BrokerConfig::default() };
        complete(&mut broker, &config.resolved_zones);
        let lab = &broker.zones["lab"];
        assert_eq!((lab.max_inflight, lab.max_queue_len, lab.max_topic_levels), (7, 0, 128));
        assert_eq!(
            lab.queue_priorities,
            BTreeMap::from([("b".to_owned(), 3)]),
            "a table of topics is replaced"
        );
        assert!(lab.flapping.is_some() && !lab.durable);
        assert_eq!(broker.zones["other"].max_queue_len, 50);
        let network = to_network(&config.resolved_zones);
        assert_eq!(network["lab"].idle_timeout.as_secs(), 3);
        let quotas = network["lab"].quotas.expect("its own");
        assert!(quotas.node.bytes.is_some() && quotas.each.messages.is_some());
        assert_eq!(network["other"].quotas, None);
    }

    #[test]
    fn problems_name_the_zone() {
        let problem = |text: &str, want: &str| {
            let found = check(text).expect_err("a problem");
            assert!(found.contains(want), "{found}");
        };
        problem(
            "[zones.a.mqtt]\nmax_inflight = 0",
            "2: zones.a.mqtt.max_inflight: expected 1 to 65535, got `0`",
        );
        problem("[zones.a.mqtt]\nmax_inflight = 'x'", "2: zones.a.mqtt.max_inflight: invalid type");
        problem("[zones.a.mqtt]\nmax_inflite = 1", "zones.a.mqtt.max_inflite: unknown field");
        problem(
            "[zones.a.mqtt]\nmax_retained_messages = 1",
            "2: zones.a.mqtt.max_retained_messages: it holds for",
        );
        problem(
            "[zones.a.flapping_detect]\nmax_count = 0",
            "2: zones.a.flapping_detect.max_count: expected at least 1",
        );
        problem("[zones.default.mqtt]\nmax_inflight = 1", "zones.default: what holds in the default zone");
        problem("[zones.a]\nsysmon = 1", "unknown field `sysmon`");
        problem(
            "[zones.a]\n[listeners.tcp.x]\nbind = 1884\nzone = 'b'",
            "4: listeners.tcp.x.zone: expected the name of a zone, of which there are default, a, got `b`",
        );
    }
}
