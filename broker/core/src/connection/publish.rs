//! PUBLISH from a client.

use std::sync::Arc;

use broker_codec::{PacketId, Publish, QoS, ReasonCode, Version};
use engine_event::{Completion, EventKind, Text};

use super::{Connection, Flow, Open, Phase};
use crate::access::{Action, Decision, Requester, Verdict};
use crate::broker::Broker;
use crate::context::Context;
use crate::delayed;
use crate::durable::{Cause, NotKept};
use crate::metrics::Metric;
use crate::outgoing::Outgoing;
use crate::publishing::Origin;
use crate::retained::Stored;
use crate::rewrite::Renaming;
use crate::routes::{Routes, TopicKind};
use crate::session::{Profile, Received, Traffic};
use crate::system::is_system;

/// Why a PUBLISH goes no further.
enum Rejection {
    /// The connection ends.
    Fatal(ReasonCode, &'static str),
    /// The acknowledgement says so, and the message is dropped.
    Message(ReasonCode),
    /// The client may not publish it.
    Denied,
    /// It is to be published at that time.
    Later(Publish, i64),
    /// It cannot be stored: refused where the client can be told, else the connection ends.
    NotStored,
    /// It was there before; its acknowledgement is sent again, or is still to come.
    Repeated,
    /// Another connection has the session: who sends the message there again must not find it published already.
    SessionLost,
}

impl Connection {
    #[inline]
    pub(super) fn publish(&mut self, publish: Publish, context: &mut Context, out: &mut Outgoing) -> Flow {
        let Phase::Open(open) = &mut self.phase else { return Flow::Close };
        count_received(open, publish.qos(), context);
        if context.wants(EventKind::MessageDropped) {
            return self.publish_watched(publish, context, out);
        }
        let (packet_id, qos) = (publish.packet_id(), publish.qos());
        match self.publish_or_say_why(publish, context, out) {
            Ok(()) => Flow::Continue,
            Err(rejection) => self.reject(rejection, packet_id, qos, context, out),
        }
    }

    /// Publishes while a rule wants to hear of what is dropped, or somebody is followed.
    #[cold]
    fn publish_watched(&mut self, publish: Publish, context: &mut Context, out: &mut Outgoing) -> Flow {
        if context.has_traces()
            && let Phase::Open(open) = &self.phase
        {
            let aliases = open.received_aliases.as_ref().filter(|_| publish.topic().is_empty());
            let topic = aliases.zip(publish.topic_alias()).and_then(|(aliases, alias)| aliases.topic(alias));
            let (session, profile, now_ms) = (&open.session, &open.profile, context.now_ms());
            self.broker.trace_publish_received(session, profile, &publish, topic, now_ms);
        }
        let (packet_id, qos) = (publish.packet_id(), publish.qos());
        match self.publish_or_say_why(publish.clone(), context, out) {
            Ok(()) => Flow::Continue,
            Err(rejection) => {
                self.tell_rejected(&publish, &rejection, context);
                self.reject(rejection, packet_id, qos, context, out)
            }
        }
    }

    #[inline]
    fn publish_or_say_why(
        &mut self,
        publish: Publish,
        context: &mut Context,
        out: &mut Outgoing,
    ) -> Result<(), Rejection> {
        let Phase::Open(open) = &mut self.phase else { return Ok(()) };
        match open.accept(&self.broker, publish, context) {
            Ok(publish) => self.take_in(publish, context, out),
            Err(Rejection::Later(publish, due_ms)) => self.keep_for_later(publish, due_ms, context, out),
            Err(rejection) => Err(rejection),
        }
    }

    /// Tells rules of a message that goes no further.
    #[cold]
    fn tell_rejected(&self, publish: &Publish, rejection: &Rejection, context: &Context) {
        let Phase::Open(open) = &self.phase else { return };
        let reason = match rejection {
            Rejection::Denied => "not_authorized",
            Rejection::Message(ReasonCode::QUOTA_EXCEEDED) => "quota_exceeded",
            Rejection::Fatal(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED, _) => "receive_maximum_exceeded",
            Rejection::Fatal(ReasonCode::TOPIC_NAME_INVALID, _)
            | Rejection::Message(ReasonCode::TOPIC_NAME_INVALID) => "topic_name_invalid",
            _ => return, // it is not lost, or no message that the protocol knows
        };
        self.broker.tell_message_dropped(publish, &open.origin(), reason, context);
    }

    /// Takes in a message that is to be published later, and acknowledges it.
    #[cold]
    fn keep_for_later(
        &mut self,
        publish: Publish,
        due_ms: i64,
        context: &mut Context,
        out: &mut Outgoing,
    ) -> Result<(), Rejection> {
        let Phase::Open(open) = &mut self.phase else { return Ok(()) };
        let (qos, packet_id) = (publish.qos(), publish.packet_id());
        if let Some(packet_id) = packet_id {
            open.admit(self.outlet, packet_id, qos, false)?;
        }
        if self.broker.delay(publish, due_ms, &open.origin(), context).is_err() {
            return Err(Rejection::Message(ReasonCode::QUOTA_EXCEEDED));
        }
        if let Some(packet_id) = packet_id {
            open.acknowledge(packet_id, qos, ReasonCode::SUCCESS, context, out);
        }
        Ok(())
    }

    /// Publishes a message that passed the checks which need no lock.
    #[inline]
    fn take_in(
        &mut self,
        publish: Publish,
        context: &mut Context,
        out: &mut Outgoing,
    ) -> Result<(), Rejection> {
        let Phase::Open(open) = &mut self.phase else { return Ok(()) };
        let Some(routes) = open.last_routes.clone() else { return Ok(()) };
        let qos = publish.qos();
        let packet_id = publish.packet_id();
        let profile = Arc::clone(&open.profile);
        let session = Arc::clone(&open.session);
        let origin = Origin::of_client(&session, &profile);
        let is_kept = self.broker.is_kept(&publish, &routes);
        let Some(packet_id) = packet_id else {
            if is_kept {
                let kept =
                    self.broker.publish_kept(publish, &routes, &origin, Cause::None, None, || (), context);
                if kept.is_err() {
                    context.count(Metric::MessagesDropped, 1); // nobody can be told
                    self.broker.count_topic_dropped(&routes.topic);
                }
                return Ok(());
            }
            if publish.retain() {
                self.broker.retain(&publish, &origin, context);
            }
            self.broker.route(publish, &routes, &origin, None, context);
            return Ok(());
        };
        let holds_ms = routes.holds_acks_ms.filter(|_| self.broker.tap().is_some());
        open.admit(self.outlet, packet_id, qos, holds_ms.is_some())?;
        if is_kept {
            return self.take_in_kept(publish, &routes, &origin, packet_id, holds_ms, context, out);
        }
        if publish.retain() && self.broker.retain(&publish, &origin, context) == Stored::Full {
            self.broker.count_topic_dropped(&routes.topic);
            return Err(Rejection::Message(ReasonCode::QUOTA_EXCEEDED));
        }
        if let Some(holds_ms) = holds_ms {
            let ack = open.hold_ack(packet_id, qos, context.now_ms() + i64::from(holds_ms));
            let completion = self.completion(ack);
            self.broker.route(publish, &routes, &origin, completion, context);
            return Ok(());
        }
        let taken = self.broker.route(publish, &routes, &origin, None, context);
        let nobody = taken == 0 && routes.rules.is_empty();
        let code = if nobody { ReasonCode::NO_MATCHING_SUBSCRIBERS } else { ReasonCode::SUCCESS };
        open.acknowledge(packet_id, qos, code, context, out);
        Ok(())
    }

    /// Publishes a message that is written down: it is acknowledged when that is committed.
    #[allow(clippy::too_many_arguments)] // the rest of `take_in`
    fn take_in_kept(
        &mut self,
        publish: Publish,
        routes: &Routes,
        origin: &Origin<'_>,
        packet_id: PacketId,
        holds_ms: Option<u32>,
        context: &mut Context,
        out: &mut Outgoing,
    ) -> Result<(), Rejection> {
        let Phase::Open(open) = &mut self.phase else { return Ok(()) };
        let qos = publish.qos();
        let cause = match open.session.state_for(self.outlet) {
            Some(state) if state.durable && qos == QoS::ExactlyOnce && holds_ms.is_none() => {
                Cause::Received(state.key(), packet_id)
            }
            _ => Cause::None,
        };
        let due_ms = holds_ms.map(|holds_ms| context.now_ms() + i64::from(holds_ms));
        let ack = due_ms.map(|due_ms| open.hold_ack(packet_id, qos, due_ms));
        let (outlet, session) = (self.outlet, Arc::clone(&open.session));
        let completion = ack.and_then(|ack| self.completion(ack));
        let noted = || {
            if let Cause::Received(..) = cause
                && let Some(mut state) = session.state_for(outlet)
            {
                state.note_received(packet_id);
            }
        };
        let kept = self.broker.publish_kept(publish, routes, origin, cause, completion, noted, context);
        let Phase::Open(open) = &mut self.phase else { return Ok(()) };
        let kept = match kept {
            Ok(kept) => kept,
            Err(refused) => {
                if ack.is_some() {
                    open.give_up_ack();
                }
                self.forget_received(packet_id, context);
                self.broker.count_topic_dropped(&routes.topic);
                return Err(match refused {
                    NotKept::RetainedFull => Rejection::Message(ReasonCode::QUOTA_EXCEEDED),
                    NotKept::Journal => Rejection::NotStored,
                });
            }
        };
        if let Some(ack) = ack {
            open.ack_waits_for(ack, kept.position);
            return Ok(());
        }
        let nobody = kept.taken == 0 && routes.rules.is_empty();
        let code = if nobody { ReasonCode::NO_MATCHING_SUBSCRIBERS } else { ReasonCode::SUCCESS };
        if kept.position == 0 {
            open.acknowledge(packet_id, qos, code, context, out);
        } else {
            open.acknowledge_after(kept.position, packet_id, qos, code, context.now_ms());
        }
        Ok(())
    }

    /// Makes the obligation that the acknowledgement with that number waits for.
    fn completion(&self, ack: u64) -> Option<Completion> {
        let outlets = self.broker.outlets_handle()?;
        let outlet = self.outlet;
        Some(Completion::new(move |settled| outlets.settled(outlet, ack, settled)))
    }

    #[cold]
    fn reject(
        &mut self,
        rejection: Rejection,
        packet_id: Option<PacketId>,
        qos: QoS,
        context: &mut Context,
        out: &mut Outgoing,
    ) -> Flow {
        let Phase::Open(open) = &mut self.phase else { return Flow::Close };
        match (rejection, packet_id) {
            (Rejection::Fatal(code, reason), _) => {
                context.count(Metric::PublishError, 1);
                self.fail(code, reason, context, out)
            }
            (Rejection::Denied, packet_id) => {
                // before 5.0 an acknowledgement cannot say so
                let code = match open.profile.version() {
                    Version::V5 => ReasonCode::NOT_AUTHORIZED,
                    Version::V3 | Version::V4 => ReasonCode::SUCCESS,
                };
                self.reject(Rejection::Message(code), packet_id, qos, context, out)
            }
            (Rejection::NotStored, _) if open.profile.version() != Version::V5 => {
                context.count(Metric::PublishError, 1);
                self.fail(ReasonCode::QUOTA_EXCEEDED, "the message cannot be stored", context, out)
            }
            (Rejection::NotStored, packet_id) => {
                let rejection = Rejection::Message(ReasonCode::QUOTA_EXCEEDED);
                self.reject(rejection, packet_id, qos, context, out)
            }
            (Rejection::Message(code), packet_id) => {
                context.count(Metric::PublishError, 1);
                context.count(Metric::MessagesDropped, 1);
                if let Some(packet_id) = packet_id {
                    open.acknowledge(packet_id, qos, code, context, out);
                    if qos == QoS::ExactlyOnce {
                        self.forget_received(packet_id, context); // the identifier is free: what comes with it is new
                    }
                }
                Flow::Continue
            }
            (Rejection::Repeated, Some(packet_id)) => {
                context.count(Metric::PublishInUse, 1);
                if !open.holds_ack(packet_id, qos) {
                    open.acknowledge(packet_id, qos, ReasonCode::SUCCESS, context, out);
                }
                Flow::Continue
            }
            // of a lost session the connection is about to be told
            (Rejection::Repeated, None) | (Rejection::SessionLost | Rejection::Later(..), _) => {
                Flow::Continue
            }
        }
    }
}

impl Open {
    /// Resolves the topic alias, checks what the connection may publish, and finds the routes.
    #[inline]
    fn accept(
        &mut self,
        broker: &Broker,
        mut publish: Publish,
        context: &mut Context,
    ) -> Result<Publish, Rejection> {
        if let Some(alias) = publish.topic_alias() {
            publish = self.resolve_alias(publish, alias)?;
        }
        if publish.topic_has_wildcards() {
            return Err(self.bad_topic(&publish, "topic name has wildcards"));
        }
        if publish.qos() > self.max_qos {
            return Err(Rejection::Fatal(ReasonCode::QOS_NOT_SUPPORTED, "QoS not supported"));
        }
        if publish.retain() && !self.zone.retain_available {
            return Err(Rejection::Fatal(ReasonCode::RETAIN_NOT_SUPPORTED, "retain not supported"));
        }
        if broker.rewriter.renames_publishes() || self.profile.mountpoint.is_some() {
            return self.accept_renamed(broker, publish, context);
        }
        let topic = publish.topic();
        let known = self.last_routes.as_ref().filter(|routes| {
            routes.epoch == broker.routes().epoch() && routes.topic.as_bytes() == topic.as_bytes()
        });
        if known.is_none() {
            let routes = self.find_routes(broker, &publish, context)?;
            match routes.kind {
                TopicKind::Plain => {}
                TopicKind::System => return Err(self.deny(broker, &publish, context)),
                TopicKind::Delayed if !broker.config().delayed_publish => {}
                TopicKind::Delayed => return Err(self.accept_later(broker, &publish, context)),
            }
            self.last_routes = Some(routes);
        }
        if let Err(denied) = self.authorize(broker, &publish, publish.topic(), context) {
            broker.count_topic_dropped(publish.topic());
            return Err(denied);
        }
        Ok(publish)
    }

    fn find_routes(
        &self,
        broker: &Broker,
        publish: &Publish,
        context: &mut Context,
    ) -> Result<Arc<Routes>, Rejection> {
        let routes = context.routes(broker.routes(), publish.topic());
        if routes.levels > self.zone.max_topic_levels {
            return Err(self.bad_topic(publish, "topic name has too many levels"));
        }
        Ok(routes)
    }

    /// Asks whether the client may publish a message to a topic.
    #[inline]
    fn authorize(
        &self,
        broker: &Broker,
        publish: &Publish,
        topic: &str,
        context: &Context,
    ) -> Result<(), Rejection> {
        let is_asked = !self.allows_everything || context.wants(EventKind::ClientCheckAuthzComplete);
        if is_asked && !broker.may_publish(self.session.client_id(), &self.profile, (publish, topic), context)
        {
            context.count(Metric::PublishAuthError, 1);
            return Err(Rejection::Denied);
        }
        Ok(())
    }

    /// Refuses a message to a topic of the system.
    #[cold]
    fn deny(&self, broker: &Broker, publish: &Publish, context: &Context) -> Rejection {
        context.count(Metric::PublishAuthError, 1);
        let action = Action::Publish { topic: publish.topic(), qos: publish.qos(), retain: publish.retain() };
        let decision = Decision { verdict: Verdict::Deny, source: "default" };
        broker.tell_authorized(self.session.client_id(), &self.profile, action, decision, context);
        Rejection::Denied
    }

    /// Checks a message whose topic says when it is to be published.
    #[cold]
    fn accept_later(&mut self, broker: &Broker, publish: &Publish, context: &mut Context) -> Rejection {
        let Some(delay) = delayed::parse(publish.topic(), context.now_ms()) else {
            return Rejection::Message(ReasonCode::TOPIC_NAME_INVALID);
        };
        if is_system(delay.topic) {
            return self.deny(broker, publish, context);
        }
        if let Err(denied) = self.authorize(broker, publish, delay.topic, context) {
            return denied;
        }
        let renamed = broker.rewriter.publish(delay.topic, self.renaming());
        let later = publish.with_topic(renamed.as_deref().unwrap_or(delay.topic));
        match later.map(|later| self.mounted(later)) {
            Ok(Ok(later)) => Rejection::Later(later, delay.due_ms),
            Ok(Err(rejection)) => rejection,
            Err(_) => Rejection::Message(ReasonCode::TOPIC_NAME_INVALID),
        }
    }

    /// Gives a message its topic in the tree, with the mountpoint.
    fn mounted(&self, publish: Publish) -> Result<Publish, Rejection> {
        let Some(mountpoint) = &self.profile.mountpoint else { return Ok(publish) };
        let too_long = "topic name too long with its mountpoint";
        mountpoint.mount(&publish).map_err(|_| self.bad_topic(&publish, too_long))
    }

    /// Checks a message, and gives it the topic that the rules and its mountpoint say. The client is judged by the topic that it named.
    #[cold]
    fn accept_renamed(
        &mut self,
        broker: &Broker,
        mut publish: Publish,
        context: &mut Context,
    ) -> Result<Publish, Rejection> {
        if is_system(publish.topic()) {
            return Err(self.deny(broker, &publish, context));
        }
        if broker.config().delayed_publish && publish.topic().starts_with(delayed::PREFIX) {
            return Err(self.accept_later(broker, &publish, context));
        }
        self.authorize(broker, &publish, publish.topic(), context)?;
        if let Some(renamed) = broker.rewriter.publish(publish.topic(), self.renaming()) {
            publish = publish.with_topic(&renamed).map_err(|_| Rejection::Denied)?;
        }
        publish = self.mounted(publish)?;
        self.last_routes = Some(self.find_routes(broker, &publish, context)?);
        Ok(publish)
    }

    /// Says who it is whose topics are renamed.
    pub(super) fn renaming(&self) -> Renaming<'_> {
        Renaming {
            client_id: self.session.client_id().as_str().unwrap_or_default(),
            username: self.profile.username.as_ref().and_then(Text::as_str),
        }
    }

    fn origin(&self) -> Origin<'_> {
        Origin::of_client(&self.session, &self.profile)
    }

    fn bad_topic(&self, publish: &Publish, reason: &'static str) -> Rejection {
        if self.profile.version() == Version::V5 && publish.qos() > QoS::AtMostOnce {
            Rejection::Message(ReasonCode::TOPIC_NAME_INVALID)
        } else {
            Rejection::Fatal(ReasonCode::TOPIC_NAME_INVALID, reason)
        }
    }

    fn resolve_alias(&mut self, publish: Publish, alias: u16) -> Result<Publish, Rejection> {
        if alias > self.zone.max_topic_alias {
            let reason = "topic alias above the maximum";
            return Err(Rejection::Fatal(ReasonCode::TOPIC_ALIAS_INVALID, reason));
        }
        let aliases = self.received_aliases.get_or_insert_default();
        if !publish.topic().is_empty() {
            aliases.set(alias, publish.topic());
            return Ok(publish);
        }
        let unknown = || Rejection::Fatal(ReasonCode::PROTOCOL_ERROR, "unknown topic alias");
        let topic = aliases.topic(alias).ok_or_else(unknown)?;
        publish.with_topic(topic).map_err(|_| unknown())
    }

    /// Takes in the identifier of a message whose acknowledgement rules may hold back; finds repeated messages, and
    /// clients that send more than our Receive Maximum.
    #[inline]
    fn admit(
        &self,
        outlet: crate::ConnectionKey,
        packet_id: PacketId,
        qos: QoS,
        held_back: bool,
    ) -> Result<(), Rejection> {
        let held = self.held_acks();
        if qos == QoS::AtLeastOnce && held == 0 {
            return Ok(()); // acknowledged at once: the window has room, or the QoS 2 message that filled it failed
        }
        let Some(mut state) = self.session.state_for(outlet) else { return Err(Rejection::SessionLost) };
        if qos == QoS::ExactlyOnce
            && state.awaiting_release.iter().any(|received| received.packet_id == packet_id)
        {
            return Err(Rejection::Repeated);
        }
        if qos == QoS::AtLeastOnce && self.holds_ack(packet_id, qos) {
            return Err(Rejection::Repeated);
        }
        // a held PUBREC is in both: its message waits for its PUBREL too
        let open = held.max(state.awaiting_release.len());
        // older clients cannot know our maximum: they have at most as many under way as there are identifiers
        let is_told = self.profile.version() == Version::V5;
        if is_told && open >= usize::from(self.zone.receive_maximum) {
            return Err(Rejection::Fatal(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED, "receive maximum exceeded"));
        }
        if qos == QoS::ExactlyOnce {
            state.awaiting_release.push(Received { packet_id, held: held_back, durable: false });
        }
        Ok(())
    }
}

impl Broker {
    /// Asks whether a client may publish a message to a topic.
    pub(crate) fn may_publish(
        &self,
        client_id: &Text,
        profile: &Profile,
        (publish, topic): (&Publish, &str),
        context: &Context,
    ) -> bool {
        let action = Action::Publish { topic, qos: publish.qos(), retain: publish.retain() };
        if self.authorizer().allows_everything() || profile.identity.is_superuser {
            self.tell_authorized(client_id, profile, action, Decision::of_broker(profile, true), context);
            return true;
        }
        self.allows(client_id, profile, action, context)
    }

    pub(crate) fn allows(
        &self,
        client_id: &Text,
        profile: &Profile,
        action: Action<'_>,
        context: &Context,
    ) -> bool {
        let requester = Requester {
            client_id,
            username: profile.username.as_ref(),
            peer: profile.remote,
            listener: &profile.listener,
            identity: &profile.identity,
        };
        context.count(Metric::ClientAuthorize, 1);
        let decision = self.authorizer().decide(&requester, action);
        self.tell_authorized(client_id, profile, action, decision, context);
        let allowed = decision.verdict == Verdict::Allow;
        context.count(if allowed { Metric::AuthorizationAllow } else { Metric::AuthorizationDeny }, 1);
        allowed
    }
}

#[inline]
fn count_received(open: &Open, qos: QoS, context: &Context) {
    context.count(Metric::PublishReceived, 1);
    context.count(Metric::MessagesReceived, 1);
    let of_qos = match qos {
        QoS::AtMostOnce => Metric::MessagesQos0Received,
        QoS::AtLeastOnce => Metric::MessagesQos1Received,
        QoS::ExactlyOnce => Metric::MessagesQos2Received,
    };
    context.count(of_qos, 1);
    Traffic::add(&open.session.traffic().received_messages[usize::from(qos.as_u8())], 1);
}
