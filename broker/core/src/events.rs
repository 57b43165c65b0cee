//! Events as rules see them. Each is built only when a rule selects its kind.

use broker_codec::{PropertiesRef, SubscriptionOptions};
use engine_event::{Event, EventKind, Map, Text, Value};

use crate::broker::Broker;
use crate::properties;
use crate::reason::CloseReason;
use crate::session::Profile;

impl Broker {
    pub(crate) fn tell_connected(
        &self,
        client_id: &Text,
        profile: &Profile,
        expiry_interval_s: u32,
        connect_properties: PropertiesRef<'_>,
    ) {
        let Some(tap) = self.tap_for(EventKind::ClientConnected) else { return };
        let mut columns = self.connection_columns(client_id, profile, profile.connected_at_ms);
        columns.insert("mountpoint", Value::Undefined);
        columns.insert("keepalive", u32::from(profile.keep_alive_s));
        columns.insert("clean_start", profile.clean_start);
        columns.insert("expiry_interval", expiry_interval_s);
        columns.insert("is_bridge", profile.bridge);
        columns.insert("receive_maximum", u32::from(profile.receive_maximum));
        columns.insert("conn_props", properties::to_map(connect_properties));
        tap.happened(EventKind::ClientConnected, Event::new(EventKind::ClientConnected, columns));
    }

    pub(crate) fn tell_disconnected(
        &self,
        client_id: &Text,
        profile: &Profile,
        reason: CloseReason,
        disconnect_properties: PropertiesRef<'_>,
        now_ms: i64,
    ) {
        let Some(tap) = self.tap_for(EventKind::ClientDisconnected) else { return };
        let mut columns = self.connection_columns(client_id, profile, now_ms);
        columns.insert("reason", Value::text(reason.as_str()));
        columns.insert("disconnected_at", now_ms);
        columns.insert("disconn_props", properties::to_map(disconnect_properties));
        tap.happened(EventKind::ClientDisconnected, Event::new(EventKind::ClientDisconnected, columns));
    }

    pub(crate) fn tell_subscribed(
        &self,
        client_id: &Text,
        profile: &Profile,
        filter: &str,
        options: SubscriptionOptions,
        subscribe_properties: PropertiesRef<'_>,
        now_ms: i64,
    ) {
        let Some(tap) = self.tap_for(EventKind::SessionSubscribed) else { return };
        let mut columns = self.subscription_columns(client_id, profile, filter, options, now_ms);
        columns.insert("sub_props", properties::to_map(subscribe_properties));
        tap.happened(EventKind::SessionSubscribed, Event::new(EventKind::SessionSubscribed, columns));
    }

    pub(crate) fn tell_unsubscribed(
        &self,
        client_id: &Text,
        profile: &Profile,
        filter: &str,
        options: SubscriptionOptions,
        unsubscribe_properties: PropertiesRef<'_>,
        now_ms: i64,
    ) {
        let Some(tap) = self.tap_for(EventKind::SessionUnsubscribed) else { return };
        let mut columns = self.subscription_columns(client_id, profile, filter, options, now_ms);
        columns.insert("unsub_props", properties::to_map(unsubscribe_properties));
        tap.happened(EventKind::SessionUnsubscribed, Event::new(EventKind::SessionUnsubscribed, columns));
    }

    fn connection_columns(&self, client_id: &Text, profile: &Profile, timestamp_ms: i64) -> Map {
        let version = profile.version();
        let mut columns = Map::with_capacity(24);
        columns.insert("clientid", client_id.clone());
        columns.insert("username", profile.username.clone());
        columns.insert("peername", profile.remote.to_string());
        columns.insert("sockname", profile.local.to_string());
        columns.insert("proto_name", Value::text(version.protocol_name()));
        columns.insert("proto_ver", version.level());
        columns.insert("connected_at", profile.connected_at_ms);
        columns.insert("client_attrs", profile.identity.attributes.clone());
        self.finish_columns(columns, profile, timestamp_ms)
    }

    fn subscription_columns(
        &self,
        client_id: &Text,
        profile: &Profile,
        filter: &str,
        options: SubscriptionOptions,
        now_ms: i64,
    ) -> Map {
        let mut columns = Map::with_capacity(16);
        columns.insert("clientid", client_id.clone());
        columns.insert("username", profile.username.clone());
        columns.insert("peerhost", profile.remote.ip().to_string());
        columns.insert("peername", profile.remote.to_string());
        columns.insert("topic", filter);
        columns.insert("qos", options.qos.as_u8());
        columns.insert("client_attrs", profile.identity.attributes.clone());
        self.finish_columns(columns, profile, now_ms)
    }

    fn finish_columns(&self, mut columns: Map, profile: &Profile, timestamp_ms: i64) -> Map {
        columns.insert("conn_id", profile.number);
        columns.insert("timestamp", timestamp_ms);
        columns.insert("node", self.node().clone());
        columns
    }
}
