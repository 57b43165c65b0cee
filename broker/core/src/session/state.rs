//! The changing part of a session.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use broker_codec::{
    MAX_PACKET_SIZE, PacketId, Peer, Properties, PropertiesRef, Publish, QoS, SubscriptionOptions, Version,
};
use engine_event::Text;
use foldhash::fast::RandomState;

use super::Queued;
use super::inflight::Inflight;
use super::queue::{MessageQueue, QueueSettings};
use crate::access::Identity;
use crate::config::QueueOverflow;
use crate::context::{ConnectionKey, Context};
use crate::durable::SessionKey;
use crate::metrics::Metric;
use crate::mountpoint::Mountpoint;
use crate::routes::ShareGroup;
use crate::zone::Zone;

/// The changing part of a session.
#[derive(Debug)]
pub(crate) struct State {
    /// The number of the session.
    pub(crate) id: u64,
    /// What happens to it is written down.
    pub(crate) durable: bool,
    /// Grows when the session of the client id starts anew: a route of an earlier one delivers nothing.
    pub(crate) incarnation: u32,
    /// The session is no longer in the registry.
    pub(crate) ended: bool,
    /// The connection that owns the session.
    pub(crate) live: Option<Live>,
    /// Who the present or last connection is.
    pub(crate) profile: Option<Arc<Profile>>,
    pub(crate) created_at_ms: i64,
    pub(crate) disconnected_at_ms: i64,
    pub(crate) expiry_interval_s: u32,
    pub(crate) subscriptions: HashMap<Box<str>, SubscriptionRecord, RandomState>,
    pub(crate) queue: MessageQueue,
    /// Retained messages of new subscriptions, which go out before `queue`. They have a limit of their own, so that
    /// live messages do not push them out; their bytes are those of the store.
    pub(crate) retained: VecDeque<Queued>,
    pub(crate) dropped: Drops,
    pub(crate) inflight: Inflight,
    /// QoS 2 messages of the client that were published and wait for their PUBREL.
    pub(crate) awaiting_release: Vec<Received>,
    pub(crate) will: Option<Box<PendingWill>>,
    /// When the timers look at the session.
    pub(crate) timer_ms: Option<i64>,
    /// Shared groups with messages that this session may come for once it can take them.
    pub(crate) starving: Vec<Weak<ShareGroup>>,
}

/// A QoS 2 message of the client that was published and waits for its PUBREL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    pub(crate) packet_id: PacketId,
    /// Rules hold its PUBREC back. Only the connection that it came on hears of their end.
    pub(crate) held: bool,
    /// It is written down.
    pub(crate) durable: bool,
}

/// A connection that owns a session.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) outlet: ConnectionKey,
    /// Unacknowledged messages that it takes.
    pub(crate) window: u16,
    pub(crate) max_packet_size: u32,
    /// It will look into the queue without being told again.
    pub(crate) scheduled: bool,
    /// Its socket takes nothing at the moment.
    pub(crate) blocked: bool,
    /// It is about to be ended because its queue was full.
    pub(crate) overflowed: bool,
}

/// Messages that a session was to get and did not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Drops {
    pub(crate) all: u64,
    pub(crate) expired: u64,
    pub(crate) too_large: u64,
    pub(crate) queue_full: u64,
    /// How many of `queue_full` the client has been told of.
    told: u64,
}

impl Drops {
    pub(crate) fn count(&mut self, why: Metric) {
        self.all += 1;
        match why {
            Metric::DeliveryDroppedExpired => self.expired += 1,
            Metric::DeliveryDroppedTooLarge => self.too_large += 1,
            Metric::DeliveryDroppedQueueFull => self.queue_full += 1,
            _ => {}
        }
    }

    /// Returns how many messages the queue had no room for since this was last asked.
    pub(crate) fn take_untold(&mut self) -> u64 {
        let untold = self.queue_full - self.told;
        self.told = self.queue_full;
        untold
    }
}

/// Who a connection is: fixed from its CONNECT on.
#[derive(Debug)]
pub(crate) struct Profile {
    /// The number of the connection.
    pub(crate) number: u64,
    /// What holds for it.
    pub(crate) zone: Arc<Zone>,
    pub(crate) username: Option<Text>,
    pub(crate) remote: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) listener: Arc<str>,
    pub(crate) mountpoint: Option<Mountpoint>,
    pub(crate) peer: Peer,
    pub(crate) bridge: bool,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive_s: u16,
    pub(crate) receive_maximum: u16,
    pub(crate) connected_at_ms: i64,
    pub(crate) identity: Identity,
    /// Properties of CONNECT; none when there are none.
    pub(crate) properties: Option<Box<Properties>>,
}

impl Profile {
    pub(crate) fn version(&self) -> Version {
        self.peer.version
    }

    /// Returns the properties of CONNECT.
    pub(crate) fn connect_properties(&self) -> PropertiesRef<'_> {
        self.properties.as_ref().map(|properties| properties.as_ref().as_ref()).unwrap_or_default()
    }
}

/// A subscription as the session knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubscriptionRecord {
    pub(crate) options: SubscriptionOptions,
    pub(crate) identifier: Option<u32>,
}

/// A will that may have to be published.
#[derive(Debug)]
pub(crate) struct PendingWill {
    pub(crate) publish: Publish,
    pub(crate) delay_s: u32,
}

impl State {
    pub(crate) fn new(id: u64, queue: MessageQueue, now_ms: i64) -> Self {
        Self {
            id,
            durable: false,
            incarnation: 0,
            ended: false,
            live: None,
            profile: None,
            created_at_ms: now_ms,
            disconnected_at_ms: 0,
            expiry_interval_s: 0,
            subscriptions: HashMap::default(),
            queue,
            retained: VecDeque::new(),
            dropped: Drops::default(),
            inflight: Inflight::default(),
            awaiting_release: Vec::new(),
            will: None,
            timer_ms: None,
            starving: Vec::new(),
        }
    }

    /// Starts the session anew and returns what the old one leaves behind.
    pub(crate) fn reset(&mut self, queue: &QueueSettings, now_ms: i64) -> Remains {
        let never_sent = self.inflight.never_sent();
        let undelivered = self.inflight.drain();
        let sent: Vec<Queued> = undelivered
            .into_iter()
            // a QoS 2 delivery that was started must not go to anyone else
            .filter(|queued| queued.qos != QoS::ExactlyOnce)
            .collect();
        let mut waiting: Vec<Queued> = std::mem::take(&mut self.retained).into();
        waiting.extend(self.queue.take_all());
        let subscriptions = std::mem::take(&mut self.subscriptions);
        let live = self.live.take();
        let profile = self.profile.take();
        *self = Self {
            incarnation: self.incarnation.wrapping_add(1),
            ended: self.ended,
            live,
            profile,
            will: self.will.take(),
            timer_ms: self.timer_ms,
            ..Self::new(self.id, MessageQueue::new(queue), now_ms)
        };
        Remains { filters: subscriptions.into_keys().collect(), sent, waiting, never_sent }
    }

    /// Does with a message for which there is no room what the policy says.
    #[cold]
    pub(super) fn make_room(&mut self, queued: Queued, on_its_way: bool, context: &mut Context) {
        match self.queue.limits().overflow {
            QueueOverflow::DropOldest => {
                while let Some(oldest) = self.queue.give_way(&queued, on_its_way) {
                    self.drop_delivery(oldest, Metric::DeliveryDroppedQueueFull, context);
                }
            }
            QueueOverflow::DropNewest => {}
            QueueOverflow::Disconnect => {
                if let Some(live) = &mut self.live
                    && !std::mem::replace(&mut live.overflowed, true)
                {
                    context.note_overflow(live.outlet);
                }
            }
        }
        if let Err(queued) = self.queue.push(queued, on_its_way) {
            self.drop_delivery(queued, Metric::DeliveryDroppedQueueFull, context);
        }
    }

    /// Returns the session's key in the journal.
    pub(crate) const fn key(&self) -> SessionKey {
        SessionKey { session: self.id, incarnation: self.incarnation }
    }

    /// Notes that a received QoS 2 message is written down.
    pub(crate) fn note_received(&mut self, packet_id: PacketId) {
        let mut received = self.awaiting_release.iter_mut();
        if let Some(received) = received.find(|received| received.packet_id == packet_id) {
            received.durable = true;
        }
    }

    /// Notes that a delivery is over, if it was written down.
    #[inline]
    pub(crate) fn note_done(&self, delivery: u64, context: &Context) {
        if delivery != 0 && self.durable {
            context.note_done(self.key(), delivery);
        }
    }

    /// Returns the first waiting message.
    #[inline]
    pub(crate) fn first_waiting(&self) -> Option<&Queued> {
        self.retained.front().or_else(|| self.queue.front())
    }

    /// Takes the first waiting message.
    #[inline]
    pub(crate) fn dequeue(&mut self) -> Option<Queued> {
        self.retained.pop_front().or_else(|| self.queue.pop())
    }

    /// Returns how many messages wait.
    pub(crate) fn waiting_len(&self) -> usize {
        self.retained.len() + self.queue.len()
    }

    /// Says whether there is something to send as soon as the client takes it.
    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting_len() > 0 || self.inflight.has_unsent() || !self.starving.is_empty()
    }

    /// Has the session look what waits with a shared group once it can take more.
    #[cold]
    pub(crate) fn starve(&mut self, group: &Arc<ShareGroup>) {
        let group = Arc::downgrade(group);
        if !self.starving.iter().any(|known| known.ptr_eq(&group)) {
            self.starving.push(group);
        }
    }

    /// Returns how many messages a connected session has, under way and waiting.
    pub(crate) fn load(&self) -> Option<usize> {
        self.live.as_ref().map(|_| self.inflight.len() + self.waiting_len())
    }

    /// Says whether a message is small enough for the client, as far as that is known now.
    pub(crate) fn fits(&self, queued: &Queued, context: &Context) -> bool {
        match (&self.live, &self.profile) {
            (Some(live), Some(profile)) if live.max_packet_size < MAX_PACKET_SIZE => {
                !profile.is_too_large(queued, context.now_ms())
            }
            _ => true,
        }
    }

    /// Takes a retained message of a new subscription, unless `max_len` of them wait already.
    pub(crate) fn enqueue_retained(&mut self, queued: Queued, max_len: usize, context: &mut Context) {
        if self.retained.len() >= max_len {
            self.drop_delivery(queued, Metric::DeliveryDroppedQueueFull, context);
            return;
        }
        self.retained.push_back(queued);
        self.schedule_waiting(context);
    }

    /// Forgets received QoS 2 messages whose rules have not settled: nobody would hear of their end, and acknowledging
    /// them without knowing would break the promise of the rules. Sent again, they are new.
    pub(crate) fn forget_held(&mut self) {
        self.awaiting_release.retain(|received| !received.held);
    }

    /// Has the connection look into the queue if there is something in it.
    pub(crate) fn schedule_waiting(&mut self, context: &mut Context) {
        if !self.has_waiting() {
            return;
        }
        if let Some(live) = &mut self.live
            && !live.scheduled
        {
            live.scheduled = true;
            context.schedule(live.outlet);
        }
    }

    /// Takes out the messages that wait and came through a shared group.
    pub(crate) fn take_shared(&mut self, group: &Arc<ShareGroup>) -> Vec<Queued> {
        let came_through = |queued: &Queued| {
            let share = queued.extras.as_ref().and_then(|extras| extras.share.as_ref());
            share.is_some_and(|share| share.as_ptr() == Arc::as_ptr(group))
        };
        self.queue.extract(came_through)
    }

    /// Drops the QoS 0 messages that wait.
    pub(crate) fn drop_qos0(&mut self, context: &mut Context) {
        let is_qos0 = |queued: &Queued| queued.qos == QoS::AtMostOnce;
        let (mut dropped, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.retained).into_iter().partition(is_qos0);
        self.retained = kept.into();
        dropped.extend(self.queue.extract(is_qos0));
        for queued in dropped {
            self.drop_delivery(queued, Metric::DeliveryDroppedQos0, context);
        }
    }

    /// Counts a message that the session does not take.
    #[cold]
    pub(super) fn drop_delivery(&mut self, queued: Queued, why: Metric, context: &mut Context) {
        self.dropped.count(why);
        self.note_done(queued.delivery, context);
        context.count(Metric::DeliveryDropped, 1);
        context.count(why, 1);
        context.note_drop(queued, why);
    }
}

/// What an ended session leaves behind.
pub(crate) struct Remains {
    pub(crate) filters: Vec<Box<str>>,
    /// Messages that it was sent and did not acknowledge, as far as others may get them.
    pub(crate) sent: Vec<Queued>,
    /// Messages that it was not sent.
    pub(crate) waiting: Vec<Queued>,
    /// More of those, which others must not get.
    pub(crate) never_sent: usize,
}
