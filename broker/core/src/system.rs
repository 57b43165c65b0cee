//! `$SYS` topics: what the broker says of itself. Nothing is built that nobody has subscribed to.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};

use broker_codec::{PropertiesRef, PublishBuilder, SubscriptionOptions};
use engine_event::{JsonOptions, Map, Text, Value, encode_json};
use parking_lot::Mutex;

use crate::broker::Broker;
use crate::context::Context;
use crate::properties;
use crate::publishing::Origin;
use crate::reason::CloseReason;
use crate::routes::Routes;
use crate::session::Profile;

/// What is published under `$SYS` (`sys_topics`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemTopics {
    /// Milliseconds between reports of nodes, version, statistics and counters; none for no reports. Default 1 minute.
    pub message_interval_ms: Option<u64>,
    /// Milliseconds between reports of uptime and time; none for no reports. Default 30 s.
    pub heartbeat_interval_ms: Option<u64>,
    /// Tell of each client that connects. Default on.
    pub client_connected: bool,
    /// Tell of each connection that ends. Default on.
    pub client_disconnected: bool,
    /// Tell of each new subscription. Default off.
    pub client_subscribed: bool,
    /// Tell of each subscription that is given up. Default off.
    pub client_unsubscribed: bool,
}

impl Default for SystemTopics {
    fn default() -> Self {
        Self {
            message_interval_ms: Some(60_000),
            heartbeat_interval_ms: Some(30_000),
            client_connected: true,
            client_disconnected: true,
            client_subscribed: false,
            client_unsubscribed: false,
        }
    }
}

/// When the next reports are due.
#[derive(Debug)]
pub(crate) struct Reports {
    started_at_ms: i64,
    due: Mutex<Due>,
    /// Retained messages that are ours: the limit is for those of clients.
    retained: AtomicUsize,
}

#[derive(Debug, Default)]
struct Due {
    messages_ms: i64,
    heartbeat_ms: i64,
}

/// First level of all system topics.
pub(crate) const ROOT: &str = "$SYS";

const VERSION: &str = env!("CARGO_PKG_VERSION");
const DESCRIPTION: &str = "Sluice, an MQTT server with a SQL rule engine";

/// Says whether a topic or filter is one of the system's.
pub(crate) fn is_system(topic: &str) -> bool {
    topic.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Reports {
    pub(crate) fn new(now_ms: i64) -> Self {
        Self { started_at_ms: now_ms, due: Mutex::default(), retained: AtomicUsize::new(0) }
    }
}

impl Reports {
    /// Returns how many retained messages are the system's own.
    pub(crate) fn retained(&self) -> usize {
        self.retained.load(Ordering::Relaxed)
    }
}

/// Says whether a report is due, and when the next one is.
fn is_due(due_ms: &mut i64, interval_ms: Option<u64>, now_ms: i64) -> bool {
    let Some(interval_ms) = interval_ms.filter(|_| *due_ms <= now_ms) else { return false };
    *due_ms = now_ms.saturating_add(i64::try_from(interval_ms.max(1)).unwrap_or(i64::MAX));
    true
}

impl Broker {
    /// Publishes the reports that are due.
    pub(crate) fn report(&self, context: &mut Context) {
        let config = &self.config().system;
        let now_ms = context.now_ms();
        let (messages, heartbeat) = {
            let mut due = self.reports.due.lock();
            let messages = is_due(&mut due.messages_ms, config.message_interval_ms, now_ms);
            (messages, is_due(&mut due.heartbeat_ms, config.heartbeat_interval_ms, now_ms))
        };
        if messages {
            self.report_node(context);
        }
        if !self.routes().has_filters_below(ROOT) {
            return;
        }
        if messages {
            self.report_numbers(context);
        }
        if heartbeat {
            let uptime_ms = now_ms - self.reports.started_at_ms;
            self.report_one("uptime", &uptime_ms.to_string(), context);
            self.report_one("datetime", &rfc3339(now_ms), context);
        }
    }

    /// Publishes what is retained.
    fn report_node(&self, context: &mut Context) {
        self.reports.retained.store(3, Ordering::Relaxed);
        let node = self.config().node.clone();
        self.publish_system("$SYS/brokers", node.as_bytes(), true, context);
        for (name, text) in [("version", VERSION), ("sysdescr", DESCRIPTION)] {
            self.publish_system(&format!("$SYS/brokers/{node}/{name}"), text.as_bytes(), true, context);
        }
    }

    fn report_numbers(&self, context: &mut Context) {
        let stats = self.stats().0.into_iter().map(|(name, value)| ("stats", name, value));
        let metrics = self.metrics().all().into_iter().map(|(name, value)| ("metrics", name, value));
        for (group, name, value) in stats.chain(metrics) {
            let path = format!("{group}/{}", name.replace('.', "/"));
            self.report_one(&path, &value.to_string(), context);
        }
    }

    fn report_one(&self, path: &str, text: &str, context: &mut Context) {
        let topic = format!("$SYS/brokers/{}/{path}", self.config().node);
        self.publish_system(&topic, text.as_bytes(), false, context);
    }

    /// Publishes a message of the broker itself: no access rule and no limit holds it up.
    fn publish_system(&self, topic: &str, payload: &[u8], retain: bool, context: &mut Context) {
        let routes = self.routes().resolve(topic);
        if retain || routes.are_wanted() {
            self.publish_system_to(&routes, payload, retain, context);
        }
    }

    fn publish_system_to(&self, routes: &Routes, payload: &[u8], retain: bool, context: &mut Context) {
        let builder = PublishBuilder { topic: &routes.topic, payload, retain, ..PublishBuilder::default() };
        let Ok(publish) = builder.build() else { return }; // a client id that is too long for a topic
        let attributes = Map::new();
        let origin = Origin {
            client_id: self.node(),
            username: None,
            peer: None,
            session: 0,
            attributes: &attributes,
            hops: 0,
            republished_by: None,
            runs_rules: true,
            message_id: None,
            accepted_at_ms: None,
        };
        if retain && self.config().retain_available {
            self.retain(&publish, &origin, context);
        }
        if routes.are_wanted() {
            self.route(publish, routes, &origin, None, context);
        }
    }

    /// Tells of something that a client did, if somebody wants to hear of it.
    fn tell_system(
        &self,
        client_id: &Text,
        what: &str,
        context: &mut Context,
        columns: impl FnOnce(&mut Map),
    ) {
        if !self.routes().has_filters_below(ROOT) {
            return;
        }
        let name = client_id.to_str_lossy();
        let topic = format!("$SYS/brokers/{}/clients/{}/{what}", self.config().node, escaped(&name));
        let routes = self.routes().resolve(&topic);
        if !routes.are_wanted() {
            return;
        }
        let mut map = Map::with_capacity(20);
        map.insert("clientid", client_id.clone());
        columns(&mut map);
        map.insert("ts", context.now_ms());
        let payload = encode_json(&Value::Map(map), JsonOptions::default());
        self.publish_system_to(&routes, &payload, false, context);
    }

    pub(crate) fn tell_system_connected(
        &self,
        client_id: &Text,
        profile: &Profile,
        expiry_interval_s: u32,
        context: &mut Context,
    ) {
        if !self.config().system.client_connected {
            return;
        }
        self.tell_system(client_id, "connected", context, |map| {
            connection_columns(profile, map);
            map.insert("keepalive", u32::from(profile.keep_alive_s));
            map.insert("clean_start", profile.clean_start);
            map.insert("expiry_interval", expiry_interval_s);
            map.insert("receive_maximum", u32::from(profile.receive_maximum));
            map.insert("conn_props", properties::to_map(profile.connect_properties()));
            map.insert("connack", 0_u32);
            // what comes later in the life of a client id has a higher number
            map.insert("seq", profile.number * 2);
        });
    }

    pub(crate) fn tell_system_disconnected(
        &self,
        client_id: &Text,
        profile: &Profile,
        reason: CloseReason,
        disconnect_properties: PropertiesRef<'_>,
        context: &mut Context,
    ) {
        if !self.config().system.client_disconnected {
            return;
        }
        let now_ms = context.now_ms();
        self.tell_system(client_id, "disconnected", context, |map| {
            connection_columns(profile, map);
            map.insert("reason", Value::text(reason.as_str()));
            map.insert("disconnected_at", now_ms);
            map.insert("disconn_props", properties::to_map(disconnect_properties));
            map.insert("seq", profile.number * 2 + 1);
        });
    }

    pub(crate) fn tell_system_subscribed(
        &self,
        client_id: &Text,
        profile: &Profile,
        filter: &str,
        granted: (SubscriptionOptions, bool),
        subscribe_properties: PropertiesRef<'_>,
        context: &mut Context,
    ) {
        if !self.config().system.client_subscribed {
            return;
        }
        let (options, is_new) = granted;
        self.tell_system(client_id, "subscribed", context, |map| {
            subscription_columns(profile, filter, map);
            let mut subopts = Map::with_capacity(6);
            subopts.insert("qos", options.qos.as_u8());
            subopts.insert("nl", u8::from(options.no_local));
            subopts.insert("rap", u8::from(options.retain_as_published));
            subopts.insert("rh", options.retain_handling as u8);
            subopts.insert("is_new", is_new);
            subopts.insert("sub_props", properties::to_map(subscribe_properties));
            map.insert("subopts", subopts);
        });
    }

    pub(crate) fn tell_system_unsubscribed(
        &self,
        client_id: &Text,
        profile: &Profile,
        filter: &str,
        context: &mut Context,
    ) {
        if self.config().system.client_unsubscribed {
            let columns = |map: &mut Map| subscription_columns(profile, filter, map);
            self.tell_system(client_id, "unsubscribed", context, columns);
        }
    }
}

fn connection_columns(profile: &Profile, map: &mut Map) {
    let version = profile.version();
    map.insert("username", username(profile));
    map.insert("ipaddress", profile.remote.ip().to_string());
    map.insert("sockport", u32::from(profile.local.port()));
    map.insert("protocol", Value::text("mqtt"));
    map.insert("proto_name", Value::text(version.protocol_name()));
    map.insert("proto_ver", version.level());
    map.insert("client_attrs", profile.identity.attributes.clone());
    map.insert("connected_at", profile.connected_at_ms);
    map.insert("conn_id", profile.number);
}

fn subscription_columns(profile: &Profile, filter: &str, map: &mut Map) {
    map.insert("username", username(profile));
    map.insert("protocol", Value::text("mqtt"));
    map.insert("topic", filter);
}

fn username(profile: &Profile) -> Value {
    profile.username.clone().map_or(Value::Null, Value::Text)
}

/// A client id as one level of a topic.
fn escaped(client_id: &str) -> Cow<'_, str> {
    if !client_id.contains(['/', '+', '#']) {
        return Cow::Borrowed(client_id);
    }
    Cow::Owned(client_id.replace('/', "%2F").replace('+', "%2B").replace('#', "%23"))
}

/// A time as text, in UTC.
fn rfc3339(now_ms: i64) -> String {
    let (day, second_of_day) = (now_ms.div_euclid(86_400_000), now_ms.rem_euclid(86_400_000) / 1000);
    // days since the 1st of March of year 0: leap days come last in such years
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let day_of_era = day.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}+00:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_text() {
        for (now_ms, want) in [
            (0, "1970-01-01T00:00:00+00:00"),
            (951_782_399_999, "2000-02-28T23:59:59+00:00"),
            (951_782_400_000, "2000-02-29T00:00:00+00:00"),
            (1_709_251_200_000, "2024-03-01T00:00:00+00:00"),
            (4_107_542_399_000, "2100-02-28T23:59:59+00:00"),
            (4_107_542_400_000, "2100-03-01T00:00:00+00:00"),
            (1_764_120_600_500, "2025-11-26T01:30:00+00:00"),
        ] {
            assert_eq!(rfc3339(now_ms), want);
        }
    }

    #[test]
    fn what_is_the_systems() {
        for (topic, want) in
            [("$SYS", true), ("$SYS/#", true), ("$SYSTEM/a", false), ("$sys/a", false), ("a/$SYS", false)]
        {
            assert_eq!(is_system(topic), want, "{topic}");
        }
    }

    #[test]
    fn client_ids_are_one_level() {
        assert_eq!(escaped("a-b$%"), "a-b$%");
        assert_eq!(escaped("a/b+c#"), "a%2Fb%2Bc%23");
    }
}
