//! Counters with the names that dashboards know.
//!
//! Each worker thread counts in a shard of its own, so that counting is a plain addition; who reads adds the shards up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

macro_rules! metrics {
    ($($variant:ident = $name:literal;)*) => {
        /// A counter: monotonic since the start.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs)] // their names say it
        pub enum Metric {
            $($variant,)*
        }

        impl Metric {
            /// Every counter.
            pub const ALL: &[Metric] = &[$(Metric::$variant,)*];

            /// Returns the name, `messages.received`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Metric::$variant => $name,)*
                }
            }
        }
    };
}

metrics! {
    BytesReceived = "bytes.received";
    BytesSent = "bytes.sent";
    PacketsReceived = "packets.received";
    PacketsSent = "packets.sent";
    ConnectReceived = "packets.connect.received";
    ConnAckSent = "packets.connack.sent";
    ConnAckError = "packets.connack.error";
    ConnAckAuthError = "packets.connack.auth_error";
    PublishReceived = "packets.publish.received";
    PublishSent = "packets.publish.sent";
    PublishError = "packets.publish.error";
    PublishAuthError = "packets.publish.auth_error";
    PublishInUse = "packets.publish.inuse";
    PublishPaused = "packets.publish.paused";
    PubAckReceived = "packets.puback.received";
    PubAckSent = "packets.puback.sent";
    PubAckMissed = "packets.puback.missed";
    PubRecReceived = "packets.pubrec.received";
    PubRecSent = "packets.pubrec.sent";
    PubRecMissed = "packets.pubrec.missed";
    PubRelReceived = "packets.pubrel.received";
    PubRelSent = "packets.pubrel.sent";
    PubRelMissed = "packets.pubrel.missed";
    PubCompReceived = "packets.pubcomp.received";
    PubCompSent = "packets.pubcomp.sent";
    PubCompMissed = "packets.pubcomp.missed";
    SubscribeReceived = "packets.subscribe.received";
    SubscribeError = "packets.subscribe.error";
    SubscribeAuthError = "packets.subscribe.auth_error";
    SubAckSent = "packets.suback.sent";
    UnsubscribeReceived = "packets.unsubscribe.received";
    UnsubscribeError = "packets.unsubscribe.error";
    UnsubAckSent = "packets.unsuback.sent";
    PingReqReceived = "packets.pingreq.received";
    PingRespSent = "packets.pingresp.sent";
    DisconnectReceived = "packets.disconnect.received";
    DisconnectSent = "packets.disconnect.sent";
    AuthReceived = "packets.auth.received";
    AuthSent = "packets.auth.sent";
    MessagesReceived = "messages.received";
    MessagesSent = "messages.sent";
    MessagesQos0Received = "messages.qos0.received";
    MessagesQos0Sent = "messages.qos0.sent";
    MessagesQos1Received = "messages.qos1.received";
    MessagesQos1Sent = "messages.qos1.sent";
    MessagesQos2Received = "messages.qos2.received";
    MessagesQos2Sent = "messages.qos2.sent";
    MessagesPublish = "messages.publish";
    MessagesDelivered = "messages.delivered";
    MessagesAcked = "messages.acked";
    MessagesRetained = "messages.retained";
    MessagesDelayed = "messages.delayed";
    MessagesDropped = "messages.dropped";
    MessagesDroppedNoSubscribers = "messages.dropped.no_subscribers";
    MessagesDroppedQuotaExceeded = "messages.dropped.quota_exceeded";
    MessagesDroppedReceiveMaximum = "messages.dropped.receive_maximum";
    MessagesDroppedExpired = "messages.dropped.expired";
    DeliveryDropped = "delivery.dropped";
    DeliveryDroppedNoLocal = "delivery.dropped.no_local";
    DeliveryDroppedTooLarge = "delivery.dropped.too_large";
    DeliveryDroppedQos0 = "delivery.dropped.qos0_msg";
    DeliveryDroppedQueueFull = "delivery.dropped.queue_full";
    DeliveryDroppedExpired = "delivery.dropped.expired";
    DeliveryDroppedEnded = "delivery.dropped.session_ended";
    OverloadNewConnection = "overload_protection.new_conn";
    ClientConnect = "client.connect";
    ClientConnAck = "client.connack";
    ClientConnected = "client.connected";
    ClientAuthenticate = "client.authenticate";
    ClientAuthAnonymous = "client.auth.anonymous";
    ClientAuthorize = "client.authorize";
    ClientSubscribe = "client.subscribe";
    ClientUnsubscribe = "client.unsubscribe";
    ClientDisconnected = "client.disconnected";
    SessionCreated = "session.created";
    SessionResumed = "session.resumed";
    SessionTakenOver = "session.takenover";
    SessionDiscarded = "session.discarded";
    SessionTerminated = "session.terminated";
    AuthenticationSuccess = "authentication.success";
    AuthenticationSuccessAnonymous = "authentication.success.anonymous";
    AuthenticationFailure = "authentication.failure";
    AuthorizationAllow = "authorization.allow";
    AuthorizationDeny = "authorization.deny";
}

/// The counters of one thread.
#[derive(Debug)]
pub struct Counters(Box<[AtomicU64]>);

impl Counters {
    fn new() -> Self {
        Self(Metric::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }

    /// Adds to a counter of the thread that owns this shard: no other thread adds to it.
    #[inline]
    pub fn add(&self, metric: Metric, count: u64) {
        let counter = &self.0[metric as usize];
        counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    /// Adds to a counter of a shard that several threads share.
    #[inline]
    pub fn add_shared(&self, metric: Metric, count: u64) {
        self.0[metric as usize].fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self, metric: Metric) -> u64 {
        self.0[metric as usize].load(Ordering::Relaxed)
    }
}

/// All counters.
#[derive(Debug)]
pub struct Metrics {
    shards: Mutex<Vec<Arc<Counters>>>,
    shared: Arc<Counters>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self { shards: Mutex::default(), shared: Arc::new(Counters::new()) }
    }

    /// Makes a shard for a thread that counts alone.
    pub(crate) fn shard(&self) -> Arc<Counters> {
        let shard = Arc::new(Counters::new());
        self.shards.lock().push(Arc::clone(&shard));
        shard
    }

    /// Returns the shard of everybody else, for [`Counters::add_shared`].
    pub(crate) fn shared(&self) -> &Arc<Counters> {
        &self.shared
    }

    /// Returns the value of one counter.
    pub fn get(&self, metric: Metric) -> u64 {
        self.shards.lock().iter().map(|shard| shard.get(metric)).sum::<u64>() + self.shared.get(metric)
    }

    /// Returns every counter with its name.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        Metric::ALL.iter().map(|&metric| (metric.name(), self.get(metric))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_added_up() {
        let metrics = Metrics::new();
        let (first, second) = (metrics.shard(), metrics.shard());
        first.add(Metric::BytesSent, 2);
        first.add(Metric::BytesSent, 3);
        second.add(Metric::BytesSent, 4);
        metrics.shared().add_shared(Metric::BytesSent, 1);
        assert_eq!(metrics.get(Metric::BytesSent), 10);
        assert!(metrics.all().contains(&("bytes.sent", 10)));
    }
}
