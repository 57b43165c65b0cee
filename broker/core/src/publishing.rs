//! From a published message to those who get it.

use std::net::SocketAddr;
use std::sync::Arc;

use broker_codec::{BuildError, Publish, PublishBuilder, topic};
use engine_event::{
    Completion, EventKind, Map, NewMessage, PublishError, PublishEvent, PublishProperties, PublishReport,
    Publisher, Text,
};

use crate::broker::Broker;
use crate::context::Context;
use crate::delayed::{self, Delay};
use crate::durable::{Cause, Keeper, NotKept, SessionKey};
use crate::message_events::DroppedDelivery;
use crate::metrics::Metric;
use crate::properties::{self, MessageProperties};
use crate::retained::{Retained, Retention, Stored};
use crate::routes::{Grant, Own, Routes, ShareGroup, Target, granted, group_of, stable_hash};
use crate::session::{NEVER_MS, Profile, Queued, Session};

/// Whether a message is a will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Will {
    /// It is not.
    Not,
    /// It is; the key is that of a session that is written down.
    Of(Option<SessionKey>),
}

/// Where a message comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) client_id: &'a Text,
    pub(crate) username: Option<&'a Text>,
    pub(crate) peer: Option<SocketAddr>,
    /// The number of the session that published it; 0 for none.
    pub(crate) session: u64,
    pub(crate) attributes: &'a Map,
    pub(crate) hops: u8,
    pub(crate) republished_by: Option<&'a Text>,
    /// Whether rules get it.
    pub(crate) runs_rules: bool,
    /// The id of the message, when somebody has been told it already.
    pub(crate) message_id: Option<u128>,
    /// When the message was accepted, Unix milliseconds, if that was not just now.
    pub(crate) accepted_at_ms: Option<i64>,
}

impl<'a> Origin<'a> {
    /// Says that a message comes from a client.
    #[inline]
    pub(crate) fn of_client(session: &'a Session, profile: &'a Profile) -> Self {
        Self {
            client_id: session.client_id(),
            username: profile.username.as_ref(),
            peer: Some(profile.remote),
            session: session.id(),
            attributes: &profile.identity.attributes,
            hops: 0,
            republished_by: None,
            runs_rules: true,
            message_id: None,
            accepted_at_ms: None,
        }
    }
}

impl Broker {
    /// Hands a message to everybody who wants it and returns how many sessions and groups that were.
    ///
    /// `completion` goes to the rules when one of them holds acknowledgements back.
    pub(crate) fn route(
        &self,
        publish: Publish,
        routes: &Routes,
        origin: &Origin<'_>,
        completion: Option<Completion>,
        context: &mut Context,
    ) -> usize {
        context.count(Metric::MessagesPublish, 1);
        let known: Origin<'_>;
        let mut trail = None;
        let mut origin = origin;
        if let Some((with_id, laid)) = self.trail_of(routes, origin, context) {
            known = with_id;
            origin = &known;
            laid.note_published(publish.qos());
            trail = Some(laid);
        }
        if origin.runs_rules && !routes.rules.is_empty() {
            self.tell_published(&publish, routes, origin, completion, context);
        }
        let retain = publish.retain();
        let mut queued = self.queued_of(publish, origin, context);
        queued.trail = trail;
        let mut taken = 0;
        for share in &routes.shares {
            let mut copy = queued.clone();
            if share.needs_publisher() {
                copy.publisher = stable_hash(origin.client_id.as_bytes());
            }
            taken += usize::from(self.dispatch(share, copy, context).is_ok());
        }
        taken + self.deliver_to_all(queued, retain, routes, origin, context)
    }

    /// Makes what waits for a client of a message.
    #[inline]
    pub(crate) fn queued_of(&self, publish: Publish, origin: &Origin<'_>, context: &Context) -> Queued {
        let qos = publish.qos();
        let mut queued = Queued::new(publish, qos);
        if let Some(expiry_s) = self.expiry_of(&queued.publish) {
            queued.expires_at_ms = expires_at(origin.accepted_at_ms.unwrap_or(context.now_ms()), expiry_s);
        }
        queued
    }

    /// Delivers to every session of the routes; the last one gets the message itself, the others copies.
    #[inline]
    fn deliver_to_all(
        &self,
        queued: Queued,
        retain: bool,
        routes: &Routes,
        origin: &Origin<'_>,
        context: &mut Context,
    ) -> usize {
        let Some((last, others)) = routes.targets.split_last() else {
            return self.undelivered(&queued, routes, origin, context);
        };
        let mut taken = 0;
        for target in others {
            taken += usize::from(self.deliver(target, queued.clone(), retain, origin, context));
        }
        taken + usize::from(self.deliver(last, queued, retain, origin, context))
    }

    /// Returns what a session gets of a message; nothing when it is its own and it does not want those.
    #[inline]
    pub(crate) fn grant_of<'a>(target: &'a Target, origin: &Origin<'_>) -> Option<&'a Grant> {
        if target.session.id() != origin.session {
            return Some(&target.grant);
        }
        match &target.own {
            Own::Same => Some(&target.grant),
            Own::Less(less) => Some(less),
            Own::Nothing => None,
        }
    }

    #[inline]
    pub(crate) fn deliver(
        &self,
        target: &Target,
        mut queued: Queued,
        retain: bool,
        origin: &Origin<'_>,
        context: &mut Context,
    ) -> bool {
        let Some(grant) = Self::grant_of(target, origin) else {
            context.count(Metric::DeliveryDropped, 1);
            context.count(Metric::DeliveryDroppedNoLocal, 1);
            context.note_drop(queued, Metric::DeliveryDroppedNoLocal);
            if context.has_incidents() {
                self.tell_incidents(&target.session, context);
            }
            return false;
        };
        queued.qos = granted(queued.qos, &grant.options, self.config().upgrade_qos);
        queued.retain = retain && grant.options.retain_as_published;
        queued.extras.clone_from(&grant.extras);
        target.session.deliver(queued, target.incarnation, context);
        if context.has_incidents() {
            self.tell_incidents(&target.session, context);
        }
        true
    }

    pub(crate) fn undelivered(
        &self,
        queued: &Queued,
        routes: &Routes,
        origin: &Origin<'_>,
        context: &Context,
    ) -> usize {
        if routes.shares.is_empty() && routes.rules.is_empty() {
            context.count(Metric::MessagesDropped, 1);
            context.count(Metric::MessagesDroppedNoSubscribers, 1);
            if let Some(watch) = &routes.watch {
                watch.count_dropped();
            }
            if context.wants(EventKind::MessageDropped) {
                self.tell_message_dropped(&queued.publish, origin, "no_subscribers", context);
            }
        }
        0
    }

    /// Gives a message to a member of a shared group; it is written down if that is needed, and the position returned.
    pub(crate) fn dispatch(
        &self,
        share: &Arc<ShareGroup>,
        queued: Queued,
        context: &mut Context,
    ) -> Result<u64, Queued> {
        let keeper = Keeper::of(&self.durable);
        let result = share.dispatch(queued, keeper.as_ref(), context);
        result.map(|()| keeper.map_or(0, |keeper| keeper.position())).map_err(|queued| {
            let why = Metric::DeliveryDroppedQueueFull;
            context.count(Metric::DeliveryDropped, 1);
            context.count(why, 1);
            let dropped = DroppedDelivery { queued, why };
            if context.wants(EventKind::DeliveryDropped) {
                self.tell_delivery_dropped(None, &dropped, context.now_ms());
            }
            dropped.queued
        })
    }

    /// Gives a message that a member of a shared group left behind or cannot take to another.
    pub(crate) fn dispatch_again(&self, queued: Queued, context: &mut Context) {
        match group_of(queued.extras.as_deref()) {
            Some(share) => {
                let _ = self.dispatch(&share, queued, context); // nobody to take it: counted there
            }
            None => self.drop_left_behind(queued, context), // it was the last member
        }
    }

    /// Counts a message of a shared group that has no members any more.
    #[cold]
    pub(crate) fn drop_left_behind(&self, queued: Queued, context: &mut Context) {
        context.count(Metric::DeliveryDropped, 1);
        context.count(Metric::DeliveryDroppedEnded, 1);
        if context.wants(EventKind::DeliveryDropped) {
            let dropped = DroppedDelivery { queued, why: Metric::DeliveryDroppedEnded };
            self.tell_delivery_dropped(None, &dropped, context.now_ms());
        }
    }

    pub(crate) fn tell_published(
        &self,
        publish: &Publish,
        routes: &Routes,
        origin: &Origin<'_>,
        completion: Option<Completion>,
        context: &Context,
    ) {
        let Some(tap) = self.tap() else { return };
        let properties = (!publish.properties().is_empty())
            .then(|| Arc::new(MessageProperties(publish.clone())) as Arc<dyn PublishProperties>);
        let event = PublishEvent {
            id: origin.message_id.unwrap_or_else(|| self.next_message_id(context.now_ms())),
            client_id: origin.client_id.clone(),
            username: origin.username.cloned(),
            peer: origin.peer,
            topic: Text::from(publish.topic_bytes()),
            payload: Text::from(publish.payload()),
            qos: publish.qos().as_u8(),
            retain: publish.retain(),
            dup: publish.dup(),
            properties,
            received_at_ms: context.now_ms(),
            node: self.node().clone(),
            client_attrs: origin.attributes.clone(),
            hops: origin.hops,
            republished_by: origin.republished_by.cloned(),
        };
        tap.published(&routes.rules, event.into(), completion);
    }

    /// Keeps a message whose RETAIN flag is set as the last one of its topic, or forgets that one if it is empty.
    pub(crate) fn retain(&self, publish: &Publish, origin: &Origin<'_>, context: &Context) -> Stored {
        let retained = match self.retention_of(publish, origin, 0, context) {
            Retention::Store(retained) => retained,
            Retention::Remove => {
                self.retained.remove(publish.topic());
                return Stored::Done;
            }
        };
        let max = match self.config().max_retained_messages {
            0 => 0,
            max => max.saturating_add(self.reports.retained()),
        };
        let stored = self.retained.store(retained, max);
        if stored == Stored::Done {
            context.count(Metric::MessagesRetained, 1);
            context.note_stays();
        }
        stored
    }

    /// Says what a message whose RETAIN flag is set does to the one of its topic.
    pub(crate) fn retention_of(
        &self,
        publish: &Publish,
        origin: &Origin<'_>,
        number: u64,
        context: &Context,
    ) -> Retention {
        let expiry_s = self.expiry_of(publish);
        let size = publish.payload_slice().len();
        // of one that is not kept nobody should get what it replaces
        if size == 0 || expiry_s == Some(0) || size > self.config().max_retained_payload_size {
            return Retention::Remove;
        }
        Retention::Store(Retained {
            publish: publish.clone(),
            received_at_ms: context.now_ms(),
            expires_at_ms: self.expires_at_ms(publish, origin.accepted_at_ms.unwrap_or(context.now_ms())),
            client_id: origin.client_id.clone(),
            publisher: origin.session,
            number,
        })
    }

    #[inline]
    fn expiry_of(&self, publish: &Publish) -> Option<u32> {
        publish.message_expiry_interval().or(self.config().message_expiry_interval_s)
    }

    /// When a message that was accepted at that time is no longer worth delivering.
    pub(crate) fn expires_at_ms(&self, publish: &Publish, accepted_at_ms: i64) -> i64 {
        self.expiry_of(publish).map_or(NEVER_MS, |expiry_s| expires_at(accepted_at_ms, expiry_s))
    }

    /// Says until when a message is to be kept and what its topic is then, if its topic asks for that.
    pub(crate) fn delay_of<'a>(&self, topic: &'a str, context: &Context) -> Option<Option<Delay<'a>>> {
        let asks = self.config().delayed_publish && topic.starts_with(delayed::PREFIX);
        asks.then(|| delayed::parse(topic, context.now_ms()))
    }

    /// Publishes a message that does not come from a connection: now, or later if its topic says so.
    pub(crate) fn publish_or_delay(
        &self,
        publish: Publish,
        origin: &Origin<'_>,
        will_of: Will,
        context: &mut Context,
    ) -> Result<usize, NotDelayed> {
        let Some(delay) = self.delay_of(publish.topic(), context) else {
            let published = self.publish_inside(publish, origin, will_of, context);
            return published.map_err(|_| NotDelayed::NotStored);
        };
        let delay = delay.ok_or(NotDelayed::Topic)?;
        let later = publish.with_topic(delay.topic).map_err(|_| NotDelayed::Topic)?;
        self.delay(later, delay.due_ms, origin, context).map(|_| 0).map_err(|_| NotDelayed::Full)
    }

    /// Publishes a message that the broker itself sends: a will, or one from inside.
    ///
    /// Refused when it has to be written down and the journal takes nothing; a will never is.
    pub(crate) fn publish_inside(
        &self,
        publish: Publish,
        origin: &Origin<'_>,
        will_of: Will,
        context: &mut Context,
    ) -> Result<usize, NotKept> {
        let routes = context.routes(self.routes(), publish.topic());
        if self.is_kept(&publish, &routes) {
            let cause = match will_of {
                Will::Of(Some(session)) => Cause::Will(session),
                Will::Of(None) | Will::Not => Cause::None,
            };
            return match self.publish_kept(publish.clone(), &routes, origin, cause, None, || (), context) {
                Ok(kept) => Ok(kept.taken),
                // delivered as ever; a store that is full keeps its old message
                Err(NotKept::RetainedFull) => Ok(self.route(publish, &routes, origin, None, context)),
                Err(NotKept::Journal) if will_of != Will::Not => {
                    Ok(self.route(publish, &routes, origin, None, context))
                }
                Err(NotKept::Journal) => Err(NotKept::Journal),
            };
        }
        if publish.retain() && self.config().retain_available {
            self.retain(&publish, origin, context);
        }
        Ok(self.route(publish, &routes, origin, None, context))
    }
}

/// Why a message that is for later was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotDelayed {
    /// Its topic does not say when, or not for which topic.
    Topic,
    /// There are too many.
    Full,
    /// It is for now, and has to be stored, and that is not possible.
    NotStored,
}

/// When a message expires. One that must be delivered at once or never has a moment to get through.
#[inline]
fn expires_at(now_ms: i64, expiry_s: u32) -> i64 {
    const AT_ONCE_MS: i64 = 500;
    now_ms + if expiry_s == 0 { AT_ONCE_MS } else { i64::from(expiry_s) * 1000 }
}

impl Publisher for Broker {
    fn publish(&self, message: NewMessage) -> Result<PublishReport, PublishError> {
        if self.is_stopping() {
            return Err(PublishError::Stopping);
        }
        let publish = self.build(&message)?;
        let mut context = self.call_context();
        let attributes = Map::new();
        let id = self.next_message_id(context.now_ms());
        let origin = Origin {
            client_id: &message.client_id,
            username: message.username.as_ref(),
            peer: None,
            session: 0,
            attributes: &attributes,
            hops: message.hops,
            republished_by: message.republished_by.as_ref(),
            runs_rules: !message.skip_rules,
            message_id: Some(id),
            accepted_at_ms: None,
        };
        let published = self.publish_or_delay(publish, &origin, Will::Not, &mut context);
        self.flush(context);
        match published {
            Ok(subscribers) => Ok(PublishReport { id, subscribers }),
            Err(NotDelayed::Topic) => Err(PublishError::Topic { topic: message.topic }),
            Err(NotDelayed::Full) => Err(PublishError::Full),
            Err(NotDelayed::NotStored) => Err(PublishError::NotStored),
        }
    }
}

impl Broker {
    fn build(&self, message: &NewMessage) -> Result<Publish, PublishError> {
        let wrong_topic = || PublishError::Topic { topic: message.topic.clone() };
        let name = message.topic.as_str().ok_or_else(wrong_topic)?;
        if topic::level_count(name) > self.config().max_topic_levels {
            return Err(wrong_topic());
        }
        let limit = self.config().max_packet_size as usize;
        let size = name.len() + message.payload.len();
        if size > limit {
            return Err(PublishError::TooLarge { size, limit });
        }
        let properties = properties::from_map(&message.properties)?;
        let builder = PublishBuilder {
            topic: name,
            payload: message.payload.as_bytes(),
            properties: properties.as_ref(),
            qos: properties::qos_of(message.qos).min(self.config().max_qos),
            retain: message.retain,
            ..PublishBuilder::default()
        };
        builder.build().map_err(|error| match error {
            BuildError::TooLarge { size } => PublishError::TooLarge { size, limit },
            BuildError::Topic(_) | BuildError::PropertyNotAllowed { .. } => wrong_topic(),
        })
    }
}
