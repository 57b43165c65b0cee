//! SUBSCRIBE and UNSUBSCRIBE.

use std::borrow::Cow;
use std::sync::Arc;

use broker_codec::{
    Packet, PropertiesRef, ReasonCode, RetainHandling, SubAck, Subscribe, Subscription, SubscriptionOptions,
    UnsubAck, Unsubscribe, Version,
};
use tracing::debug;

use super::{Connection, Flow, Open, Phase};
use crate::access::{Action, Decision};
use crate::broker::Broker;
use crate::context::Context;
use crate::durable::Record;
use crate::filters::Wanted;
use crate::metrics::Metric;
use crate::mountpoint::Mountpoint;
use crate::outgoing::Outgoing;
use crate::routes::ShareRules;
use crate::session::{Queued, SubscriptionRecord};
use crate::system::is_system;

/// Whether somebody is asked if a client may subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// The access rules.
    Access,
    /// It may.
    Nobody,
}
/// About what is written down of a subscription.
const SUBSCRIPTION_BYTES: usize = 128;

/// A filter that was subscribed to.
struct Granted {
    /// What it is called here, as the client wrote it or renamed.
    filter: Box<str>,
    options: SubscriptionOptions,
    /// Whether the session had no such subscription before.
    is_new: bool,
    /// The client may be told when the journal is committed up to here.
    position: u64,
}

impl Connection {
    pub(super) fn subscribe(
        &mut self,
        subscribe: &Subscribe,
        context: &mut Context,
        out: &mut Outgoing,
    ) -> Flow {
        let Phase::Open(open) = &mut self.phase else { return Flow::Close };
        context.count(Metric::ClientSubscribe, 1);
        let session = Arc::clone(&open.session);
        let _control = session.control();
        if session.state_for(self.outlet).is_none() {
            return Flow::Continue; // taken over: another connection decides now, and this one is about to be told
        }
        let identifier = subscribe.properties.as_ref().subscription_identifiers().next();
        let mut position = 0;
        let mut granted = Vec::with_capacity(subscribe.subscriptions.len());
        let mut reasons = Vec::with_capacity(subscribe.subscriptions.len());
        for subscription in &subscribe.subscriptions {
            match open.grant(&self.broker, subscription, identifier, Asking::Access, context) {
                Ok(done) => {
                    position = done.position.max(position);
                    reasons.push(ReasonCode::granted(done.options.qos));
                    granted.push(done);
                }
                Err(code) => {
                    context.count(Metric::SubscribeError, 1);
                    reasons.push(code);
                }
            }
        }
        for done in &granted {
            // they go out behind SUBACK: nothing is sent before this packet is handled
            position = open.queue_retained(&self.broker, done, identifier, context).max(position);
        }
        let suback =
            SubAck { packet_id: subscribe.packet_id, properties: broker_codec::Properties::new(), reasons };
        context.count(Metric::SubAckSent, 1);
        open.push_after(position, Packet::SubAck(suback), context, out);
        let properties = subscribe.properties.as_ref();
        for done in granted {
            open.tell_subscribed(&self.broker, &done, properties, context);
        }
        Flow::Continue
    }

    /// Makes the subscriptions that every client gets, as if it had asked for them.
    pub(super) fn auto_subscribe(&self, context: &mut Context) {
        let config = self.broker.config();
        let Phase::Open(open) = &self.phase else { return };
        if config.auto_subscribe.is_empty() {
            return;
        }
        let _control = open.session.control();
        if open.session.state_for(self.outlet).is_none() {
            return;
        }
        let asking = if config.auto_subscribe_bypass_acl { Asking::Nobody } else { Asking::Access };
        for auto in &config.auto_subscribe {
            let Some(filter) = open.fill_in(&auto.topic) else { continue };
            let subscription = Subscription { filter, options: auto.options };
            match open.grant(&self.broker, &subscription, None, asking, context) {
                Ok(done) => {
                    open.queue_retained(&self.broker, &done, None, context);
                    open.tell_subscribed(&self.broker, &done, PropertiesRef::default(), context);
                }
                Err(code) => {
                    let client_id = open.session.client_id();
                    debug!(%client_id, filter = subscription.filter, %code, "not subscribed by itself");
                }
            }
        }
    }

    pub(super) fn unsubscribe(
        &mut self,
        unsubscribe: &Unsubscribe,
        context: &mut Context,
        out: &mut Outgoing,
    ) -> Flow {
        let Phase::Open(open) = &mut self.phase else { return Flow::Close };
        context.count(Metric::ClientUnsubscribe, 1);
        let session = Arc::clone(&open.session);
        let _control = session.control();
        let mut position = 0;
        let mut removed = Vec::new();
        let mut reasons = Vec::with_capacity(unsubscribe.filters.len());
        for filter in &unsubscribe.filters {
            let Some(mut state) = session.state_for(self.outlet) else { return Flow::Continue };
            let filter = open.renamed(&self.broker, filter);
            let record = state.subscriptions.remove(&*filter);
            if record.is_some() && state.durable {
                let record = Record::Unsubscribe { session: state.key(), filter: &filter };
                position = self.broker.durable.append(&record, context);
            }
            drop(state);
            reasons.push(match record {
                Some(record) => {
                    self.broker.gauges.subscriptions.fall(1);
                    if let Some(group) = self.broker.remove_route(&filter, &session, context) {
                        // what the client was not sent yet is for those who stay
                        let waiting = session.state().take_shared(&group);
                        for queued in waiting {
                            session.state().note_done(queued.delivery, context);
                            self.broker.dispatch_again(queued, context);
                        }
                    }
                    removed.push((filter, record));
                    ReasonCode::SUCCESS
                }
                None if Wanted::parse(&filter).is_none() => {
                    context.count(Metric::UnsubscribeError, 1);
                    ReasonCode::TOPIC_FILTER_INVALID
                }
                None => ReasonCode::NO_SUBSCRIPTION_EXISTED,
            });
        }
        let unsuback = UnsubAck {
            packet_id: unsubscribe.packet_id,
            properties: broker_codec::Properties::new(),
            reasons,
        };
        context.count(Metric::UnsubAckSent, 1);
        open.push_after(position, Packet::UnsubAck(unsuback), context, out);
        for (filter, record) in removed {
            let properties = unsubscribe.properties.as_ref();
            let (client_id, now_ms) = (session.client_id(), context.now_ms());
            self.broker.tell_unsubscribed(
                client_id,
                &open.profile,
                &filter,
                record.options,
                properties,
                now_ms,
            );
            self.broker.tell_system_unsubscribed(client_id, &open.profile, &filter, context);
        }
        Flow::Continue
    }
}

impl Open {
    fn tell_subscribed(
        &self,
        broker: &Broker,
        granted: &Granted,
        properties: PropertiesRef<'_>,
        context: &mut Context,
    ) {
        let filter = &granted.filter;
        let client_id = self.session.client_id();
        let now_ms = context.now_ms();
        broker.tell_subscribed(client_id, &self.profile, filter, granted.options, properties, now_ms);
        let granted = (granted.options, granted.is_new);
        broker.tell_system_subscribed(client_id, &self.profile, filter, granted, properties, context);
    }

    /// Makes one subscription, or says why not.
    fn grant(
        &self,
        broker: &Broker,
        subscription: &Subscription,
        identifier: Option<u32>,
        asking: Asking,
        context: &mut Context,
    ) -> Result<Granted, ReasonCode> {
        let parsed = Wanted::parse_for(&subscription.filter, &self.zone)?;
        let config = &*self.zone;
        let action = Action::Subscribe { filter: parsed.filter, qos: subscription.options.qos };
        let judged_here = if asking == Asking::Nobody || self.profile.identity.is_superuser {
            Some(true)
        } else if self.allows_everything {
            Some(!is_system(parsed.filter) || self.profile.remote.ip().to_canonical().is_loopback())
        } else {
            None
        };
        let allowed = match judged_here {
            Some(allowed) => {
                let decision = Decision::of_broker(&self.profile, allowed);
                broker.tell_authorized(self.session.client_id(), &self.profile, action, decision, context);
                allowed
            }
            None => broker.allows(self.session.client_id(), &self.profile, action, context),
        };
        if !allowed {
            context.count(Metric::SubscribeAuthError, 1);
            return Err(ReasonCode::NOT_AUTHORIZED);
        }
        let filter = self.renamed(broker, &subscription.filter);
        let parsed = Wanted::parse_for(&filter, &self.zone)?;
        let mut options = subscription.options;
        options.qos = options.qos.min(config.max_qos);
        if self.profile.bridge {
            options.retain_as_published = true;
        }
        let spares_own = self.profile.bridge || config.ignore_loop_deliver;
        if spares_own && self.profile.version() != Version::V5 && parsed.group.is_none() {
            options.no_local = true;
        }
        if parsed.is_exclusive && !broker.exclusive.claim(parsed.filter, self.session.id()) {
            return Err(ReasonCode::QUOTA_EXCEEDED);
        }
        let recorded = self.record(broker, &filter, options, identifier, context);
        if parsed.is_exclusive && recorded.is_err() {
            broker.exclusive.release(parsed.filter, self.session.id());
        }
        let (is_new, incarnation, position) = recorded?;
        if is_new {
            broker.gauges.subscriptions.rise();
        }
        let routes = broker.routes();
        match parsed.group {
            Some(group) => {
                let group = (group, ShareRules::of(config, group));
                let session = &self.session;
                let whose = (incarnation, self.durable);
                routes.join_share(group, parsed.filter, session, whose, options, identifier);
                self.session.state().schedule_waiting(context); // it may be just what the group was short of
            }
            None => {
                let session = &self.session;
                routes.subscribe(parsed.filter, session, (incarnation, self.durable), options, identifier);
            }
        }
        Ok(Granted { filter: filter.into(), options, is_new, position })
    }

    /// Returns the name that a filter has here: that of the client or what the rules make of it, with its mountpoint.
    fn renamed<'a>(&self, broker: &Broker, text: &'a str) -> Cow<'a, str> {
        let Some(wanted) = Wanted::parse(text) else { return Cow::Borrowed(text) };
        let renamed = broker.rewriter.subscribe(wanted.filter, self.renaming());
        let mountpoint = self.profile.mountpoint.as_ref().map(Mountpoint::as_str);
        if renamed.is_none() && mountpoint.is_none() {
            return Cow::Borrowed(text);
        }
        let filter = renamed.as_deref().unwrap_or(wanted.filter);
        Cow::Owned(format!("{}{}{filter}", wanted.prefix, mountpoint.unwrap_or_default()))
    }

    /// Fills the client into a filter; none when there is no user name and it is asked for.
    fn fill_in(&self, topic: &str) -> Option<String> {
        let who = self.renaming();
        let mut filter = topic.to_owned();
        if filter.contains("${username}") {
            filter = filter.replace("${username}", who.username?);
        }
        let remote = self.profile.remote;
        filter = filter.replace("${host}", &remote.ip().to_string());
        filter = filter.replace("${port}", &remote.port().to_string());
        Some(filter.replace("${clientid}", who.client_id))
    }

    fn record(
        &self,
        broker: &Broker,
        filter: &str,
        options: SubscriptionOptions,
        identifier: Option<u32>,
        context: &Context,
    ) -> Result<(bool, u32, u64), ReasonCode> {
        let max_subscriptions = self.zone.max_subscriptions;
        let mut state = self.session.state();
        let record = SubscriptionRecord { options, identifier };
        let full = state.subscriptions.len() >= max_subscriptions;
        // what is only changed there is always room for
        let size = if state.subscriptions.contains_key(filter) { 0 } else { SUBSCRIPTION_BYTES };
        if state.durable && !broker.durable.admits(size) {
            return Err(ReasonCode::QUOTA_EXCEEDED);
        }
        let is_new = match state.subscriptions.get_mut(filter) {
            Some(found) => {
                *found = record;
                false
            }
            None if full => return Err(ReasonCode::QUOTA_EXCEEDED),
            None => {
                state.subscriptions.insert(filter.into(), record);
                true
            }
        };
        let mut position = 0;
        if state.durable {
            let record = Record::Subscribe { session: state.key(), filter, options, identifier };
            position = broker.durable.append(&record, context);
        }
        Ok((is_new, state.incarnation, position))
    }

    /// Queues the retained messages that a new subscription asks for.
    ///
    /// They are looked up with the session locked: a live message that is already in the queue was stored before, so
    /// that no older retained message comes after it. Returns the position of the journal where that is written down.
    fn queue_retained(
        &self,
        broker: &Broker,
        granted: &Granted,
        identifier: Option<u32>,
        context: &mut Context,
    ) -> u64 {
        let mut position = 0;
        let wanted = match granted.options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => granted.is_new,
            RetainHandling::DoNotSend => false,
        };
        let Some(Wanted { group: None, filter, .. }) = Wanted::parse(&granted.filter).filter(|_| wanted)
        else {
            return position;
        };
        let extras = identifier.map(|identifier| {
            Arc::new(crate::routes::Extras { identifiers: Box::new([identifier]), share: None })
        });
        let publishing = self.durable.then(|| broker.durable.publishing());
        let mut state = self.session.state();
        let max_len = broker.config().max_retained_per_subscribe;
        // one more than there is room for, so that it is counted that not all could wait; a client that subscribes
        // over and over costs no more than what it reads
        let room = max_len.saturating_sub(state.retained.len());
        for retained in broker.retained.matching(filter, room.saturating_add(1)) {
            // by client id: the session that published it may have ended
            let own = granted.options.no_local
                && retained.publisher != 0
                && retained.client_id == *self.session.client_id();
            if own || retained.expires_at_ms <= context.now_ms() {
                continue;
            }
            let qos =
                crate::routes::granted(retained.publish.qos(), &granted.options, broker.config().upgrade_qos);
            let mut queued = Queued {
                extras: extras.clone(),
                trail: broker.trail_of_retained(&retained, context),
                expires_at_ms: retained.expires_at_ms,
                retain: true,
                ..Queued::new(retained.publish.clone(), qos)
            };
            if self.durable && state.retained.len() < max_len {
                position = broker.durable.keep_retained(&mut queued, retained.number, &state, context);
            }
            state.enqueue_retained(queued, max_len, context);
        }
        drop(state);
        drop(publishing);
        if context.has_incidents() {
            broker.tell_incidents(&self.session, context);
        }
        position
    }
}
