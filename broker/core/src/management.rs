//! What operators see and do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use broker_codec::{Publish, SubscriptionOptions, Version};
use engine_event::{Map, Text};

use crate::broker::Broker;
use crate::durable::Record;
use crate::properties;
use crate::retained::Retained;
use crate::session::Session;

/// A client: its session, and its connection if it has one.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientInfo {
    /// Client id.
    pub client_id: Text,
    /// User name.
    pub username: Option<Text>,
    /// Address of the present or last connection.
    pub peer: SocketAddr,
    /// Address that the client connected to.
    pub local: SocketAddr,
    /// Name of the listener.
    pub listener: Arc<str>,
    /// Name of the zone, `default` if the listener names none.
    pub zone: Arc<str>,
    /// Messages of one priority that may wait; 0 is no limit.
    pub max_queue_len: usize,
    /// Subscriptions that it may have.
    pub max_subscriptions: usize,
    /// Unacknowledged QoS 1 and 2 messages that it may have under way to us.
    pub receive_maximum: u16,
    /// The prefix that the listener gives the topics of the client.
    pub mountpoint: Option<Text>,
    /// Name of the node.
    pub node: Text,
    /// Number of the present or last connection.
    pub conn_id: u64,
    /// Whether there is a connection.
    pub connected: bool,
    /// Unix milliseconds.
    pub connected_at_ms: i64,
    /// Unix milliseconds, for a session without a connection.
    pub disconnected_at_ms: Option<i64>,
    /// When the session began, Unix milliseconds.
    pub created_at_ms: i64,
    /// Protocol version.
    pub version: Version,
    /// Whether the client says that it is a bridge.
    pub is_bridge: bool,
    /// Keep alive in seconds, as in force.
    pub keep_alive_s: u16,
    /// Whether the client asked for a new session.
    pub clean_start: bool,
    /// Session expiry in seconds.
    pub expiry_interval_s: u32,
    /// Attributes of the client.
    pub attributes: Map,
    /// Whether every authorization is allowed.
    pub is_superuser: bool,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Messages to the client that it has not acknowledged.
    pub inflight: usize,
    /// Most messages that may be under way to the client.
    pub inflight_max: usize,
    /// Messages that wait.
    pub queue_len: usize,
    /// Bytes of those, and what it takes to keep them.
    pub queue_bytes: usize,
    /// Messages that the client was to get and did not, for whatever reason.
    pub dropped: u64,
    /// Those that had expired.
    pub dropped_expired: u64,
    /// Those that were too large for the client.
    pub dropped_too_large: u64,
    /// Those for which the queue had no room.
    pub dropped_queue_full: u64,
    /// Received QoS 2 messages whose PUBREL is to come.
    pub awaiting_release: usize,
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets received.
    pub received_packets: u64,
    /// Messages received, by QoS.
    pub received_messages: [u64; 3],
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Messages sent, by QoS.
    pub sent_messages: [u64; 3],
}

/// A subscription of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionInfo {
    /// Client id.
    pub client_id: Text,
    /// The filter as the client wrote it, `$share/…` included.
    pub filter: Box<str>,
    /// QoS as granted, and the other options.
    pub options: SubscriptionOptions,
    /// Subscription identifier.
    pub identifier: Option<u32>,
}

/// A filter that somebody has subscribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The filter, without the group of a shared subscription.
    pub filter: String,
    /// Sessions and shared groups.
    pub subscribers: usize,
}

/// A retained message.
#[derive(Debug, Clone)]
pub struct RetainedInfo {
    /// The message.
    pub publish: Publish,
    /// Who published it.
    pub client_id: Text,
    /// Time of receipt, Unix milliseconds.
    pub received_at_ms: i64,
    /// When it ends, Unix milliseconds.
    pub expires_at_ms: Option<i64>,
}

impl RetainedInfo {
    /// Returns the MQTT 5 properties by their names with hyphens.
    pub fn properties(&self) -> Map {
        properties::to_map(self.publish.properties())
    }
}

/// Numbers of things that exist now, and the highest they have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats(pub Vec<(&'static str, u64)>);

impl Stats {
    /// Returns a number by its name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }
}

impl Broker {
    /// Returns every client, in the order of client ids.
    pub fn clients(&self) -> Vec<ClientInfo> {
        let mut clients: Vec<_> =
            self.registry.all().iter().filter_map(|session| self.describe(session)).collect();
        clients.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        clients
    }

    /// Returns one client.
    pub fn client(&self, client_id: &str) -> Option<ClientInfo> {
        self.describe(&*self.registry.get(client_id)?)
    }

    fn describe(&self, session: &Session) -> Option<ClientInfo> {
        let state = session.state();
        let profile = state.profile.as_ref().filter(|_| !state.ended)?;
        let traffic = session.traffic();
        let connected = state.live.is_some();
        Some(ClientInfo {
            client_id: session.client_id().clone(),
            username: profile.username.clone(),
            peer: profile.remote,
            local: profile.local,
            listener: Arc::clone(&profile.listener),
            zone: Arc::clone(profile.zone.name()),
            max_queue_len: profile.zone.max_queue_len,
            max_subscriptions: profile.zone.max_subscriptions,
            receive_maximum: profile.zone.receive_maximum,
            mountpoint: crate::mountpoint::Mountpoint::text(profile.mountpoint.as_ref()),
            node: self.node().clone(),
            conn_id: profile.number,
            connected,
            connected_at_ms: profile.connected_at_ms,
            disconnected_at_ms: (!connected).then_some(state.disconnected_at_ms),
            created_at_ms: state.created_at_ms,
            version: profile.version(),
            is_bridge: profile.bridge,
            keep_alive_s: profile.keep_alive_s,
            clean_start: profile.clean_start,
            expiry_interval_s: state.expiry_interval_s,
            attributes: profile.identity.attributes.clone(),
            is_superuser: profile.identity.is_superuser,
            subscriptions: state.subscriptions.len(),
            inflight: state.inflight.len(),
            inflight_max: usize::from(profile.zone.max_inflight.min(profile.receive_maximum)),
            queue_len: state.waiting_len(),
            queue_bytes: state.queue.bytes(),
            dropped: state.dropped.all,
            dropped_expired: state.dropped.expired,
            dropped_too_large: state.dropped.too_large,
            dropped_queue_full: state.dropped.queue_full,
            awaiting_release: state.awaiting_release.len(),
            received_bytes: traffic.received_bytes.load(Ordering::Relaxed),
            received_packets: traffic.received_packets.load(Ordering::Relaxed),
            received_messages: traffic
                .received_messages
                .each_ref()
                .map(|count| count.load(Ordering::Relaxed)),
            sent_bytes: traffic.sent_bytes.load(Ordering::Relaxed),
            sent_packets: traffic.sent_packets.load(Ordering::Relaxed),
            sent_messages: traffic.sent_messages.each_ref().map(|count| count.load(Ordering::Relaxed)),
        })
    }

    /// Returns the subscriptions of one client, in the order of filters; nothing for an unknown client.
    pub fn subscriptions_of(&self, client_id: &str) -> Option<Vec<SubscriptionInfo>> {
        let session = self.registry.get(client_id)?;
        let mut list = subscriptions(&session);
        list.sort_by(|a, b| a.filter.cmp(&b.filter));
        Some(list)
    }

    /// Returns the subscriptions of all clients, in the order of client ids and filters.
    pub fn subscriptions(&self) -> Vec<SubscriptionInfo> {
        let mut list: Vec<_> =
            self.registry.all().iter().flat_map(|session| subscriptions(session)).collect();
        list.sort_by(|a, b| (&a.client_id, &a.filter).cmp(&(&b.client_id, &b.filter)));
        list
    }

    /// Returns every filter that somebody has subscribed to, in order.
    pub fn topics(&self) -> Vec<Route> {
        let list = self.routes().list().into_iter();
        list.map(|(filter, subscribers)| Route { filter, subscribers }).collect()
    }

    /// Returns the retained message of a topic.
    pub fn retained_message(&self, topic: &str) -> Option<RetainedInfo> {
        let now_ms = self.now_ms();
        self.retained.get(topic).filter(|retained| retained.expires_at_ms > now_ms).map(|found| info(&found))
    }

    /// Returns the retained messages whose topics match a filter, at most `limit`, in the order of topics.
    pub fn retained_messages(&self, filter: &str, limit: usize) -> Vec<RetainedInfo> {
        let now_ms = self.now_ms();
        let mut found = self.retained.matching(filter, usize::MAX);
        found.retain(|retained| retained.expires_at_ms > now_ms);
        found.sort_by(|a, b| a.publish.topic().cmp(b.publish.topic()));
        found.truncate(limit);
        found.iter().map(|retained| info(retained)).collect()
    }

    /// Forgets the retained message of a topic and says whether there was one.
    pub fn delete_retained(&self, topic: &str) -> bool {
        let context = self.call_context();
        let removed = self
            .retained
            .remove_then(topic, || self.durable.append(&Record::RetainRemove { topic }, &context))
            .is_some();
        self.flush(context);
        removed
    }

    /// Forgets the retained messages that have expired and returns their number.
    pub fn purge_retained(&self) -> usize {
        self.retained.purge(self.now_ms())
    }

    /// Returns numbers of things that exist now, by the names that dashboards know.
    pub fn stats(&self) -> Stats {
        let gauges = &self.gauges;
        let connections = (gauges.connections.now() as u64, gauges.connections.max() as u64);
        let sessions = (self.registry.len() as u64, gauges.sessions.max() as u64);
        let subscriptions = (gauges.subscriptions.now() as u64, gauges.subscriptions.max() as u64);
        let routes = self.routes().len() as u64;
        let shared = self.routes().shared_subscriptions();
        let retained = self.retained.len() as u64;
        let delayed = self.delayed.len();
        Stats(vec![
            ("connections.count", sessions.0),
            ("connections.max", sessions.1),
            ("live_connections.count", connections.0),
            ("live_connections.max", connections.1),
            ("channels.count", sessions.0),
            ("channels.max", sessions.1),
            ("sessions.count", sessions.0),
            ("sessions.max", sessions.1),
            ("cluster_sessions.count", sessions.0),
            ("cluster_sessions.max", sessions.1),
            ("suboptions.count", subscriptions.0),
            ("suboptions.max", subscriptions.1),
            ("subscribers.count", subscriptions.0),
            ("subscribers.max", subscriptions.1),
            ("subscriptions.count", subscriptions.0),
            ("subscriptions.max", subscriptions.1),
            ("subscriptions.shared.count", shared.0 as u64),
            ("subscriptions.shared.max", shared.1 as u64),
            ("topics.count", routes),
            ("topics.max", routes),
            ("routes.count", routes),
            ("routes.max", routes),
            ("retained.count", retained),
            ("retained.max", retained),
            ("delayed.count", delayed.0 as u64),
            ("delayed.max", delayed.1 as u64),
        ])
    }
}

fn subscriptions(session: &Session) -> Vec<SubscriptionInfo> {
    let state = session.state();
    let list = state.subscriptions.iter().map(|(filter, record)| SubscriptionInfo {
        client_id: session.client_id().clone(),
        filter: filter.clone(),
        options: record.options,
        identifier: record.identifier,
    });
    list.collect()
}

fn info(retained: &Retained) -> RetainedInfo {
    RetainedInfo {
        publish: retained.publish.clone(),
        client_id: retained.client_id.clone(),
        received_at_ms: retained.received_at_ms,
        expires_at_ms: (retained.expires_at_ms != i64::MAX).then_some(retained.expires_at_ms),
    }
}
