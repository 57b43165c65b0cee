//! How sessions begin, change hands and end. Every step holds the session's `control` lock.

use std::sync::Arc;

use broker_codec::PropertiesRef;
use engine_event::Text;

use crate::broker::Broker;
use crate::context::{ConnectionKey, Context};
use crate::durable::{Record, SessionKey};
use crate::filters::Wanted;
use crate::metrics::Metric;
use crate::mountpoint::Mountpoint;
use crate::publishing::{Origin, Will};
use crate::reason::CloseReason;
use crate::rewrite::Renaming;
use crate::routes::ShareGroup;
use crate::session::{Live, PendingWill, Profile, Queued, Remains, Session, State};
use crate::system::is_system;

/// A CONNECT that was accepted.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) client_id: String,
    pub(crate) profile: Arc<Profile>,
    pub(crate) outlet: ConnectionKey,
    pub(crate) window: u16,
    pub(crate) expiry_interval_s: u32,
    pub(crate) will: Option<Box<PendingWill>>,
}

/// The session of an accepted CONNECT.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) session: Arc<Session>,
    pub(crate) present: bool,
    /// The client may be told when the journal is committed up to here; 0 for at once.
    pub(crate) position: u64,
    /// What happens to the session is written down.
    pub(crate) durable: bool,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending<'a> {
    pub(crate) reason: CloseReason,
    pub(crate) will: WillFate,
    /// A new session expiry interval, from a DISCONNECT.
    pub(crate) expiry_interval_s: Option<u32>,
    pub(crate) properties: PropertiesRef<'a>,
}

/// What becomes of the will when a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WillFate {
    /// It is forgotten.
    Discard,
    /// It is published, after its delay.
    Publish,
}

/// Session expiry interval of a session that never ends.
const FOREVER_S: u32 = u32::MAX;

impl Broker {
    /// Gives the session of a client id to a new connection.
    pub(crate) fn open(&self, opening: Opening, context: &mut Context) -> Opened {
        loop {
            let session = self.registry.get_or_create(&opening.client_id, context.now_ms());
            let control = session.control();
            if session.state().ended {
                continue; // it ended between the two lines above: there will be another
            }
            let (present, position) = self.attach(&session, opening, context);
            let durable = session.state().durable;
            drop(control);
            return Opened { session, present, position, durable };
        }
    }

    fn attach(&self, session: &Arc<Session>, opening: Opening, context: &mut Context) -> (bool, u64) {
        let now_ms = context.now_ms();
        let clean_start = opening.profile.clean_start;
        let mut state = session.state();
        let old_live = state.live.take();
        let old_profile = state.profile.take();
        let old_will = state.will.take();
        let existed = old_profile.is_some();
        let old_key = state.durable.then(|| state.key());
        // a take-over ends the old connection, and with it a session that does not outlive its connection
        let outlives =
            if old_live.is_some() { state.expiry_interval_s > 0 } else { !has_expired(&state, now_ms) };
        let present = existed && !clean_start && outlives;
        // one that goes on is written down if it was from its beginning: half of it would not help
        let may_last = if present { old_key.is_some() } else { opening.profile.zone.durable };
        let durable = self.durable.is_on() && opening.expiry_interval_s > 0 && may_last;
        let queue = &opening.profile.zone.queue;
        let remains = (existed && !present).then(|| state.reset(queue, now_ms));
        self.timers.set(None, &mut state.timer_ms, session);
        state.queue.set_settings(queue);
        state.forget_held();
        state.inflight.restart();
        let waiting = state.has_waiting();
        state.live = Some(Live {
            outlet: opening.outlet,
            window: opening.window,
            max_packet_size: opening.profile.peer.maximum_packet_size,
            scheduled: waiting,
            blocked: false,
            overflowed: false,
        });
        state.profile = Some(Arc::clone(&opening.profile));
        state.expiry_interval_s = opening.expiry_interval_s;
        state.will = opening.will;
        state.durable = durable;
        drop(state);
        self.traces.follow(session, opening.profile.remote.ip());
        if waiting {
            context.schedule(opening.outlet);
        }

        if existed {
            context.count(if present { Metric::SessionResumed } else { Metric::SessionDiscarded }, 1);
        }
        if !present {
            context.count(Metric::SessionCreated, 1);
        }
        if !existed {
            self.gauges.sessions.rise();
        }
        self.gauges.connections.rise();
        let was_connected = old_live.is_some();
        if let (Some(live), Some(profile)) = (old_live, &old_profile) {
            let reason = if clean_start { CloseReason::Discarded } else { CloseReason::TakenOver };
            context.count(Metric::SessionTakenOver, 1);
            self.let_go(session, live.outlet, profile, reason, context);
        }
        if let (Some(will), Some(profile)) = (old_will, &old_profile) {
            // a session that goes on cancels a will that still waits
            let due = !present || (was_connected && will.delay_s == 0);
            if due {
                self.publish_will(session, *will, profile, old_key, context);
            }
        }
        if let Some(remains) = remains {
            self.settle_remains(session, remains, old_profile.as_deref(), context);
        }
        // behind what others have got of it: if this is lost, so is the end of the old session, and nothing else
        let position = match old_key {
            _ if durable => self.durable.write_session(session, &session.state(), context),
            Some(old_key) => self.durable.append(&Record::SessionEnd(old_key), context),
            None => 0,
        };
        context.count(Metric::ClientConnected, 1);
        let (profile, expiry_interval_s) = (&opening.profile, opening.expiry_interval_s);
        if context.has_traces() {
            self.trace_opened(session, profile, present, expiry_interval_s, now_ms);
        }
        self.tell_accepted(session.client_id(), profile, expiry_interval_s, context.now_ms());
        self.tell_connected(session.client_id(), profile, expiry_interval_s);
        self.tell_system_connected(session.client_id(), profile, expiry_interval_s, context);
        (present, position)
    }

    /// Tells a connection that it has lost its session, and the world that it is gone.
    pub(crate) fn let_go(
        &self,
        session: &Session,
        outlet: ConnectionKey,
        profile: &Profile,
        reason: CloseReason,
        context: &mut Context,
    ) {
        if let Some(outlets) = self.outlets() {
            outlets.close(outlet, reason);
        }
        self.gauges.connections.fall(1);
        context.count(Metric::ClientDisconnected, 1);
        let none = PropertiesRef::default();
        self.tell_disconnected(session.client_id(), profile, reason, none, context.now_ms());
        self.tell_system_disconnected(session.client_id(), profile, reason, none, context);
        if reason != CloseReason::Kicked {
            self.note_end(session, profile, context.now_ms());
        }
    }

    /// Counts the end of a connection that was not our doing.
    fn note_end(&self, session: &Session, profile: &Profile, now_ms: i64) {
        let username = profile.username.as_ref();
        self.note_disconnect(session.client_id(), username, profile.remote.ip(), &profile.zone, now_ms);
    }

    /// Ends the hold of a connection on its session, unless it has already lost it.
    pub(crate) fn detach(
        &self,
        session: &Arc<Session>,
        outlet: ConnectionKey,
        ending: &Ending<'_>,
        context: &mut Context,
    ) {
        let _control = session.control();
        let now_ms = context.now_ms();
        let Some(mut state) = session.state_for(outlet) else { return };
        state.live = None;
        state.disconnected_at_ms = now_ms;
        state.inflight.trim();
        state.forget_held();
        if let Some(expiry_s) = ending.expiry_interval_s {
            let zone = state.profile.as_ref().map(|profile| &profile.zone);
            let max_s = zone.map_or(u32::MAX, |zone| zone.max_session_expiry_interval_s);
            state.expiry_interval_s = expiry_s.min(max_s);
        }
        if state.expiry_interval_s > 0 && !state.queue.limits().keeps_qos0_offline() {
            state.drop_qos0(context);
        }
        let expiry_s = state.expiry_interval_s;
        let profile = state.profile.clone();
        if ending.will == WillFate::Discard {
            state.will = None;
        }
        let will_now = expiry_s == 0 || state.will.as_ref().is_some_and(|will| will.delay_s == 0);
        let will = if will_now { state.will.take() } else { None };
        if expiry_s > 0 {
            self.timers.set(next_due(&state), &mut state.timer_ms, session);
        }
        let key = state.durable.then(|| state.key());
        if key.is_some() && will.is_none() && expiry_s > 0 {
            self.durable.write_session(session, &state, context);
        }
        drop(state);

        self.gauges.connections.fall(1);
        context.count(Metric::ClientDisconnected, 1);
        let Some(profile) = profile else { return };
        if context.has_incidents() {
            self.tell_incidents_of(session.client_id(), Some(&*profile), context);
        }
        self.tell_disconnected(session.client_id(), &profile, ending.reason, ending.properties, now_ms);
        let (reason, properties) = (ending.reason, ending.properties);
        self.tell_system_disconnected(session.client_id(), &profile, reason, properties, context);
        if let Some(will) = will {
            self.publish_will(session, *will, &profile, key, context);
            if key.is_some() && expiry_s > 0 {
                // behind the will: one that is not written down yet is published after a crash
                self.durable.write_session(session, &session.state(), context);
            }
        }
        if expiry_s == 0 {
            self.terminate(session, context);
        }
        if !matches!(ending.reason, CloseReason::ServerShutdown | CloseReason::Kicked) {
            self.note_end(session, &profile, now_ms);
        }
    }

    /// Ends a session, with its connection if it has one, and returns whether there was one to end.
    pub fn kick(&self, client_id: &str) -> bool {
        let Some(session) = self.registry.get(client_id) else { return false };
        let mut context = self.call_context();
        let control = session.control();
        let (live, profile) = {
            let mut state = session.state();
            if state.ended {
                return false;
            }
            (state.live.take(), state.profile.clone())
        };
        if let (Some(live), Some(profile)) = (live, &profile) {
            self.let_go(&session, live.outlet, profile, CloseReason::Kicked, &mut context);
        }
        self.terminate(&session, &mut context);
        drop(control);
        self.flush(context);
        true
    }

    /// Ends a session that has no connection, with its `control` lock held.
    pub(crate) fn terminate(&self, session: &Arc<Session>, context: &mut Context) {
        let (remains, will, profile, key) = {
            let mut state = session.state();
            if state.ended {
                return;
            }
            self.timers.set(None, &mut state.timer_ms, session);
            let profile = state.profile.clone();
            let key = state.durable.then(|| state.key());
            let remains = state.reset(self.registry.queue_settings(), context.now_ms());
            state.ended = true;
            (remains, state.will.take(), profile, key)
        };
        self.gauges.sessions.fall(1);
        context.count(Metric::SessionTerminated, 1);
        if context.has_traces() {
            self.trace_ended(session, profile.as_deref(), context.now_ms());
        }
        if let (Some(will), Some(profile)) = (will, &profile) {
            self.publish_will(session, *will, profile, key, context);
        }
        self.settle_remains(session, remains, profile.as_deref(), context);
        if let Some(key) = key {
            // behind what others have got of it
            self.durable.append(&Record::SessionEnd(key), context);
        }
        // until now whoever connects with the client id waits for `control`
        self.registry.remove(session);
    }

    /// Takes an ended session's subscriptions out of the routes, gives what came through shared groups to others, and
    /// counts the rest of what it was not sent. `profile` was its last connection.
    fn settle_remains(
        &self,
        session: &Arc<Session>,
        remains: Remains,
        profile: Option<&Profile>,
        context: &mut Context,
    ) {
        self.gauges.subscriptions.fall(remains.filters.len());
        for filter in &remains.filters {
            self.remove_route(filter, session, context);
        }
        let is_shared = |queued: &Queued| queued.extras.as_ref().is_some_and(|extras| extras.share.is_some());
        for queued in remains.sent.into_iter().filter(is_shared) {
            self.dispatch_again(queued, context);
        }
        for queued in remains.waiting {
            if is_shared(&queued) {
                self.dispatch_again(queued, context);
            } else {
                context.drop_ended(queued);
            }
        }
        context.count(Metric::DeliveryDropped, remains.never_sent as u64);
        context.count(Metric::DeliveryDroppedEnded, remains.never_sent as u64);
        if context.has_incidents() {
            self.tell_incidents_of(session.client_id(), profile, context);
        }
    }

    /// Takes one subscription, as the client wrote it, out of the routes, and returns the shared group that others are
    /// still in.
    pub(crate) fn remove_route(
        &self,
        filter: &str,
        session: &Session,
        context: &mut Context,
    ) -> Option<Arc<ShareGroup>> {
        match Wanted::parse(filter) {
            Some(Wanted { group: Some(group), filter, .. }) => {
                let left = self.routes().leave_share(group, filter, session);
                for queued in left.dropped {
                    self.drop_left_behind(queued, context);
                }
                return left.group;
            }
            Some(Wanted { filter, is_exclusive, .. }) => {
                self.routes().unsubscribe(filter, session);
                if is_exclusive {
                    self.exclusive.release(filter, session.id());
                }
            }
            None => {} // it was never put in
        }
        None
    }

    /// Publishes the will of a session; `key` is that of a durable one.
    fn publish_will(
        &self,
        session: &Session,
        will: PendingWill,
        profile: &Profile,
        key: Option<SessionKey>,
        context: &mut Context,
    ) {
        let asked = will.publish.topic();
        let client_id = session.client_id().as_str().unwrap_or_default();
        if self.bans().has_client_id(client_id, context.now_ms()) {
            tracing::debug!(client_id, topic = asked, "will of a banned client");
            return;
        }
        // of a will for later, the topic that it is for
        let topic = self.delay_of(asked, context).flatten().map_or(asked, |delay| delay.topic);
        if is_system(topic)
            || !self.may_publish(session.client_id(), profile, (&will.publish, topic), context)
        {
            tracing::debug!(client_id = %session.client_id(), topic, "will not authorized");
            return;
        }
        let who = Renaming {
            client_id: session.client_id().as_str().unwrap_or_default(),
            username: profile.username.as_ref().and_then(Text::as_str),
        };
        let renamed = self.rewriter.publish(topic, who);
        let mountpoint = profile.mountpoint.as_ref().map(Mountpoint::as_str);
        let renamed = (renamed.is_some() || mountpoint.is_some()).then(|| {
            let delay = &asked[..asked.len() - topic.len()];
            let name = renamed.as_deref().unwrap_or(topic);
            will.publish.with_topic(&format!("{delay}{}{name}", mountpoint.unwrap_or_default()))
        });
        let Ok(renamed) = renamed.transpose() else {
            return; // too long with its mountpoint: it would be somewhere else without it
        };
        let origin = Origin::of_client(session, profile);
        let publish = renamed.unwrap_or(will.publish);
        if context.has_traces() {
            self.trace_will(session, profile, &publish, context.now_ms());
        }
        if let Err(reason) = self.publish_or_delay(publish, &origin, Will::Of(key), context) {
            tracing::debug!(client_id = %session.client_id(), ?reason, "delayed will not kept");
        }
    }

    /// Does all that has become due while nobody was there.
    pub fn catch_up(&self) {
        let mut context = self.call_context();
        while self.run_timers(&mut context) > 0 {}
        self.flush(context);
    }

    /// Does what has become due: reports, wills whose delay is over, sessions that have expired.
    ///
    /// To be called about every quarter of a second, by one thread.
    /// Returns the number of sessions that were looked at.
    pub fn run_timers(&self, context: &mut Context) -> usize {
        self.report(context);
        self.release_delayed(context);
        self.topic_meters.read(context.now_ms());
        self.slow_subs.expire(context.now_ms());
        let now_ms = context.now_ms();
        let due = self.timers.due(now_ms);
        let count = due.len();
        for session in due {
            let _control = session.control();
            let mut state = session.state();
            if state.live.is_some() || state.ended {
                continue;
            }
            let expired = has_expired(&state, now_ms);
            let will = if will_due_ms(&state).is_some_and(|due_ms| due_ms <= now_ms) {
                state.will.take()
            } else {
                None
            };
            self.timers.set(next_due(&state), &mut state.timer_ms, &session);
            let profile = state.profile.clone();
            let key = state.durable.then(|| state.key());
            drop(state);
            if let (Some(will), Some(profile)) = (will, profile) {
                self.publish_will(&session, *will, &profile, key, context);
                if let Some(key) = key {
                    self.durable.append(&Record::WillDone(key), context);
                }
            }
            if expired {
                self.terminate(&session, context);
            }
        }
        count
    }
}

fn has_expired(state: &State, now_ms: i64) -> bool {
    end_ms(state).is_some_and(|end_ms| end_ms <= now_ms)
}

/// When a session without a connection ends.
fn end_ms(state: &State) -> Option<i64> {
    (state.expiry_interval_s != FOREVER_S)
        .then(|| state.disconnected_at_ms + i64::from(state.expiry_interval_s) * 1000)
}

/// When the delay of the will of a session without a connection is over.
fn will_due_ms(state: &State) -> Option<i64> {
    state.will.as_ref().map(|will| state.disconnected_at_ms + i64::from(will.delay_s) * 1000)
}

/// When there is something to do for a session without a connection.
pub(crate) fn next_due(state: &State) -> Option<i64> {
    end_ms(state).into_iter().chain(will_due_ms(state)).min()
}
