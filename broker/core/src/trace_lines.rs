//! The lines of traces, each written where the thing becomes true. All of this is for those who are followed only.

use std::net::SocketAddr;

use broker_codec::{Ack, Connect, Packet, PropertiesRef, Publish, ReasonCode};
use engine_event::{Text, TraceEvent, TraceLevel, TraceSet, Value};

use crate::access::{Action, Decision, Identity, Refusal, Verdict};
use crate::broker::Broker;
use crate::connection::Endpoints;
use crate::context::Context;
use crate::properties;
use crate::publishing::Origin;
use crate::reason::CloseReason;
use crate::routes::Routes;
use crate::session::{Profile, Queued, Session, State};
use crate::traces::Traces;
use crate::trail::Trail;

/// Names that a line has of a list at most: who gets a message, what is subscribed to.
const NAMES_MAX: usize = 20;

/// Parts of the server, as lines name them.
const SOCKET: &str = "SOCKET";
const MQTT: &str = "MQTT";
const AUTHN: &str = "AUTHN";
const AUTHZ: &str = "AUTHZ";
const SESSION: &str = "SESSION";
const PUBLISH: &str = "PUBLISH";

impl Session {
    /// Begins a line about the client.
    fn line(
        &self,
        profile: Option<&Profile>,
        at_ms: i64,
        tag: &'static str,
        what: &'static str,
    ) -> TraceEvent {
        line_of(self.client_id(), profile, at_ms, tag, what)
    }

    /// Writes that a message waits for the client, which cannot be sent it at once.
    #[cold]
    pub(crate) fn trace_queued(&self, state: &State, queued: &Queued, context: &Context) {
        let to = self.traces().and(traces_of(queued.trail.as_deref()));
        if to.is_empty() {
            return;
        }
        let reason = match &state.live {
            None => "away",
            Some(live) if live.blocked => "socket_full",
            Some(live) if state.inflight.sent() >= live.window => "window_full",
            Some(_) => return, // it goes out with the next write
        };
        let line = self.line(state.profile.as_deref(), context.now_ms(), PUBLISH, "message_queued");
        let line = line.with("reason", Value::text(reason)).with("queue_len", state.waiting_len() as i64);
        context.trace(to, about_queued(line, queued));
    }
}

/// Begins a line about a client.
fn line_of(
    client_id: &Text,
    profile: Option<&Profile>,
    at_ms: i64,
    tag: &'static str,
    what: &'static str,
) -> TraceEvent {
    TraceEvent {
        client_id: Some(client_id.clone()),
        username: profile.and_then(|profile| profile.username.clone()),
        peer: profile.map(|profile| profile.remote),
        ..TraceEvent::new(at_ms, tag, what)
    }
}

fn traces_of(trail: Option<&Trail>) -> TraceSet {
    trail.and_then(|trail| trail.watch.as_ref()).map_or(TraceSet::EMPTY, |watch| watch.traces())
}

/// Adds what there is to know of a message, without its payload.
fn about(line: TraceEvent, publish: &Publish) -> TraceEvent {
    let line = line
        .with("topic", Text::from(publish.topic_bytes()))
        .with("qos", publish.qos().as_u8())
        .with("retain", publish.retain());
    with_properties(line, publish.properties())
}

fn about_queued(line: TraceEvent, queued: &Queued) -> TraceEvent {
    let from = queued.trail.as_deref();
    line.with("topic", Text::from(queued.publish.topic_bytes()))
        .with("qos", queued.qos.as_u8())
        .with("retain", queued.retain)
        .with_some("from_clientid", from.map(|from| from.client_id.clone()))
        .with_some("id", from.and_then(|from| from.id).map(|id| format!("{id:032X}")))
}

fn with_properties(line: TraceEvent, properties: PropertiesRef<'_>) -> TraceEvent {
    if properties.is_empty() { line } else { line.with("properties", properties::to_map(properties)) }
}

fn payload_of(publish: &Publish) -> Text {
    Text::from(publish.payload())
}

/// Some names, and how many there are beside them.
fn names<T>(all: &[T], name: impl Fn(&T) -> Value) -> Value {
    let mut list: Vec<Value> = all.iter().take(NAMES_MAX).map(name).collect();
    if all.len() > NAMES_MAX {
        list.push(Value::from(format!("and {} more", all.len() - NAMES_MAX)));
    }
    Value::array(list)
}

fn codes(reasons: &[ReasonCode]) -> Value {
    names(reasons, |reason| Value::from(reason.to_string()))
}

/// Connections.
impl Broker {
    /// Writes what came of a new connection before MQTT: of TLS, WebSocket and the header of a proxy.
    pub fn trace_handshake(
        &self,
        remote: SocketAddr,
        listener: &str,
        result: Result<(), &dyn std::fmt::Display>,
    ) {
        let to = self.traces.of_client(&[], Some(remote.ip()));
        if to.is_empty() {
            return;
        }
        let what = if result.is_ok() { "handshake_done" } else { "handshake_failed" };
        let line = TraceEvent { peer: Some(remote), ..TraceEvent::new(self.now_ms(), SOCKET, what) };
        let line = line.with("listener", listener);
        self.traces.emit(
            to,
            match result {
                Ok(()) => line,
                Err(error) => line.level(TraceLevel::Warning).with("error", error.to_string()),
            },
        );
    }

    /// Writes that a CONNECT came. Its password is not shown.
    #[cold]
    pub(crate) fn trace_connect(&self, endpoints: &Endpoints, connect: &Connect, at_ms: i64) {
        let mut line = attempt_line(endpoints, connect, at_ms, MQTT, "connect_received")
            .with("listener", &*endpoints.listener)
            .with("proto_ver", connect.version.level())
            .with("clean_start", connect.clean_start)
            .with("keepalive", u32::from(connect.keep_alive_s))
            .with_some("password", connect.password.as_ref().map(|_| Value::text("******")));
        if let Some(will) = &connect.will {
            line = line
                .with("will_topic", will.topic.as_str())
                .with("will_qos", will.qos.as_u8())
                .with("will_retain", will.retain)
                .with("will_payload_bytes", will.payload.len() as i64);
        }
        let mut known = properties::to_map(connect.properties.as_ref());
        known.remove("Authentication-Data"); // as secret as a password
        if !known.is_empty() {
            line = line.with("properties", known);
        }
        self.traces.emit(self.traces_of_attempt(endpoints, connect), line);
    }

    fn traces_of_attempt(&self, endpoints: &Endpoints, connect: &Connect) -> TraceSet {
        self.traces.of_client(connect.client_id.as_bytes(), Some(endpoints.remote.ip()))
    }

    /// Writes what the authenticator said.
    #[cold]
    pub(crate) fn trace_authenticated(
        &self,
        endpoints: &Endpoints,
        connect: &Connect,
        result: Result<&Identity, &Refusal>,
        at_ms: i64,
    ) {
        let line = attempt_line(endpoints, connect, at_ms, AUTHN, "authentication");
        let line = match result {
            Ok(identity) => line
                .with("result", Value::text("success"))
                .with("is_superuser", identity.is_superuser)
                .with("is_anonymous", identity.is_anonymous),
            Err(refusal) => line
                .level(TraceLevel::Warning)
                .with("result", Value::text("refused"))
                .with("reason_code", refusal.code.to_string())
                .with("reason", refusal.reason),
        };
        self.traces.emit(self.traces_of_attempt(endpoints, connect), line);
    }

    /// Writes that a CONNECT was refused.
    #[cold]
    pub(crate) fn trace_refused(
        &self,
        endpoints: &Endpoints,
        connect: &Connect,
        code: ReasonCode,
        at_ms: i64,
    ) {
        let line = attempt_line(endpoints, connect, at_ms, MQTT, "connack_sent");
        let line = line.level(TraceLevel::Warning).with("reason_code", code.to_string());
        self.traces.emit(self.traces_of_attempt(endpoints, connect), line);
    }

    /// Writes that bytes came which are no packet.
    #[cold]
    pub(crate) fn trace_malformed(
        &self,
        remote: SocketAddr,
        session: Option<&Session>,
        error: &dyn std::fmt::Display,
        at_ms: i64,
    ) {
        let of_address = self.traces.of_client(&[], Some(remote.ip()));
        let to = session.map_or(of_address, |session| session.traces().and(of_address));
        let line = TraceEvent {
            client_id: session.map(|session| session.client_id().clone()),
            peer: Some(remote),
            ..TraceEvent::new(at_ms, MQTT, "packet_malformed")
        };
        self.traces.emit(to, line.level(TraceLevel::Warning).with("error", error.to_string()));
    }

    /// Writes what the authorizer said.
    #[cold]
    pub(crate) fn trace_authorized(
        &self,
        client_id: &Text,
        profile: &Profile,
        action: Action<'_>,
        decision: Decision,
        at_ms: i64,
    ) {
        let (name, topic, qos) = match action {
            Action::Publish { topic, qos, .. } => ("publish", topic, qos),
            Action::Subscribe { filter, qos } => ("subscribe", filter, qos),
        };
        let to = self.traces.of_client(client_id.as_bytes(), Some(profile.remote.ip()));
        let line = line_of(client_id, Some(profile), at_ms, AUTHZ, "authorization")
            .with("action", Value::text(name))
            .with("topic", topic)
            .with("qos", qos.as_u8());
        let line = match decision.verdict {
            Verdict::Allow => line.with("result", Value::text("allow")),
            Verdict::Deny => line.level(TraceLevel::Warning).with("result", Value::text("deny")),
        };
        self.traces
            .emit(to.and(self.traces.of_filter(topic)), line.with("source", Value::text(decision.source)));
    }
}

/// Sessions.
impl Broker {
    /// Writes that a session has begun, or goes on with another connection.
    #[cold]
    pub(crate) fn trace_opened(
        &self,
        session: &Session,
        profile: &Profile,
        present: bool,
        expiry_s: u32,
        at_ms: i64,
    ) {
        let what = if present { "session_resumed" } else { "session_created" };
        let line = session.line(Some(profile), at_ms, SESSION, what).level(TraceLevel::Info);
        self.traces.emit(session.traces(), line.with("expiry_interval", expiry_s));
    }

    /// Writes why a connection is ended.
    #[cold]
    pub(crate) fn trace_failed(
        &self,
        session: &Session,
        profile: &Profile,
        (code, reason): (ReasonCode, &'static str),
        at_ms: i64,
    ) {
        let line = session.line(Some(profile), at_ms, MQTT, "connection_failed").level(TraceLevel::Warning);
        let line = line.with("reason_code", code.to_string()).with("reason", Value::text(reason));
        self.traces.emit(session.traces(), line);
    }

    /// Writes that a connection has ended.
    #[cold]
    pub(crate) fn trace_closed(&self, client_id: &Text, profile: &Profile, reason: CloseReason, at_ms: i64) {
        let to = self.traces.of_client(client_id.as_bytes(), Some(profile.remote.ip()));
        let line = line_of(client_id, Some(profile), at_ms, MQTT, "connection_closed");
        self.traces.emit(to, line.level(TraceLevel::Info).with("reason", Value::text(reason.as_str())));
    }

    /// Writes that a session has ended.
    #[cold]
    pub(crate) fn trace_ended(&self, session: &Session, profile: Option<&Profile>, at_ms: i64) {
        let line = session.line(profile, at_ms, SESSION, "session_ended");
        self.traces.emit(session.traces(), line.level(TraceLevel::Info));
    }

    /// Writes that a subscription was made, or that one was given up.
    #[cold]
    pub(crate) fn trace_subscription(
        &self,
        client_id: &Text,
        profile: &Profile,
        what: &'static str,
        filter: &str,
        at_ms: i64,
    ) {
        let to = self.traces.of_client(client_id.as_bytes(), Some(profile.remote.ip()));
        let line = line_of(client_id, Some(profile), at_ms, SESSION, what).with("filter", filter);
        self.traces.emit(to.and(self.traces.of_filter(filter)), line);
    }

    /// Writes that the will of a client is published.
    #[cold]
    pub(crate) fn trace_will(&self, session: &Session, profile: &Profile, publish: &Publish, at_ms: i64) {
        let line = about(session.line(Some(profile), at_ms, PUBLISH, "will_published"), publish);
        self.traces.emit(session.traces(), line.payload("payload", payload_of(publish)));
    }

    /// Writes that a packet of a client came.
    #[cold]
    pub(crate) fn trace_packet(&self, session: &Session, profile: &Profile, packet: &Packet, at_ms: i64) {
        self.traces.packet(session, profile, packet, true, at_ms);
    }
}

impl Traces {
    /// Writes a packet of a client that came or goes.
    pub(crate) fn packet(
        &self,
        session: &Session,
        profile: &Profile,
        packet: &Packet,
        received: bool,
        at_ms: i64,
    ) {
        let to = session.traces();
        if to.is_empty() {
            return;
        }
        let Some(what) = packet_name(packet, received) else { return };
        let line = session.line(Some(profile), at_ms, MQTT, what);
        self.emit(to, about_packet(line, packet));
    }
}

/// Messages.
impl Broker {
    /// Writes that a client publishes a message; `topic` is that of its alias, if it has no other.
    #[cold]
    pub(crate) fn trace_publish_received(
        &self,
        session: &Session,
        profile: &Profile,
        publish: &Publish,
        topic: Option<&str>,
        at_ms: i64,
    ) {
        let name = topic.unwrap_or_else(|| publish.topic());
        let watch = self.routes().watch_of(name);
        let to = session.traces().and(watch.map_or(TraceSet::EMPTY, |watch| watch.traces()));
        if to.is_empty() {
            return;
        }
        let line = session
            .line(Some(profile), at_ms, MQTT, "publish_received")
            .with("topic", name)
            .with("qos", publish.qos().as_u8())
            .with("retain", publish.retain())
            .with("dup", publish.dup())
            .with_some("packet_id", publish.packet_id().map(|packet_id| i64::from(packet_id.get())))
            .with_some("topic_alias", publish.topic_alias().map(i64::from));
        let line = with_properties(line, publish.properties()).payload("payload", payload_of(publish));
        self.traces.emit(to, line);
    }

    /// Writes who gets a message that is published.
    #[cold]
    pub(crate) fn trace_routed(&self, id: u128, routes: &Routes, origin: &Origin<'_>, at_ms: i64) {
        let address = origin.peer.map(|peer| peer.ip());
        let of_topic = routes.watch.as_ref().map_or(TraceSet::EMPTY, |watch| watch.traces());
        let to = self.traces.of_client(origin.client_id.as_bytes(), address).and(of_topic);
        if to.is_empty() {
            return;
        }
        let line = origin_line(origin, at_ms, "publish_routed")
            .with("topic", &*routes.topic)
            .with("id", format!("{id:032X}"))
            .with("subscribers", names(&routes.targets, |target| target.session.client_id().clone().into()))
            .with("shared_groups", names(&routes.shares, |share| Value::from(share.name())))
            .with("rules", routes.rules.len() as i64);
        self.traces.emit(to, line);
    }

    /// Writes that a message was dropped before it reached any subscriber.
    #[cold]
    pub(crate) fn trace_message_dropped(
        &self,
        publish: &Publish,
        origin: &Origin<'_>,
        reason: &'static str,
        at_ms: i64,
    ) {
        let address = origin.peer.map(|peer| peer.ip());
        let watch = self.routes().watch_of(publish.topic());
        let of_topic = watch.map_or(TraceSet::EMPTY, |watch| watch.traces());
        let to = self.traces.of_client(origin.client_id.as_bytes(), address).and(of_topic);
        if to.is_empty() {
            return;
        }
        let line = origin_line(origin, at_ms, "message_dropped").level(TraceLevel::Warning);
        let line = about(line.with("reason", Value::text(reason)), publish);
        self.traces.emit(to, line.payload("payload", payload_of(publish)));
    }

    /// Writes what became of a message for one subscriber: delivered, acknowledged, dropped.
    #[cold]
    pub(crate) fn trace_delivery(
        &self,
        what: &'static str,
        reason: Option<&'static str>,
        receiver: Option<(&Text, &Profile)>,
        queued: &Queued,
        at_ms: i64,
    ) {
        let of_client = receiver.map_or(TraceSet::EMPTY, |(client_id, profile)| {
            self.traces.of_client(client_id.as_bytes(), Some(profile.remote.ip()))
        });
        let to = of_client.and(traces_of(queued.trail.as_deref()));
        if to.is_empty() {
            return;
        }
        let line = match receiver {
            Some((client_id, profile)) => line_of(client_id, Some(profile), at_ms, PUBLISH, what),
            None => TraceEvent::new(at_ms, PUBLISH, what),
        };
        let line = match reason {
            Some(reason) => line.level(TraceLevel::Warning).with("reason", Value::text(reason)),
            None => line,
        };
        let mut line = about_queued(line, queued);
        if what == "message_delivered" {
            line = line.payload("payload", payload_of(&queued.publish));
        }
        self.traces.emit(to, line);
    }
}

fn attempt_line(
    endpoints: &Endpoints,
    connect: &Connect,
    at_ms: i64,
    tag: &'static str,
    what: &'static str,
) -> TraceEvent {
    TraceEvent {
        client_id: Some(Text::from(connect.client_id.as_str())),
        username: connect.username.as_deref().map(Text::from),
        peer: Some(endpoints.remote),
        ..TraceEvent::new(at_ms, tag, what)
    }
}

fn origin_line(origin: &Origin<'_>, at_ms: i64, what: &'static str) -> TraceEvent {
    TraceEvent {
        client_id: Some(origin.client_id.clone()),
        username: origin.username.cloned(),
        peer: origin.peer,
        ..TraceEvent::new(at_ms, PUBLISH, what)
    }
}

/// The name of a line about a packet; none for those that have lines of their own.
fn packet_name(packet: &Packet, received: bool) -> Option<&'static str> {
    Some(match (packet, received) {
        (Packet::PubAck(_), true) => "puback_received",
        (Packet::PubAck(_), false) => "puback_sent",
        (Packet::PubRec(_), true) => "pubrec_received",
        (Packet::PubRec(_), false) => "pubrec_sent",
        (Packet::PubRel(_), true) => "pubrel_received",
        (Packet::PubRel(_), false) => "pubrel_sent",
        (Packet::PubComp(_), true) => "pubcomp_received",
        (Packet::PubComp(_), false) => "pubcomp_sent",
        (Packet::Subscribe(_), _) => "subscribe_received",
        (Packet::SubAck(_), _) => "suback_sent",
        (Packet::Unsubscribe(_), _) => "unsubscribe_received",
        (Packet::UnsubAck(_), _) => "unsuback_sent",
        (Packet::PingReq, _) => "pingreq_received",
        (Packet::PingResp, _) => "pingresp_sent",
        (Packet::Disconnect(_), true) => "disconnect_received",
        (Packet::Disconnect(_), false) => "disconnect_sent",
        (Packet::Auth(_), true) => "auth_received",
        (Packet::Auth(_), false) => "auth_sent",
        (Packet::ConnAck(_), _) => "connack_sent",
        (Packet::Connect(_) | Packet::Publish(_), _) => return None,
    })
}

fn about_packet(line: TraceEvent, packet: &Packet) -> TraceEvent {
    match packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            about_ack(line, ack)
        }
        Packet::Subscribe(subscribe) => {
            let filters = names(&subscribe.subscriptions, |subscription| {
                let options = &subscription.options;
                let (qos, nl, rap) = (options.qos.as_u8(), options.no_local, options.retain_as_published);
                Value::from(format!(
                    "{} qos={qos} nl={} rap={}",
                    subscription.filter,
                    u8::from(nl),
                    u8::from(rap)
                ))
            });
            let line = line.with("packet_id", i64::from(subscribe.packet_id.get())).with("filters", filters);
            with_properties(line, subscribe.properties.as_ref())
        }
        Packet::SubAck(suback) => line
            .with("packet_id", i64::from(suback.packet_id.get()))
            .with("reason_codes", codes(&suback.reasons)),
        Packet::Unsubscribe(unsubscribe) => line
            .with("packet_id", i64::from(unsubscribe.packet_id.get()))
            .with("filters", names(&unsubscribe.filters, |filter| Value::from(filter.as_str()))),
        Packet::UnsubAck(unsuback) => line
            .with("packet_id", i64::from(unsuback.packet_id.get()))
            .with("reason_codes", codes(&unsuback.reasons)),
        Packet::ConnAck(connack) => with_properties(
            line.with("reason_code", connack.reason.to_string())
                .with("session_present", connack.session_present),
            connack.properties.as_ref(),
        ),
        Packet::Disconnect(disconnect) => with_properties(
            line.with("reason_code", disconnect.reason.to_string()),
            disconnect.properties.as_ref(),
        ),
        Packet::Auth(auth) => line.with("reason_code", auth.reason.to_string()),
        Packet::PingReq | Packet::PingResp | Packet::Connect(_) | Packet::Publish(_) => line,
    }
}

fn about_ack(line: TraceEvent, ack: &Ack) -> TraceEvent {
    let line = line.with("packet_id", i64::from(ack.packet_id.get()));
    with_properties(line.with("reason_code", ack.reason.to_string()), ack.properties.as_ref())
}
