//! Writing things down as they happen.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use broker_codec::{Publish, QoS};
use engine_event::Completion;
use parking_lot::{RwLock, RwLockReadGuard};
use smallvec::SmallVec;

use super::journal::{
    Cause, Journal, Message, ProfileRecord, Progress, Record, SessionKey, SessionRecord, Target,
};
use crate::broker::Broker;
use crate::context::Context;
use crate::metrics::Metric;
use crate::mountpoint::Mountpoint;
use crate::publishing::Origin;
use crate::retained::{Retention, Stored};
use crate::routes::{Chosen, Routes, ShareGroup, granted, group_of, stable_hash};
use crate::session::{Queued, Refused, Session, State};

/// The journal of a broker, if it has one.
#[derive(Debug)]
pub(crate) struct Durable {
    journal: OnceLock<Arc<dyn Journal>>,
    /// Held for reading from before a message is written down until all whom it names have it in memory.
    publishing: RwLock<()>,
    /// Number of the next message or delivery.
    next: AtomicU64,
    pub(super) rewriting: AtomicBool,
}

/// Publishing goes on; see [`Durable::publishing`].
#[derive(Debug)]
pub(crate) struct Publishing<'a>(#[allow(dead_code)] Option<RwLockReadGuard<'a, ()>>); // held, never read

thread_local! {
    /// Whether this thread publishes: a rule that hears of it may publish in turn.
    static PUBLISHES: Cell<bool> = const { Cell::new(false) };
}

impl Drop for Publishing<'_> {
    fn drop(&mut self) {
        if self.0.is_some() {
            PUBLISHES.set(false);
        }
    }
}

impl Default for Durable {
    fn default() -> Self {
        Self {
            journal: OnceLock::new(),
            publishing: RwLock::new(()),
            next: AtomicU64::new(1),
            rewriting: AtomicBool::new(false),
        }
    }
}

impl Durable {
    #[inline]
    pub(crate) fn journal(&self) -> Option<&dyn Journal> {
        self.journal.get().map(|journal| &**journal)
    }

    pub(super) fn set_journal(&self, journal: Arc<dyn Journal>) {
        let _ = self.journal.set(journal);
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.journal.get().is_some()
    }

    /// Says how far the journal is; without one nothing has to be waited for.
    #[inline]
    pub(crate) fn progress(&self) -> Progress {
        match self.journal() {
            Some(journal) => journal.progress(),
            None => Progress { committed: u64::MAX, failed: 0 },
        }
    }

    /// Says whether something new of about so many bytes may be written down; without a journal it need not be.
    pub(crate) fn admits(&self, bytes: usize) -> bool {
        self.journal().is_none_or(|journal| journal.admits(bytes))
    }

    /// Says whether those who have something waiting should not bring more.
    pub(crate) fn is_congested(&self) -> bool {
        self.journal().is_some_and(Journal::is_congested)
    }

    /// Writes a record and returns its position; 0 without a journal.
    pub(crate) fn append(&self, record: &Record<'_>, context: &Context) -> u64 {
        let Some(journal) = self.journal() else { return 0 };
        context.note_wrote();
        journal.append(record)
    }

    /// Takes `count` numbers that follow each other.
    pub(crate) fn numbers(&self, count: u64) -> u64 {
        self.next.fetch_add(count, Ordering::Relaxed)
    }

    pub(super) fn start_numbers_at(&self, first: u64) {
        self.next.fetch_max(first, Ordering::Relaxed);
    }

    /// To be held while something is written that says what is in memory only afterwards. Taken before other locks.
    pub(crate) fn publishing(&self) -> Publishing<'_> {
        Publishing((!PUBLISHES.replace(true)).then(|| self.publishing.read()))
    }

    /// Waits until everything that was written down is in memory too.
    pub(super) fn settle_publishing(&self) {
        drop(self.publishing.write());
    }

    pub(crate) fn is_rewriting(&self) -> bool {
        self.rewriting.load(Ordering::SeqCst)
    }

    /// Writes down that the session of `state`, which is locked, is about to get the retained message of that number,
    /// and returns the position. To be called while [`Durable::publishing`] is held.
    pub(crate) fn keep_retained(
        &self,
        queued: &mut Queued,
        number: u64,
        state: &State,
        context: &Context,
    ) -> u64 {
        if number == 0 || self.is_rewriting() {
            // where the journal has it is about to be given up
            let Some(keeper) = Keeper::of(self) else { return 0 };
            keeper.keep(queued, state, context);
            return keeper.position();
        }
        if !state.durable || queued.qos == QoS::AtMostOnce {
            return 0;
        }
        queued.delivery = self.numbers(1);
        let target = target_of(queued, state, None);
        self.append(&Record::Owed { message: number, delivery: queued.delivery, target }, context)
    }

    /// Writes down what is to be known of a session, and returns the position.
    pub(crate) fn write_session(&self, session: &Session, state: &State, context: &Context) -> u64 {
        if !self.is_on() {
            return 0;
        }
        match session_record(session, state) {
            Some(record) => self.append(&record, context),
            None => 0,
        }
    }
}

/// Makes the record of a session; there is none before its first connection.
pub(super) fn session_record<'a>(session: &'a Session, state: &'a State) -> Option<Record<'a>> {
    let profile = state.profile.as_ref()?;
    let attributes = profile.identity.attributes.iter();
    let texts = attributes.filter_map(|(name, value)| Some((name.as_ref(), value.as_text()?.as_ref())));
    Some(Record::Session(Box::new(SessionRecord {
        session: state.key(),
        client_id: session.client_id().as_ref(),
        created_at_ms: state.created_at_ms,
        disconnected_at_ms: state.live.is_none().then_some(state.disconnected_at_ms),
        expiry_interval_s: state.expiry_interval_s,
        will: state.will.as_ref().map(|will| (will.publish.clone(), will.delay_s)),
        profile: ProfileRecord {
            username: profile.username.as_ref().map(AsRef::as_ref),
            remote: profile.remote,
            local: profile.local,
            listener: &profile.listener,
            mountpoint: profile.mountpoint.as_ref().map_or("", Mountpoint::as_str),
            version: profile.version(),
            bridge: profile.bridge,
            clean_start: profile.clean_start,
            keep_alive_s: profile.keep_alive_s,
            receive_maximum: profile.receive_maximum,
            maximum_packet_size: profile.peer.maximum_packet_size,
            connected_at_ms: profile.connected_at_ms,
            is_superuser: profile.identity.is_superuser,
            is_anonymous: profile.identity.is_anonymous,
            attributes: texts.collect(),
        },
    })))
}

/// Writes down each message that finds a durable session by itself, with a record of its own: it was not known to
/// whom it goes when it was published, or who should have had it is gone.
#[derive(Debug)]
pub(crate) struct Keeper<'a> {
    durable: &'a Durable,
    position: Cell<u64>,
}

impl<'a> Keeper<'a> {
    /// Makes one, if there is a journal.
    pub(crate) fn of(durable: &'a Durable) -> Option<Self> {
        durable.is_on().then(|| Self { durable, position: Cell::new(0) })
    }

    /// Returns the position of what was written last; 0 for nothing.
    pub(crate) fn position(&self) -> u64 {
        self.position.get()
    }

    /// Writes down that the session of `state`, which is locked, is about to get a message.
    pub(crate) fn keep(&self, queued: &mut Queued, state: &State, context: &Context) {
        queued.delivery = 0;
        if !state.durable || queued.qos == QoS::AtMostOnce {
            return;
        }
        let number = self.durable.numbers(1);
        let group = group_of(queued.extras.as_deref());
        let target = target_of(queued, state, group.as_deref());
        let record = Record::Message(Message {
            number,
            received_at_ms: context.now_ms(),
            expires_at_ms: queued.expires_at_ms,
            publish: queued.publish.clone(),
            client_id: b"",
            retain: false,
            rewritten: false,
            cause: Cause::None,
            targets: Cow::Borrowed(std::slice::from_ref(&target)),
        });
        self.position.set(self.durable.append(&record, context));
        queued.delivery = number;
    }
}

/// Describes a delivery to the session of `state`.
pub(super) fn target_of<'a>(queued: &'a Queued, state: &State, group: Option<&'a ShareGroup>) -> Target<'a> {
    Target {
        session: state.key(),
        copy: 0,
        qos: queued.qos,
        retain: queued.retain,
        identifiers: Cow::Borrowed(queued.extras.as_deref().map_or(&[], |extras| &extras.identifiers)),
        share: group.map(|group| (group.name(), group.filter())),
    }
}

/// What became of a message that had to be written down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    /// Sessions and groups that took it.
    pub(crate) taken: usize,
    /// It is safe when the journal is committed up to here; 0 for at once.
    pub(crate) position: u64,
}

/// Why a message was neither stored nor delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotKept {
    /// There are too many retained messages.
    RetainedFull,
    /// The journal takes nothing more.
    Journal,
}

/// Who gets a message: what of it is written down, and by which `copy` each delivery is known.
struct Plan<'a> {
    targets: SmallVec<[Target<'a>; 4]>,
    copies: SmallVec<[Option<u16>; 8]>,
    chosen: SmallVec<[(Option<Chosen>, Option<u16>); 2]>,
    next_copy: u16,
}

impl Broker {
    /// Says whether a message is written down: a durable session may want it, or it is retained.
    #[inline]
    pub(crate) fn is_kept(&self, publish: &Publish, routes: &Routes) -> bool {
        let lasting = routes.durable && (publish.qos() > QoS::AtMostOnce || self.config().upgrade_qos);
        lasting || publish.retain() && self.durable.is_on()
    }

    /// Does what [`Broker::route`] does, and stores what is to be retained, with a message that is written down.
    ///
    /// `noted` is called once it is written down, and before a rewrite can begin.
    #[allow(clippy::too_many_arguments)] // those of `route`, and why
    pub(crate) fn publish_kept(
        &self,
        publish: Publish,
        routes: &Routes,
        origin: &Origin<'_>,
        cause: Cause,
        completion: Option<Completion>,
        noted: impl FnOnce(),
        context: &mut Context,
    ) -> Result<Kept, NotKept> {
        if !self.durable.admits(publish.frame_len()) {
            return Err(NotKept::Journal);
        }
        let known: Origin<'_>;
        let mut origin = origin;
        let mut queued = self.queued_of(publish.clone(), origin, context);
        if let Some((with_id, trail)) = self.trail_of(routes, origin, context) {
            known = with_id;
            origin = &known;
            queued.trail = Some(trail);
        }
        let retain = publish.retain();
        let publishing = self.durable.publishing();
        let plan = self.plan(&queued, retain, routes, origin, context);
        let number = self.durable.numbers(u64::from(plan.next_copy) + 1);
        let position = self.write_down(number, &queued, origin, cause, &plan.targets, context)?;
        noted();
        context.count(Metric::MessagesPublish, 1);
        if let Some(trail) = &queued.trail {
            trail.note_published(publish.qos());
        }
        let mut kept = Kept { taken: 0, position };
        for (target, copy) in routes.targets.iter().zip(&plan.copies) {
            let mut queued = queued.clone();
            queued.delivery = copy.map_or(0, |copy| number + u64::from(copy));
            kept.taken += usize::from(self.deliver(target, queued, retain, origin, context));
        }
        if routes.targets.is_empty() {
            self.undelivered(&queued, routes, origin, context);
        }
        for (share, (chosen, copy)) in routes.shares.iter().zip(plan.chosen) {
            let mut queued = queued.clone();
            if share.needs_publisher() {
                queued.publisher = stable_hash(origin.client_id.as_bytes());
            }
            queued.delivery = copy.map_or(0, |copy| number + u64::from(copy));
            kept.taken += usize::from(self.give(share, chosen, queued, &mut kept.position, context));
        }
        drop(publishing);
        if origin.runs_rules && !routes.rules.is_empty() {
            self.tell_published(&publish, routes, origin, completion, context);
        }
        Ok(kept)
    }

    /// Finds out who gets a message, and which deliveries are written down.
    fn plan<'a>(
        &self,
        queued: &Queued,
        retain: bool,
        routes: &'a Routes,
        origin: &Origin<'_>,
        context: &Context,
    ) -> Plan<'a> {
        let mut plan =
            Plan { targets: SmallVec::new(), copies: SmallVec::new(), chosen: SmallVec::new(), next_copy: 0 };
        let several = self.config().overlap_per_subscription;
        for target in &routes.targets {
            let grant = Self::grant_of(target, origin);
            let Some(grant) = grant.filter(|_| target.durable) else {
                plan.copies.push(None);
                continue;
            };
            let qos = granted(queued.qos, &grant.options, self.config().upgrade_qos);
            if qos == QoS::AtMostOnce || plan.next_copy == u16::MAX {
                plan.copies.push(None);
                continue;
            }
            plan.copies.push(Some(plan.next_copy));
            plan.targets.push(Target {
                session: SessionKey { session: target.session.id(), incarnation: target.incarnation },
                copy: plan.next_copy,
                qos,
                retain: retain && grant.options.retain_as_published,
                identifiers: Cow::Borrowed(grant.extras.as_deref().map_or(&[], |extras| &extras.identifiers)),
                share: None,
            });
            plan.next_copy += u16::from(several);
        }
        plan.next_copy = plan.next_copy.saturating_add(1);
        for share in &routes.shares {
            let mut copy = queued.clone();
            if share.needs_publisher() {
                copy.publisher = stable_hash(origin.client_id.as_bytes());
            }
            let chosen = share.choose(&copy, context);
            let number = match &chosen {
                Some(chosen) if chosen.durable && chosen.qos > QoS::AtMostOnce => {
                    let number = plan.next_copy;
                    plan.next_copy = number.saturating_add(1);
                    plan.targets.push(Target {
                        session: SessionKey { session: chosen.session.id(), incarnation: chosen.incarnation },
                        copy: number,
                        qos: chosen.qos,
                        retain: chosen.retain,
                        identifiers: Cow::Owned(chosen.extras.identifiers.to_vec()),
                        share: Some((share.name(), share.filter())),
                    });
                    Some(number)
                }
                _ => None,
            };
            plan.chosen.push((chosen, number));
        }
        plan
    }

    /// Writes a message down, and makes it the retained one of its topic if it is to be that.
    fn write_down(
        &self,
        number: u64,
        queued: &Queued,
        origin: &Origin<'_>,
        cause: Cause,
        targets: &[Target<'_>],
        context: &Context,
    ) -> Result<u64, NotKept> {
        let publish = &queued.publish;
        let append = |retain: bool| {
            let message = Message {
                number,
                received_at_ms: context.now_ms(),
                expires_at_ms: queued.expires_at_ms,
                publish: publish.clone(),
                client_id: origin.client_id.as_ref(),
                retain,
                rewritten: false,
                cause,
                targets: Cow::Borrowed(targets),
            };
            self.durable.append(&Record::Message(message), context)
        };
        let append_if_wanted = || if targets.is_empty() { 0 } else { append(false) };
        if !publish.retain() || !self.durable.is_on() {
            return Ok(append_if_wanted());
        }
        match self.retention_of(publish, origin, number, context) {
            Retention::Remove => {
                let topic = publish.topic();
                let removed = self
                    .retained
                    .remove_then(topic, || self.durable.append(&Record::RetainRemove { topic }, context));
                Ok(append_if_wanted().max(removed.unwrap_or(0)))
            }
            Retention::Store(retained) => {
                let mut position = 0;
                let max_messages = self.config().max_retained_messages;
                let stored = self.retained.store_then(retained, max_messages, || position = append(true));
                if stored == Stored::Full {
                    return Err(NotKept::RetainedFull);
                }
                context.count(Metric::MessagesRetained, 1);
                context.note_stays();
                Ok(position)
            }
        }
    }

    /// Hands a message to the member that was chosen, or to another when that one is gone meanwhile.
    fn give(
        &self,
        share: &Arc<ShareGroup>,
        chosen: Option<Chosen>,
        mut queued: Queued,
        position: &mut u64,
        context: &mut Context,
    ) -> bool {
        if let Some(chosen) = chosen {
            queued.qos = chosen.qos;
            queued.retain = chosen.retain;
            queued.extras = Some(Arc::clone(&chosen.extras));
            let key = SessionKey { session: chosen.session.id(), incarnation: chosen.incarnation };
            match chosen.session.offer(queued, chosen.incarnation, None, None, context) {
                Ok(()) => return true,
                Err(Refused { queued: back }) => queued = back,
            }
            if queued.delivery != 0 {
                context.note_done(key, queued.delivery);
            }
        }
        let dispatched = self.dispatch(share, queued, context);
        if let Ok(later) = dispatched {
            *position = later.max(*position);
        }
        dispatched.is_ok()
    }

    /// Writes down what has to be, and has everything committed that was written down on this thread; the
    /// connections of `worker` are then told through [`Outlets::committed`](crate::Outlets::committed).
    ///
    /// To be called after each batch of work for which [`Context::has_records`] says so, before waiting for anything.
    pub fn commit(&self, context: &Context, worker: u16) {
        self.write_done(context);
        let Some(journal) = self.durable.journal().filter(|_| context.take_wrote()) else { return };
        let outlets = self.outlets_handle();
        journal.commit(Box::new(move |_| {
            if let Some(outlets) = outlets {
                outlets.committed(Some(worker));
            }
        }));
    }

    /// Has all connections that wait for the journal look at it.
    pub fn journal_moved(&self) {
        if let Some(outlets) = self.outlets() {
            outlets.committed(None);
        }
    }

    /// Calls `done` once everything that was written down so far is committed, which it is told, or has failed; at once
    /// without a journal.
    pub fn commit_then(&self, done: Box<dyn FnOnce(bool) + Send>) {
        match self.durable.journal() {
            Some(journal) => journal.commit(done),
            None => done(true),
        }
    }

    /// Writes down the deliveries that are over.
    pub(crate) fn write_done(&self, context: &Context) {
        let mut done = context.done().borrow_mut();
        if done.is_empty() {
            return;
        }
        if let Some(journal) = self.durable.journal() {
            // nobody waits for it: a delivery whose end is lost is made again
            journal.append(&Record::Done(Cow::Borrowed(&done)));
        }
        done.clear();
    }
}
