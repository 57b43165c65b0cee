//! Messages to a client.

use std::sync::Weak;

use broker_codec::{Ack, Packet, PacketId, QoS, ReasonCode};
use engine_event::{EventKind, Text};
use tracing::debug;

use super::aliases::SentAliases;
use super::{Connection, Open, Phase};
use crate::broker::Broker;
use crate::context::Context;
use crate::durable::{Durable, Keeper, Record};
use crate::message_events::DroppedDelivery;
use crate::metrics::Metric;
use crate::outgoing::{Outgoing, SHARE_LIMIT_BYTES};
use crate::routes::ShareGroup;
use crate::session::{Queued, Resend, Session, Stage, State, Traffic};

/// Counts of one filling, and what it changes of the connection.
#[derive(Default)]
struct Sent {
    packets: u64,
    by_qos: [u64; 3],
    aliases: Option<Box<SentAliases>>,
    /// Messages of shared groups that are too large for the client.
    refused: Vec<Queued>,
    /// What rules want to be told of.
    delivered: Vec<Queued>,
    dropped: Vec<DroppedDelivery>,
}

impl Connection {
    /// Puts what waits for the client into `out`, up to about `room` bytes there, and says whether more can follow at
    /// once.
    ///
    /// When nothing more can follow, the connection's key will be scheduled again once something does.
    pub fn fill(&mut self, room: usize, context: &mut Context, out: &mut Outgoing) -> bool {
        let Phase::Open(open) = &mut self.phase else { return false };
        let Some(mut state) = open.session.state_for(self.outlet) else { return false };
        let Some(live) = &mut state.live else { return false };
        live.blocked = false;
        if open.holds_messages_back() {
            live.scheduled = false;
            return false; // the caller will come again when that is sent
        }
        let window = live.window;
        let mut sent = Sent { aliases: open.sent_aliases.take(), ..Sent::default() };
        let durable = &self.broker.durable;
        let more = open.resend(&mut state, durable, window, room, &mut sent, context, out)
            || open.send_waiting(&mut state, durable, window, room, &mut sent, context, out);
        // who has not sent its own yet has no room for what waits with a group
        let has_room = state.waiting_len() < usize::from(window);
        let starving = if has_room { std::mem::take(&mut state.starving) } else { Vec::new() };
        if let Some(live) = &mut state.live {
            live.scheduled = more;
        }
        drop(state);
        sent.count(&open.session, context);
        open.sent_aliases = sent.aliases.take();
        if !(sent.delivered.is_empty() && sent.dropped.is_empty()) {
            sent.tell(&self.broker, open, context);
        }
        for queued in sent.refused {
            self.broker.dispatch_again(queued, context);
        }
        if starving.is_empty() {
            return more;
        }
        let keeper = Keeper::of(&self.broker.durable);
        more | open.feed(&starving, keeper.as_ref(), context)
    }

    /// Notes that the socket takes nothing at the moment: the caller will [`fill`](Connection::fill) when it does.
    pub fn block(&mut self) {
        let Phase::Open(open) = &self.phase else { return };
        if let Some(mut state) = open.session.state_for(self.outlet)
            && let Some(live) = &mut state.live
        {
            live.blocked = true;
            live.scheduled = true;
        }
    }
}

impl Open {
    /// Gets what waits with shared groups, as far as it can go out at once.
    #[cold]
    fn feed(
        &self,
        starving: &[Weak<ShareGroup>],
        keeper: Option<&Keeper<'_>>,
        context: &mut Context,
    ) -> bool {
        let groups = starving.iter().filter_map(Weak::upgrade);
        groups.fold(false, |fed, group| group.feed(&self.session, keeper, context) | fed)
    }

    /// Sends again what an earlier connection left unacknowledged, and what waited for the journal.
    #[allow(clippy::too_many_arguments)] // one loop, cut in two
    fn resend(
        &self,
        state: &mut State,
        durable: &Durable,
        window: u16,
        room: usize,
        sent: &mut Sent,
        context: &Context,
        out: &mut Outgoing,
    ) -> bool {
        if !state.inflight.has_unsent() {
            return false;
        }
        let committed = durable.progress().committed;
        while state.inflight.has_unsent() {
            if out.len() >= room {
                return true;
            }
            match state.inflight.resend(window, committed, context.now_ms()) {
                Some(Resend::Publish(packet_id, queued, before)) => {
                    // this connection may take less than the one before
                    let fits = !self.profile.is_too_large(queued, context.now_ms());
                    if !(fits && self.write(queued, Some(packet_id), before, sent, context, out)) {
                        match state.inflight.remove(packet_id) {
                            // what was begun as QoS 2 with one client must not go to another
                            Stage::Publish(queued) if queued.qos < QoS::ExactlyOnce => {
                                sent.refuse(queued, state, context);
                            }
                            Stage::Publish(queued) => {
                                if state.durable {
                                    let record = Record::Completed { session: state.key(), packet_id };
                                    durable.append(&record, context);
                                }
                                sent.drop(queued, state, Metric::DeliveryDroppedTooLarge, context);
                            }
                            Stage::Release | Stage::Free => {}
                        }
                    }
                }
                Some(Resend::Release(packet_id)) => {
                    context.count(Metric::PubRelSent, 1);
                    self.push(&Packet::PubRel(Ack::new(packet_id, ReasonCode::SUCCESS)), context, out);
                }
                None => return false,
            }
        }
        false
    }

    /// Sends what waits in the queue, as far as the window goes.
    #[allow(clippy::too_many_arguments)] // one loop, cut in two
    fn send_waiting(
        &self,
        state: &mut State,
        durable: &Durable,
        window: u16,
        room: usize,
        sent: &mut Sent,
        context: &Context,
        out: &mut Outgoing,
    ) -> bool {
        if state.inflight.has_unsent() {
            return false; // older messages go first
        }
        loop {
            let Some(next) = state.first_waiting() else { return false };
            if next.delivery != 0 && next.qos == QoS::ExactlyOnce && state.durable {
                self.stage(state, durable, window, sent, context);
                return false; // they go out, and what is behind them, when that is committed
            }
            if next.qos > QoS::AtMostOnce && state.inflight.sent() >= window {
                return false;
            }
            if out.len() >= room {
                return true;
            }
            let Some(queued) = state.dequeue() else { return false };
            let Some(queued) = self.fit(queued, state, sent, context) else { continue };
            let packet_id = (queued.qos > QoS::AtMostOnce).then(|| state.inflight.next_id());
            if !self.write(&queued, packet_id, queued.again, sent, context, out) {
                sent.drop(queued, state, Metric::DeliveryDroppedTooLarge, context);
            } else if packet_id.is_some() {
                state.inflight.push(queued, context.now_ms());
            }
        }
    }

    /// Gives the QoS 2 messages of a durable session that wait in front their packet identifiers, as far as the window
    /// goes, and writes those down: after a crash each goes out with the same one again.
    fn stage(&self, state: &mut State, durable: &Durable, window: u16, sent: &mut Sent, context: &Context) {
        while state.inflight.len() < usize::from(window)
            && let Some(next) = state.first_waiting()
            && next.delivery != 0
            && next.qos == QoS::ExactlyOnce
        {
            let Some(queued) = state.dequeue() else { return };
            let Some(queued) = self.fit(queued, state, sent, context) else { continue };
            let record = Record::Sent {
                session: state.key(),
                delivery: queued.delivery,
                packet_id: state.inflight.next_id(),
            };
            let position = durable.append(&record, context);
            state.inflight.stage_unsent(queued, position);
        }
    }

    /// Gives a message back unless it has expired or is too large for the client.
    #[inline]
    fn fit(&self, queued: Queued, state: &mut State, sent: &mut Sent, context: &Context) -> Option<Queued> {
        if queued.expires_at_ms <= context.now_ms() {
            sent.drop(queued, state, Metric::DeliveryDroppedExpired, context);
            return None;
        }
        if self.profile.is_too_large(&queued, context.now_ms()) {
            sent.refuse(queued, state, context);
            return None;
        }
        Some(queued)
    }

    /// Writes a message, and says whether that was possible.
    #[inline]
    fn write(
        &self,
        queued: &Queued,
        packet_id: Option<PacketId>,
        dup: bool,
        sent: &mut Sent,
        context: &Context,
        out: &mut Outgoing,
    ) -> bool {
        let mut delivery = self.profile.delivery(queued, context.now_ms());
        delivery.packet_id = packet_id;
        delivery.dup = dup;
        let publish = self.profile.unmounted(&queued.publish);
        if let Some(aliases) = &mut sent.aliases {
            delivery.topic_alias = aliases.choose(&publish, &delivery, &self.profile.peer);
        }
        let shared = publish.payload_slice().len() >= SHARE_LIMIT_BYTES;
        let encoded = if shared {
            delivery.encode_head(&publish, out.buffer())
        } else {
            delivery.encode(&publish, out.buffer())
        };
        match &encoded {
            Ok(_) => {
                if shared {
                    out.push_shared(publish.payload());
                }
                sent.packets += 1;
                if !dup && (context.wants(EventKind::MessageDelivered) | queued.trail.is_some()) {
                    sent.note_delivered(self.session.client_id(), queued, context);
                }
                sent.by_qos[queued.qos as usize] += 1;
            }
            Err(error) => debug!(%error, "message not sent"),
        }
        encoded.is_ok()
    }
}

impl Sent {
    /// Takes a message that the client cannot take: one of a shared group is for another member.
    #[cold]
    fn refuse(&mut self, queued: Queued, state: &mut State, context: &Context) {
        if queued.extras.as_ref().is_some_and(|extras| extras.share.is_some()) {
            state.note_done(queued.delivery, context); // another member gets a delivery of its own
            self.refused.push(queued);
        } else {
            self.drop(queued, state, Metric::DeliveryDroppedTooLarge, context);
        }
    }

    /// Notes a message that the client is sent for the first time.
    #[cold]
    fn note_delivered(&mut self, client_id: &Text, queued: &Queued, context: &Context) {
        if let Some(trail) = &queued.trail {
            trail.note_sent(queued.qos);
            context.note_sent(client_id, queued);
        }
        if context.wants(EventKind::MessageDelivered) {
            self.delivered.push(queued.clone());
        }
    }

    /// Counts a message that the client does not get.
    #[cold]
    fn drop(&mut self, queued: Queued, state: &mut State, why: Metric, context: &Context) {
        state.dropped.count(why);
        state.note_done(queued.delivery, context);
        context.count(Metric::DeliveryDropped, 1);
        context.count(why, 1);
        if context.wants(EventKind::DeliveryDropped) {
            self.dropped.push(DroppedDelivery { queued, why });
        }
    }

    /// Tells rules what became of the messages.
    #[cold]
    fn tell(&mut self, broker: &Broker, open: &Open, context: &Context) {
        for queued in std::mem::take(&mut self.delivered) {
            broker.tell_delivered(&open.session, &open.profile, &queued, context.now_ms());
        }
        let receiver = (open.session.client_id(), &*open.profile);
        for dropped in std::mem::take(&mut self.dropped) {
            broker.tell_delivery_dropped(Some(receiver), &dropped, context.now_ms());
        }
    }

    fn count(&self, session: &Session, context: &Context) {
        if self.packets == 0 {
            return;
        }
        context.count(Metric::PacketsSent, self.packets);
        context.count(Metric::PublishSent, self.packets);
        context.count(Metric::MessagesSent, self.packets);
        context.count(Metric::MessagesDelivered, self.packets);
        let by_qos = [Metric::MessagesQos0Sent, Metric::MessagesQos1Sent, Metric::MessagesQos2Sent];
        let of_client = &session.traffic().sent_messages;
        for ((metric, of_client), count) in by_qos.into_iter().zip(of_client).zip(self.by_qos) {
            context.count(metric, count);
            Traffic::add(of_client, count);
        }
        Traffic::add(&session.traffic().sent_packets, self.packets);
    }
}
