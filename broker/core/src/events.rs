//! Events as rules see them. Each is built only when a rule selects its kind.

use std::net::SocketAddr;

use broker_codec::{Connect, PacketType, PropertiesRef, ReasonCode, SubscriptionOptions, Version};
use engine_event::{Event, EventKind, Map, Text, Value};

use crate::access::{Action, Decision, Identity, Refusal, Verdict};
use crate::broker::Broker;
use crate::connection::Endpoints;
use crate::context::Context;
use crate::properties;
use crate::reason::CloseReason;
use crate::session::Profile;

impl Broker {
    pub(crate) fn tell_connected(&self, client_id: &Text, profile: &Profile, expiry_interval_s: u32) {
        let Some(tap) = self.tap_for(EventKind::ClientConnected) else { return };
        let mut columns = self.connection_columns(client_id, profile, profile.connected_at_ms);
        columns.insert("mountpoint", crate::mountpoint::Mountpoint::text(profile.mountpoint.as_ref()));
        columns.insert("keepalive", u32::from(profile.keep_alive_s));
        columns.insert("clean_start", profile.clean_start);
        columns.insert("expiry_interval", expiry_interval_s);
        columns.insert("is_bridge", profile.bridge);
        columns.insert("receive_maximum", u32::from(profile.receive_maximum));
        columns.insert("conn_props", properties::to_map(profile.connect_properties()));
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
        if self.traces.is_on() {
            self.trace_closed(client_id, profile, reason, now_ms);
        }
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
        if self.traces.is_on() {
            self.trace_subscription(client_id, profile, "subscribed", filter, now_ms);
        }
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
        if self.traces.is_on() {
            self.trace_subscription(client_id, profile, "unsubscribed", filter, now_ms);
        }
        let Some(tap) = self.tap_for(EventKind::SessionUnsubscribed) else { return };
        let mut columns = self.subscription_columns(client_id, profile, filter, options, now_ms);
        columns.insert("unsub_props", properties::to_map(unsubscribe_properties));
        tap.happened(EventKind::SessionUnsubscribed, Event::new(EventKind::SessionUnsubscribed, columns));
    }

    /// A CONNECT was accepted.
    pub(crate) fn tell_accepted(
        &self,
        client_id: &Text,
        profile: &Profile,
        expiry_interval_s: u32,
        now_ms: i64,
    ) {
        let Some(tap) = self.tap_for(EventKind::ClientConnack) else { return };
        let mut columns = attempt_columns(&Attempt::of(client_id, profile, expiry_interval_s));
        columns.insert("reason_code", Value::text("success"));
        columns.insert("connected_at", profile.connected_at_ms);
        let event = Event::new(EventKind::ClientConnack, self.stamped(columns, now_ms));
        tap.happened(EventKind::ClientConnack, event);
    }

    /// A CONNECT was refused.
    pub(crate) fn tell_refused(
        &self,
        endpoints: &Endpoints,
        connect: &Connect,
        code: ReasonCode,
        now_ms: i64,
    ) {
        if self.traces.is_on() {
            self.trace_refused(endpoints, connect, code, now_ms);
        }
        let Some(tap) = self.tap_for(EventKind::ClientConnack) else { return };
        let properties = connect.properties.as_ref();
        let mut columns = attempt_columns(&Attempt {
            client_id: Text::from(connect.client_id.as_str()),
            username: connect.username.as_deref().map(Text::from),
            remote: endpoints.remote,
            local: endpoints.local,
            version: connect.version,
            keep_alive_s: connect.keep_alive_s,
            clean_start: connect.clean_start,
            expiry_interval_s: properties.session_expiry_interval().unwrap_or(0),
            properties,
        });
        columns.insert("reason_code", code_name(code));
        columns.insert("connected_at", Value::Undefined);
        let event = Event::new(EventKind::ClientConnack, self.stamped(columns, now_ms));
        tap.happened(EventKind::ClientConnack, event);
    }

    /// A client has sent PINGREQ.
    pub(crate) fn tell_ping(&self, client_id: &Text, profile: &Profile, expiry_interval_s: u32, now_ms: i64) {
        let Some(tap) = self.tap_for(EventKind::ClientPing) else { return };
        let columns = attempt_columns(&Attempt::of(client_id, profile, expiry_interval_s));
        tap.happened(EventKind::ClientPing, Event::new(EventKind::ClientPing, self.stamped(columns, now_ms)));
    }

    /// A client was authenticated, or not.
    pub(crate) fn tell_authenticated(
        &self,
        endpoints: &Endpoints,
        connect: &Connect,
        result: Result<&Identity, &Refusal>,
        now_ms: i64,
    ) {
        if self.traces.is_on() {
            self.trace_authenticated(endpoints, connect, result, now_ms);
        }
        let kind = EventKind::ClientCheckAuthnComplete;
        let Some(tap) = self.tap_for(kind) else { return };
        let mut columns = Map::with_capacity(10);
        columns.insert("clientid", connect.client_id.as_str());
        columns.insert("username", connect.username.as_deref().map(Text::from));
        columns.insert("peername", endpoints.remote.to_string());
        let reason = result.map_or_else(|refusal| code_name(refusal.code), |_| "success".to_owned());
        columns.insert("reason_code", reason);
        columns.insert("is_superuser", result.is_ok_and(|identity| identity.is_superuser));
        columns.insert("is_anonymous", result.is_ok_and(|identity| identity.is_anonymous));
        let attributes = result.map(|identity| identity.attributes.clone()).unwrap_or_default();
        columns.insert("client_attrs", attributes);
        tap.happened(kind, Event::new(kind, self.stamped(columns, now_ms)));
    }

    /// A publish or subscribe was authorized, or not.
    #[inline]
    pub(crate) fn tell_authorized(
        &self,
        client_id: &Text,
        profile: &Profile,
        action: Action<'_>,
        decision: Decision,
        context: &Context,
    ) {
        if context.wants(EventKind::ClientCheckAuthzComplete) {
            self.tell_authorized_now(client_id, profile, action, decision, context.now_ms());
        }
    }

    #[cold]
    fn tell_authorized_now(
        &self,
        client_id: &Text,
        profile: &Profile,
        action: Action<'_>,
        decision: Decision,
        now_ms: i64,
    ) {
        if self.traces.is_on() {
            self.trace_authorized(client_id, profile, action, decision, now_ms);
        }
        let kind = EventKind::ClientCheckAuthzComplete;
        let Some(tap) = self.tap_for(kind) else { return };
        let (action, topic) = match action {
            Action::Publish { topic, .. } => ("publish", topic),
            Action::Subscribe { filter, .. } => ("subscribe", filter),
        };
        let result = match decision.verdict {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
        };
        let mut columns = Map::with_capacity(12);
        columns.insert("clientid", client_id.clone());
        columns.insert("username", profile.username.clone());
        columns.insert("peerhost", profile.remote.ip().to_string());
        columns.insert("peername", profile.remote.to_string());
        columns.insert("topic", topic);
        columns.insert("action", Value::text(action));
        columns.insert("authz_source", Value::text(decision.source));
        columns.insert("result", Value::text(result));
        columns.insert("client_attrs", profile.identity.attributes.clone());
        tap.happened(kind, Event::new(kind, self.stamped(columns, now_ms)));
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
        self.stamped(columns, timestamp_ms)
    }

    /// Adds what every event has.
    pub(crate) fn stamped(&self, mut columns: Map, timestamp_ms: i64) -> Map {
        columns.insert("timestamp", timestamp_ms);
        columns.insert("node", self.node().clone());
        columns
    }
}

/// What a CONNECT says, taken or not.
struct Attempt<'a> {
    client_id: Text,
    username: Option<Text>,
    remote: SocketAddr,
    local: SocketAddr,
    version: Version,
    keep_alive_s: u16,
    clean_start: bool,
    expiry_interval_s: u32,
    properties: PropertiesRef<'a>,
}

impl<'a> Attempt<'a> {
    fn of(client_id: &Text, profile: &'a Profile, expiry_interval_s: u32) -> Self {
        Self {
            client_id: client_id.clone(),
            username: profile.username.clone(),
            remote: profile.remote,
            local: profile.local,
            version: profile.version(),
            keep_alive_s: profile.keep_alive_s,
            clean_start: profile.clean_start,
            expiry_interval_s,
            properties: profile.connect_properties(),
        }
    }
}

fn attempt_columns(attempt: &Attempt<'_>) -> Map {
    let mut columns = Map::with_capacity(15);
    columns.insert("clientid", attempt.client_id.clone());
    columns.insert("username", attempt.username.clone());
    columns.insert("peername", attempt.remote.to_string());
    columns.insert("sockname", attempt.local.to_string());
    columns.insert("proto_name", Value::text(attempt.version.protocol_name()));
    columns.insert("proto_ver", attempt.version.level());
    columns.insert("keepalive", u32::from(attempt.keep_alive_s));
    columns.insert("clean_start", attempt.clean_start);
    columns.insert("expiry_interval", attempt.expiry_interval_s);
    columns.insert("conn_props", properties::to_map(attempt.properties));
    columns
}

/// The name of a code of CONNACK as rules know it.
fn code_name(code: ReasonCode) -> String {
    match code {
        ReasonCode::BAD_USER_NAME_OR_PASSWORD => "bad_username_or_password".to_owned(),
        code => code.name_in(PacketType::ConnAck).to_lowercase().replace([' ', '-'], "_"),
    }
}
