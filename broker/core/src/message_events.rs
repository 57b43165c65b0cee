//! What becomes of single messages, as rules see it: delivered, acknowledged, dropped.
//!
//! Whether a rule wants to know is asked once for each batch of work ([`Context::wants`]). No lock of a session may be
//! held when these are called: a rule may publish.

use std::net::SocketAddr;

use broker_codec::{PropertiesRef, Publish};
use engine_event::{Event, EventKind, Map, Text, Value};

use crate::broker::Broker;
use crate::context::{Context, Incident};
use crate::metrics::Metric;
use crate::properties;
use crate::publishing::Origin;
use crate::reason::CloseReason;
use crate::session::{Profile, Queued, Session};

/// A message that one client does not get.
#[derive(Debug)]
pub(crate) struct DroppedDelivery {
    pub(crate) queued: Queued,
    pub(crate) why: Metric,
}

impl Broker {
    /// A message was handed to the connection of a subscriber.
    pub(crate) fn tell_delivered(&self, session: &Session, profile: &Profile, queued: &Queued, now_ms: i64) {
        if self.traces.is_on() {
            let receiver = Some((session.client_id(), profile));
            self.trace_delivery("message_delivered", None, receiver, queued, now_ms);
        }
        let columns = Map::with_capacity(16);
        self.tell_delivery(
            EventKind::MessageDelivered,
            columns,
            Some((session.client_id(), profile)),
            queued,
            now_ms,
        );
    }

    /// A subscriber acknowledged a message.
    pub(crate) fn tell_acked(
        &self,
        session: &Session,
        profile: &Profile,
        queued: &Queued,
        ack_properties: PropertiesRef<'_>,
        now_ms: i64,
    ) {
        if self.traces.is_on() {
            let receiver = Some((session.client_id(), profile));
            self.trace_delivery("message_acked", None, receiver, queued, now_ms);
        }
        let mut columns = Map::with_capacity(17);
        columns.insert("puback_props", properties::to_map(ack_properties));
        let receiver = Some((session.client_id(), profile));
        self.tell_delivery(EventKind::MessageAcked, columns, receiver, queued, now_ms);
    }

    /// Tells of the messages that a session could not take, and ends its connection if that is what comes of it.
    #[cold]
    pub(crate) fn tell_incidents(&self, session: &Session, context: &mut Context) {
        let profile = session.state().profile.clone();
        self.tell_incidents_of(session.client_id(), profile.as_deref(), context);
    }

    /// Does the same for a session whose last connection was `profile`.
    pub(crate) fn tell_incidents_of(
        &self,
        client_id: &Text,
        profile: Option<&Profile>,
        context: &mut Context,
    ) {
        for incident in context.take_incidents() {
            match incident {
                Incident::Dropped(dropped) => {
                    let receiver = profile.map(|profile| (client_id, profile));
                    self.tell_delivery_dropped(receiver, &dropped, context.now_ms());
                }
                Incident::Overflowed(connection) => {
                    if let Some(outlets) = self.outlets() {
                        outlets.close(connection, CloseReason::QueueFull);
                    }
                }
            }
        }
    }

    /// A message does not get to one subscriber; of a shared group, to none.
    pub(crate) fn tell_delivery_dropped(
        &self,
        receiver: Option<(&Text, &Profile)>,
        dropped: &DroppedDelivery,
        now_ms: i64,
    ) {
        let reason = reason(dropped.why);
        if self.traces.is_on() {
            self.trace_delivery("delivery_dropped", Some(reason), receiver, &dropped.queued, now_ms);
        }
        let mut columns = Map::with_capacity(17);
        columns.insert("reason", Value::text(reason));
        self.tell_delivery(EventKind::DeliveryDropped, columns, receiver, &dropped.queued, now_ms);
    }

    fn tell_delivery(
        &self,
        kind: EventKind,
        mut columns: Map,
        receiver: Option<(&Text, &Profile)>,
        queued: &Queued,
        now_ms: i64,
    ) {
        let Some(tap) = self.tap_for(kind) else { return };
        let from = queued.trail.as_deref();
        columns.insert("from_clientid", Value::from(from.map(|from| from.client_id.clone())));
        columns.insert("from_username", Value::from(from.and_then(|from| from.username.clone())));
        columns.insert("clientid", Value::from(receiver.map(|(client_id, _)| client_id.clone())));
        let username = receiver.and_then(|(_, profile)| profile.username.clone());
        columns.insert("username", Value::from(username));
        insert_peer(receiver.map(|(_, profile)| profile.remote), &mut columns);
        let (id, received_at_ms) = (from.and_then(|from| from.id), from.map(|from| from.received_at_ms));
        insert_message(&queued.publish, id, received_at_ms, &mut columns);
        columns.insert("qos", queued.qos.as_u8());
        columns.insert("flags", flags(queued.retain, false));
        let event = Event::new(kind, self.stamped(columns, now_ms));
        tap.happened(kind, event.with_hops(from.map_or(0, |from| from.hops)));
    }

    /// A message was dropped before it reached any subscriber.
    pub(crate) fn tell_message_dropped(
        &self,
        publish: &Publish,
        origin: &Origin<'_>,
        reason: &'static str,
        context: &Context,
    ) {
        let now_ms = context.now_ms();
        if self.traces.is_on() {
            self.trace_message_dropped(publish, origin, reason, now_ms);
        }
        let Some(tap) = self.tap_for(EventKind::MessageDropped) else { return };
        let mut columns = Map::with_capacity(16);
        columns.insert("reason", Value::text(reason));
        columns.insert("clientid", origin.client_id.clone());
        columns.insert("username", origin.username.cloned());
        insert_peer(origin.peer, &mut columns);
        let id = origin.message_id.unwrap_or_else(|| self.next_message_id(now_ms));
        insert_message(publish, Some(id), Some(now_ms), &mut columns);
        columns.insert("qos", publish.qos().as_u8());
        columns.insert("flags", flags(publish.retain(), publish.dup()));
        let event = Event::new(EventKind::MessageDropped, self.stamped(columns, now_ms));
        tap.happened(EventKind::MessageDropped, event.with_hops(origin.hops));
    }
}

fn insert_peer(peer: Option<SocketAddr>, columns: &mut Map) {
    columns.insert("peerhost", Value::from(peer.map(|peer| peer.ip().to_string())));
    columns.insert("peername", Value::from(peer.map(|peer| peer.to_string())));
}

/// Inserts what is the same for everybody; of a message that came before a rule asked, id and time are not known.
fn insert_message(publish: &Publish, id: Option<u128>, received_at_ms: Option<i64>, columns: &mut Map) {
    columns.insert("id", Value::from(id.map(|id| format!("{id:032X}"))));
    columns.insert("payload", Text::from(publish.payload()));
    columns.insert("topic", Text::from(publish.topic_bytes()));
    columns.insert(
        "pub_props",
        match publish.properties().is_empty() {
            true => Map::new(),
            false => properties::to_map(publish.properties()),
        },
    );
    columns.insert("publish_received_at", received_at_ms.map_or(Value::Undefined, Value::Int));
}

fn flags(retain: bool, dup: bool) -> Map {
    [("retain", Value::Bool(retain)), ("dup", Value::Bool(dup))].into_iter().collect()
}

/// The word for a counter of dropped deliveries.
const fn reason(why: Metric) -> &'static str {
    match why {
        Metric::DeliveryDroppedNoLocal => "no_local",
        Metric::DeliveryDroppedTooLarge => "too_large",
        Metric::DeliveryDroppedQos0 => "qos0_msg",
        Metric::DeliveryDroppedExpired => "expired",
        Metric::DeliveryDroppedEnded => "session_ended",
        _ => "queue_full",
    }
}
