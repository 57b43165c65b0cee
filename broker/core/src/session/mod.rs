//! Sessions: what is kept for a client id between connections.

mod inflight;
mod priorities;
mod queue;
mod state;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_codec::{Publish, QoS};
use engine_event::{Text, TraceSet};
use parking_lot::{Mutex, MutexGuard};

use crate::context::{ConnectionKey, Context};
use crate::durable::Keeper;
use crate::metrics::Metric;
use crate::routes::Extras;
use crate::trail::Trail;
pub(crate) use inflight::{Resend, Stage};
pub(crate) use queue::{MessageQueue, QueueSettings};
pub(crate) use state::{Live, PendingWill, Profile, Received, Remains, State, SubscriptionRecord};

/// What is kept for a client id.
///
/// Locks, in the order in which they are taken: `control` of one session; the route table; members of a shared group;
/// `state` of one session; retained messages.
#[derive(Debug)]
pub(crate) struct Session {
    id: u64,
    client_id: Text,
    /// Held while a connection comes, goes, subscribes or unsubscribes, and while the event of it is handed over, so
    /// that events of one client id come in the order in which things happened.
    control: Mutex<()>,
    traffic: Traffic,
    /// The traces that follow the client, as bits.
    traces: AtomicU64,
    state: Mutex<State>,
}

/// A message that waits for a client.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub(crate) publish: Publish,
    pub(crate) extras: Option<Arc<Extras>>,
    /// What somebody who wants to hear of it may ask.
    pub(crate) trail: Option<Arc<Trail>>,
    /// When it is no longer worth sending; `i64::MAX` is never.
    pub(crate) expires_at_ms: i64,
    /// Number of the publisher's client id where a shared group asks for it; 0 for none.
    pub(crate) publisher: u32,
    /// Number of the delivery in the journal; 0 for one that is in memory only.
    pub(crate) delivery: u64,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// It may have been sent before a crash.
    pub(crate) again: bool,
}

/// Never: of an expiry time.
pub(crate) const NEVER_MS: i64 = i64::MAX;

impl Queued {
    pub(crate) fn new(publish: Publish, qos: QoS) -> Self {
        Self {
            publish,
            extras: None,
            trail: None,
            expires_at_ms: NEVER_MS,
            publisher: 0,
            delivery: 0,
            qos,
            retain: false,
            again: false,
        }
    }

    /// Returns the bytes that it takes up while it waits: its own and those to keep it.
    #[inline]
    pub(crate) fn cost(&self) -> usize {
        self.publish.frame_len() + size_of::<Self>()
    }
}

/// How well a session can take a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Connected, and the message can go out at once.
    Ready,
    /// Connected, and there is room to wait.
    Busy,
    /// Not connected, and there is room to wait.
    Away,
}

/// Why a session did not take a message.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) queued: Queued,
}

/// Traffic of a client since its session began; written by the thread of its connection.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) received_bytes: AtomicU64,
    pub(crate) received_packets: AtomicU64,
    /// By QoS.
    pub(crate) received_messages: [AtomicU64; 3],
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) sent_packets: AtomicU64,
    /// By QoS.
    pub(crate) sent_messages: [AtomicU64; 3],
    /// Bytes that wait at the connection, in both directions; looked at only while memory is short.
    pub(crate) buffered_bytes: AtomicU64,
}

impl Traffic {
    /// Adds to a counter that no other thread adds to.
    #[inline]
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }
}

/// From so many waiting messages on, a connected session is flushed before more is read.
const URGENT_LEN: usize = 256;

impl Session {
    pub(crate) fn new(id: u64, client_id: Text, queue: MessageQueue, now_ms: i64) -> Self {
        Self {
            id,
            client_id,
            control: Mutex::new(()),
            traffic: Traffic::default(),
            traces: AtomicU64::new(0),
            state: Mutex::new(State::new(id, queue, now_ms)),
        }
    }

    /// Returns the number of the session, which no other has or had.
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn client_id(&self) -> &Text {
        &self.client_id
    }

    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Returns the traces that follow the client.
    pub(crate) fn traces(&self) -> TraceSet {
        TraceSet::from_bits(self.traces.load(Ordering::Relaxed))
    }

    /// Sets the traces that follow the client.
    pub(crate) fn set_traces(&self, set: TraceSet) {
        self.traces.store(set.bits(), Ordering::Relaxed);
    }

    /// Adds traces that follow the client.
    pub(crate) fn add_traces(&self, set: TraceSet) {
        self.traces.fetch_or(set.bits(), Ordering::Relaxed);
    }

    /// Notes that a trace follows the client no longer.
    pub(crate) fn remove_traces(&self, number: u8) {
        self.traces.fetch_and(!TraceSet::of(number).bits(), Ordering::Relaxed);
    }

    pub(crate) fn control(&self) -> MutexGuard<'_, ()> {
        self.control.lock()
    }

    #[inline]
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Returns the state if the connection still owns the session.
    #[inline]
    pub(crate) fn state_for(&self, connection: ConnectionKey) -> Option<MutexGuard<'_, State>> {
        let state = self.state.lock();
        match &state.live {
            Some(live) if live.outlet == connection => Some(state),
            _ => None,
        }
    }

    /// Takes a message, whatever it costs the queue, and has the connection flush it.
    #[inline]
    pub(crate) fn deliver(&self, queued: Queued, incarnation: u32, context: &mut Context) {
        let mut state = self.state.lock();
        if context.has_traces() {
            self.trace_queued(&state, &queued, context);
        }
        if state.incarnation == incarnation {
            state.enqueue(queued, context);
        } else {
            context.drop_ended(queued);
        }
    }

    /// Says whether the session is of that rank now or of a better one, and whether what it takes is written down.
    pub(crate) fn would_take(
        &self,
        queued: &Queued,
        incarnation: u32,
        rank: Option<Rank>,
        context: &Context,
    ) -> Option<bool> {
        let state = self.state.lock();
        state.takes(queued, incarnation, rank, context).then_some(state.durable)
    }

    /// Takes a message if the session is of that rank now or of a better one, or without a rank, if it has room at all.
    pub(crate) fn offer(
        &self,
        queued: Queued,
        incarnation: u32,
        rank: Option<Rank>,
        keeper: Option<&Keeper<'_>>,
        context: &mut Context,
    ) -> Result<(), Refused> {
        let mut queued = queued;
        let mut state = self.state.lock();
        if !state.takes(&queued, incarnation, rank, context) {
            return Err(Refused { queued });
        }
        if let Some(keeper) = keeper {
            keeper.keep(&mut queued, &state, context);
        }
        if context.has_traces() {
            self.trace_queued(&state, &queued, context);
        }
        state.enqueue(queued, context);
        Ok(())
    }
}

impl State {
    fn takes(&self, queued: &Queued, incarnation: u32, rank: Option<Rank>, context: &Context) -> bool {
        // a better rank too: it may have come by it since it was asked for that one
        self.incarnation == incarnation
            && self.rank(queued, context).is_some_and(|found| rank.is_none_or(|rank| found <= rank))
    }

    /// Says how well a message could be taken; not at all when it would cost another message its place.
    fn rank(&self, queued: &Queued, context: &Context) -> Option<Rank> {
        let limits = self.queue.limits();
        let room = self.queue.has_room(queued, false);
        match &self.live {
            Some(live) => {
                let window = usize::from(live.window.saturating_sub(self.inflight.sent()));
                let fits = match queued.qos {
                    // behind messages that wait for the window, it waits too
                    QoS::AtMostOnce if window == 0 => self.waiting_len() == 0,
                    QoS::AtMostOnce => self.queue.has_room(queued, true),
                    QoS::AtLeastOnce | QoS::ExactlyOnce => {
                        self.waiting_len() < window && self.queue.has_room(queued, true)
                    }
                };
                let may_wait = queued.qos > QoS::AtMostOnce || limits.store_qos0;
                if !self.fits(queued, context) {
                    None
                } else if !live.blocked && fits {
                    Some(Rank::Ready)
                } else {
                    (room && may_wait).then_some(Rank::Busy)
                }
            }
            None if self.ended => None,
            None if queued.qos == QoS::AtMostOnce && !limits.keeps_qos0_offline() => None,
            None => room.then_some(Rank::Away),
        }
    }

    /// Puts a message into the queue, makes room as the policy says, and has the connection flush it.
    #[inline]
    pub(crate) fn enqueue(&mut self, queued: Queued, context: &mut Context) {
        let nothing_waits = self.waiting_len() == 0;
        let on_its_way = match &mut self.live {
            Some(live) => {
                if !live.scheduled {
                    live.scheduled = true;
                    context.schedule(live.outlet);
                }
                // the window does not hold QoS 0 back, what waits for the window does
                let is_open =
                    self.inflight.sent() < live.window || queued.qos == QoS::AtMostOnce && nothing_waits;
                !live.blocked && is_open
            }
            None => false,
        };
        if !on_its_way {
            return self.enqueue_waiting(queued, context);
        }
        if self.queue.len() >= URGENT_LEN {
            context.set_urgent();
        }
        if let Err(queued) = self.queue.push(queued, true) {
            self.make_room(queued, true, context);
        }
    }

    /// Puts a message that cannot be sent at once into the queue, if it may wait.
    fn enqueue_waiting(&mut self, queued: Queued, context: &mut Context) {
        if queued.qos == QoS::AtMostOnce && !self.keeps_qos0() {
            self.drop_delivery(queued, Metric::DeliveryDroppedQos0, context);
            return;
        }
        match self.queue.push(queued, false) {
            Ok(()) => context.note_stays(),
            Err(queued) => self.make_room(queued, false, context), // no more than before
        }
    }

    /// Says whether QoS 0 messages that cannot be sent at once wait.
    fn keeps_qos0(&self) -> bool {
        let limits = self.queue.limits();
        if self.live.is_some() { limits.store_qos0 } else { limits.keeps_qos0_offline() }
    }
}

#[cfg(test)]
mod tests {
    use broker_codec::PublishBuilder;

    use super::*;
    use crate::broker::Broker;
    use crate::config::BrokerConfig;

    #[test]
    fn a_session_that_has_become_readier_takes_a_message() {
        // members of a shared group are asked rank by rank, and change meanwhile: none may fall through
        let broker = Broker::new(BrokerConfig::default(), Arc::new(engine_event::ManualClock::at(0)));
        let mut context = broker.worker_context();
        let publish = PublishBuilder { topic: "t", ..PublishBuilder::default() }.build().expect("valid");
        for (asked, connected, taken) in [
            (Some(Rank::Ready), true, true),
            (Some(Rank::Busy), true, true),
            (Some(Rank::Away), true, true),
            (None, true, true),
            (Some(Rank::Ready), false, false),
            (Some(Rank::Busy), false, false),
            (Some(Rank::Away), false, true),
        ] {
            let queue = MessageQueue::new(&QueueSettings::of(&BrokerConfig::default()));
            let session = Session::new(1, "c".into(), queue, 0);
            session.state().live = connected.then_some(Live {
                outlet: ConnectionKey { worker: 0, slot: 0, generation: 0 },
                window: 1,
                max_packet_size: broker_codec::MAX_PACKET_SIZE,
                scheduled: false,
                blocked: false,
                overflowed: false,
            });
            let queued = Queued::new(publish.clone(), QoS::AtLeastOnce);
            assert_eq!(
                session.offer(queued, 0, asked, None, &mut context).is_ok(),
                taken,
                "{asked:?} {connected}"
            );
        }
    }
}
