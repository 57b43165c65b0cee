//! Writing everything that is still of use down anew, so that what is older can be given up.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

use broker_codec::{Publish, QoS};
use foldhash::fast::RandomState;

use super::journal::{Cause, Journal, Message, Record};
use super::keep::{session_record, target_of};
use crate::broker::Broker;
use crate::routes::group_of;
use crate::session::{Queued, Session, Stage, State};

/// The bodies that a rewrite has written, by where they lie, and their numbers. They are held so that no other message
/// comes to lie there.
type Bodies = HashMap<*const u8, (Publish, u64), RandomState>;

/// Retained messages that are written while nobody may change one.
const RETAINED_AT_ONCE: usize = 64;

impl Broker {
    /// Writes all durable sessions, their messages and the retained messages into the journal anew. Every record before
    /// the one that is the next when this is called is then of no use any more.
    ///
    /// `pace` is called often, without a lock being held; it may wait until the journal has room, and ends the rewrite
    /// by returning false. Returns whether all was written. Only one rewrite runs at a time.
    pub fn rewrite_journal(&self, journal: &dyn Journal, mut pace: impl FnMut() -> bool) -> bool {
        self.durable.rewriting.store(true, Ordering::SeqCst);
        let written = self.write_all(journal, &mut pace);
        self.durable.rewriting.store(false, Ordering::SeqCst);
        written
    }

    fn write_all(&self, journal: &dyn Journal, pace: &mut dyn FnMut() -> bool) -> bool {
        // what was written before is in memory from here on
        self.durable.settle_publishing();
        let mut bodies = Bodies::default();
        let mut sessions = self.registry.all();
        sessions.sort_unstable_by_key(|session| session.id());
        for session in sessions {
            if !pace() {
                return false;
            }
            let state = session.state();
            if state.durable && !state.ended {
                self.write_session_anew(journal, &session, &state, &mut bodies);
            }
        }
        for messages in self.retained.all().chunks(RETAINED_AT_ONCE) {
            if !pace() {
                return false;
            }
            self.retained.each_still_there(messages, |retained| {
                if retained.number == 0 {
                    return;
                }
                journal.append(&Record::Message(Message {
                    number: retained.number,
                    received_at_ms: retained.received_at_ms,
                    expires_at_ms: retained.expires_at_ms,
                    publish: retained.publish.clone(),
                    client_id: retained.client_id.as_ref(),
                    retain: true,
                    rewritten: true,
                    cause: Cause::None,
                    targets: Cow::Borrowed(&[]),
                }));
            });
        }
        true
    }

    /// Writes a session whose state is locked: nothing happens to it between these records.
    fn write_session_anew(
        &self,
        journal: &dyn Journal,
        session: &Session,
        state: &State,
        bodies: &mut Bodies,
    ) {
        let Some(record) = session_record(session, state) else { return };
        journal.append(&record);
        let key = state.key();
        for (filter, subscription) in &state.subscriptions {
            journal.append(&Record::Subscribe {
                session: key,
                filter,
                options: subscription.options,
                identifier: subscription.identifier,
            });
        }
        for received in state.awaiting_release.iter().filter(|received| received.durable) {
            journal.append(&Record::Received { session: key, packet_id: received.packet_id });
        }
        for (packet_id, stage) in state.inflight.stages() {
            match stage {
                Stage::Publish(queued) => {
                    self.write_owed(journal, state, queued, bodies);
                    if queued.qos == QoS::ExactlyOnce && queued.delivery != 0 {
                        let delivery = queued.delivery;
                        journal.append(&Record::Sent { session: key, delivery, packet_id });
                    }
                }
                Stage::Release => {
                    journal.append(&Record::Released { session: key, packet_id });
                }
                Stage::Free => {}
            }
        }
        for queued in state.retained.iter().chain(state.queue.iter()) {
            self.write_owed(journal, state, queued, bodies);
        }
    }

    /// Writes that a session is owed a message, with its body unless that was written.
    fn write_owed(&self, journal: &dyn Journal, state: &State, queued: &Queued, bodies: &mut Bodies) {
        if queued.delivery == 0 {
            return;
        }
        let group = group_of(queued.extras.as_deref());
        let target = target_of(queued, state, group.as_deref());
        let place = queued.publish.topic().as_ptr();
        if let Some((_, message)) = bodies.get(&place) {
            journal.append(&Record::Owed { message: *message, delivery: queued.delivery, target });
            return;
        }
        bodies.insert(place, (queued.publish.clone(), queued.delivery));
        journal.append(&Record::Message(Message {
            number: queued.delivery,
            received_at_ms: 0,
            expires_at_ms: queued.expires_at_ms,
            publish: queued.publish.clone(),
            client_id: b"",
            retain: false,
            rewritten: true,
            cause: Cause::None,
            targets: Cow::Borrowed(std::slice::from_ref(&target)),
        }));
    }
}
