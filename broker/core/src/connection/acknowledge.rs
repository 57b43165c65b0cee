//! Acknowledgements, both ways, and what waits for the journal.

use std::collections::VecDeque;

use broker_codec::{Ack, Packet, PacketId, Properties, QoS, ReasonCode, Version};
use engine_event::{EventKind, Settled};

use super::{Connection, Flow, Open, Phase};
use crate::context::Context;
use crate::durable::{Commit, Progress, Record};
use crate::lifecycle::WillFate;
use crate::metrics::Metric;
use crate::outgoing::Outgoing;
use crate::reason::CloseReason;
use crate::session::{Queued, Stage, State, Traffic};

/// Packets that are held back before nothing more is read.
const HELD_MAX: usize = 4096;

/// Acknowledgements that wait for rules, and those that wait behind them: they go out in the order of the messages.
#[derive(Debug, Default)]
pub(super) struct PendingAcks {
    queue: VecDeque<PendingAck>,
    /// The number of the first in the queue.
    first: u64,
}

#[derive(Debug)]
struct PendingAck {
    packet_id: PacketId,
    qos: QoS,
    /// When waiting for the outcome is given up.
    due_ms: i64,
    /// The code to send, once it is known.
    outcome: Option<ReasonCode>,
    /// It is sent when the journal is committed up to here.
    position: u64,
}

/// Packets that go out when the journal is committed up to their positions, in that order.
#[derive(Debug, Default)]
pub(super) struct HeldPackets {
    queue: VecDeque<(u64, Packet)>,
    /// How many of them no message may overtake.
    first: usize,
}

impl HeldPackets {
    /// Says whether a packet must go out before any message: CONNACK, SUBACK.
    fn comes_first(packet: &Packet) -> bool {
        matches!(packet, Packet::ConnAck(_) | Packet::SubAck(_))
    }

    fn push(&mut self, position: u64, packet: Packet) {
        self.first += usize::from(Self::comes_first(&packet));
        self.queue.push_back((position, packet));
    }

    fn pop(&mut self) -> Option<Packet> {
        let (_, packet) = self.queue.pop_front()?;
        self.first -= usize::from(Self::comes_first(&packet));
        Some(packet)
    }

    fn holds_connack(&self) -> bool {
        matches!(self.queue.front(), Some((_, Packet::ConnAck(_))))
    }
}

impl PendingAcks {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    fn push(
        &mut self,
        packet_id: PacketId,
        qos: QoS,
        outcome: Option<ReasonCode>,
        position: u64,
        due_ms: i64,
    ) -> u64 {
        let number = self.first + self.queue.len() as u64;
        self.queue.push_back(PendingAck { packet_id, qos, due_ms, outcome, position });
        number
    }

    fn contains(&self, packet_id: PacketId, qos: QoS) -> bool {
        self.queue.iter().any(|ack| ack.packet_id == packet_id && ack.qos == qos)
    }

    fn settle(&mut self, number: u64, outcome: ReasonCode) {
        if let Some(ack) = self.get_mut(number) {
            ack.outcome.get_or_insert(outcome);
        }
    }

    /// Has an acknowledgement wait for the journal too.
    fn wait_for(&mut self, number: u64, position: u64) {
        if let Some(ack) = self.get_mut(number) {
            ack.position = ack.position.max(position);
        }
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut PendingAck> {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok())?;
        self.queue.get_mut(index)
    }

    /// Takes the first if all that it waits for has come to an end; gives what became of its record too.
    fn pop_settled(&mut self, progress: Progress) -> Option<(PacketId, QoS, ReasonCode, Commit)> {
        let front = self.queue.front()?;
        let outcome = front.outcome?;
        let commit = progress.of(front.position)?;
        let ack = self.queue.pop_front()?;
        self.first += 1;
        Some((ack.packet_id, ack.qos, outcome, commit))
    }

    fn waits_for_journal(&self) -> bool {
        self.queue.front().is_some_and(|ack| ack.position > 0)
    }
}

impl Open {
    /// Reserves the acknowledgement of a message that rules hold back until `due_ms` at most, and returns its number.
    pub(super) fn hold_ack(&mut self, packet_id: PacketId, qos: QoS, due_ms: i64) -> u64 {
        self.acks.get_or_insert_default().push(packet_id, qos, None, 0, due_ms)
    }

    /// Takes back the acknowledgement that was reserved last.
    pub(super) fn give_up_ack(&mut self) {
        if let Some(acks) = &mut self.acks {
            acks.queue.pop_back();
        }
    }

    /// Says whether the acknowledgement of that message is still to come.
    pub(super) fn holds_ack(&self, packet_id: PacketId, qos: QoS) -> bool {
        self.acks.as_ref().is_some_and(|acks| acks.contains(packet_id, qos))
    }

    /// Returns how many acknowledgements are held back.
    pub(super) fn held_acks(&self) -> usize {
        self.acks.as_ref().map_or(0, |acks| acks.len())
    }

    /// Acknowledges a message, behind those that are held back.
    #[inline]
    pub(super) fn acknowledge(
        &mut self,
        packet_id: PacketId,
        qos: QoS,
        code: ReasonCode,
        context: &Context,
        out: &mut Outgoing,
    ) {
        match &mut self.acks {
            Some(acks) if acks.len() > 0 => {
                acks.push(packet_id, qos, Some(code), 0, context.now_ms());
            }
            _ => self.send_ack(packet_id, qos, code, context, out),
        }
    }

    /// Acknowledges a message once the journal is committed up to `position`.
    pub(super) fn acknowledge_after(
        &mut self,
        position: u64,
        packet_id: PacketId,
        qos: QoS,
        code: ReasonCode,
        now_ms: i64,
    ) {
        self.acks.get_or_insert_default().push(packet_id, qos, Some(code), position, now_ms);
    }

    /// Has an acknowledgement that rules hold back wait for the journal too.
    pub(super) fn ack_waits_for(&mut self, ack: u64, position: u64) {
        if let Some(acks) = &mut self.acks {
            acks.wait_for(ack, position);
        }
    }

    /// Sends a packet once the journal is committed up to `position`, behind those that wait already; at once for 0.
    pub(super) fn push_after(
        &mut self,
        position: u64,
        packet: Packet,
        context: &Context,
        out: &mut Outgoing,
    ) -> bool {
        if position == 0 && self.held.as_ref().is_none_or(|held| held.queue.is_empty()) {
            return self.push(&packet, context, out);
        }
        self.held.get_or_insert_default().push(position, packet);
        true
    }

    /// Says whether a packet is held back that no message may overtake.
    #[inline]
    pub(super) fn holds_messages_back(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.first > 0)
    }

    /// Says whether CONNACK itself is held back: nothing may be sent before it.
    pub(super) fn holds_connack(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.holds_connack())
    }

    /// Says whether there is a will with a delay.
    pub(super) fn will_waits(&self) -> bool {
        self.session.state().will.as_ref().is_some_and(|will| will.delay_s > 0)
    }

    fn send_ack(
        &self,
        packet_id: PacketId,
        qos: QoS,
        code: ReasonCode,
        context: &Context,
        out: &mut Outgoing,
    ) {
        let mut ack = Ack::new(packet_id, code);
        if code.is_error() && self.profile.version() == Version::V5 {
            ack.properties = Properties::with_reason_string(code.name());
        }
        let (packet, metric) = match qos {
            QoS::ExactlyOnce => (Packet::PubRec(ack), Metric::PubRecSent),
            QoS::AtMostOnce | QoS::AtLeastOnce => (Packet::PubAck(ack), Metric::PubAckSent),
        };
        context.count(metric, 1);
        self.push(&packet, context, out);
    }

    /// Puts a packet for the client into `out`, and says whether the client takes it.
    pub(super) fn push(&self, packet: &Packet, context: &Context, out: &mut Outgoing) -> bool {
        let written = out.push_packet(packet, &self.profile.peer);
        if context.has_traces() && written {
            context.trace_sent(&self.session, &self.profile, packet);
        }
        if written {
            context.count(Metric::PacketsSent, 1);
            Traffic::add(&self.session.traffic().sent_packets, 1);
        }
        written
    }
}

impl Connection {
    /// Takes the news that the obligation of an acknowledgement has settled, and sends what is no longer held back.
    ///
    /// The caller flushes. A client of MQTT 3 is not told of a failure; its connection closes, so that it sends again.
    pub fn settled(&mut self, ack: u64, settled: Settled, context: &mut Context, out: &mut Outgoing) -> Flow {
        let Phase::Open(open) = &mut self.phase else { return Flow::Close };
        let outcome = match settled {
            Settled::Ok => ReasonCode::SUCCESS,
            Settled::Failed => ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
        };
        let Some(acks) = &mut open.acks else { return Flow::Continue };
        acks.settle(ack, outcome);
        // known until its PUBREL, on any connection, before the client may rely on that
        let received = acks.get_mut(ack).filter(|ack| ack.qos == QoS::ExactlyOnce && !outcome.is_error());
        if let Some(packet_id) = received.map(|ack| ack.packet_id) {
            let position = self.keep_received(packet_id, context);
            let Phase::Open(open) = &mut self.phase else { return Flow::Close };
            open.ack_waits_for(ack, position);
        }
        self.send_settled(context, out)
    }

    /// Sends what waited for the journal, as far as that is committed. The caller flushes.
    ///
    /// What could not be written down ends the connection, so that the client does it again; messages of a client of
    /// 5.0 are refused.
    pub fn committed(&mut self, context: &mut Context, out: &mut Outgoing) -> Flow {
        let progress = self.broker.durable.progress();
        loop {
            let Phase::Open(open) = &mut self.phase else { return Flow::Close };
            let Some(held) = &mut open.held else { break };
            let Some((position, _)) = held.queue.front() else { break };
            match progress.of(*position) {
                Some(Commit::Done) => {
                    let Some(packet) = held.pop() else { break };
                    let connack = matches!(packet, Packet::ConnAck(_));
                    if !open.push(&packet, context, out) && connack {
                        return self.connack_too_large(context);
                    }
                }
                Some(Commit::Failed) => return self.not_committed(context, out),
                None => break,
            }
        }
        self.send_settled(context, out)
    }

    #[cold]
    fn not_committed(&mut self, context: &mut Context, out: &mut Outgoing) -> Flow {
        let Phase::Open(open) = &self.phase else { return Flow::Close };
        let reason = "the session cannot be stored";
        let code = ReasonCode::QUOTA_EXCEEDED;
        if open.holds_connack() {
            let peer = open.profile.peer;
            self.refuse(&peer, code, reason, context, out);
            self.end(
                CloseReason::InternalError,
                WillFate::Discard,
                None,
                broker_codec::PropertiesRef::default(),
                context,
            );
            return Flow::Close;
        }
        self.fail(code, reason, context, out)
    }

    /// Says whether something waits for the journal; [`Connection::committed`] is to be called when that has moved.
    #[inline]
    pub fn waits_for_journal(&self) -> bool {
        let Phase::Open(open) = &self.phase else { return false };
        open.acks.as_ref().is_some_and(|acks| acks.waits_for_journal())
            || open.held.as_ref().is_some_and(|held| !held.queue.is_empty())
            || open.durable && open.session.state().inflight.waits_for().is_some()
    }

    /// Gives up on acknowledgements that have been held back for too long.
    pub fn expire_acks(&mut self, context: &mut Context, out: &mut Outgoing) -> Flow {
        let Phase::Open(open) = &mut self.phase else { return Flow::Close };
        let Some(acks) = &mut open.acks else { return Flow::Continue };
        for ack in acks.queue.iter_mut().filter(|ack| ack.due_ms <= context.now_ms()) {
            ack.outcome.get_or_insert(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR);
        }
        self.send_settled(context, out)
    }

    /// Says whether so many acknowledgements are held back that nothing more should be read until some have settled.
    ///
    /// A client of 5.0 knows our Receive Maximum and is held to it; older ones cannot know, and have to wait.
    #[inline]
    pub fn is_saturated(&self) -> bool {
        let Phase::Open(open) = &self.phase else { return false };
        if open.held.as_ref().is_some_and(|held| held.holds_connack() || held.queue.len() >= HELD_MAX) {
            return true;
        }
        let held = open.held_acks();
        if held > 0 && self.broker.durable.is_congested() {
            return true;
        }
        held > 0 && open.profile.version() != Version::V5 && held >= usize::from(open.zone.receive_maximum)
    }

    /// Says whether acknowledgements are held back.
    pub fn has_held_acks(&self) -> bool {
        matches!(&self.phase, Phase::Open(open) if open.held_acks() > 0)
    }

    fn send_settled(&mut self, context: &mut Context, out: &mut Outgoing) -> Flow {
        loop {
            let Phase::Open(open) = &mut self.phase else { return Flow::Close };
            let Some(acks) = open.acks.as_mut().filter(|acks| acks.len() > 0) else { return Flow::Continue };
            let progress = self.broker.durable.progress();
            let Some((packet_id, qos, outcome, commit)) = acks.pop_settled(progress) else {
                return Flow::Continue;
            };
            let code = match commit {
                Commit::Done => outcome,
                Commit::Failed => ReasonCode::QUOTA_EXCEEDED,
            };
            if qos == QoS::ExactlyOnce && code.is_error() {
                self.forget_received(packet_id, context);
            }
            let Phase::Open(open) = &mut self.phase else { return Flow::Close };
            let untold = code == ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR || commit == Commit::Failed;
            if untold && open.profile.version() != Version::V5 {
                return self.fail(code, "the message could not be taken", context, out);
            }
            open.send_ack(packet_id, qos, code, context, out);
        }
    }

    /// Forgets a received QoS 2 message: sent again, it is new.
    pub(super) fn forget_received(&self, packet_id: PacketId, context: &Context) {
        let Phase::Open(open) = &self.phase else { return };
        let Some(mut state) = open.session.state_for(self.outlet) else { return };
        let mut received = state.awaiting_release.iter();
        let Some(index) = received.position(|received| received.packet_id == packet_id) else { return };
        if state.awaiting_release.remove(index).durable {
            let record = Record::ReceivedRelease { session: state.key(), packet_id };
            self.broker.durable.append(&record, context);
        }
    }

    /// Notes that the rules of a received QoS 2 message have settled: it is known until its PUBREL, on any connection.
    /// Returns the position of the journal where that is written down.
    fn keep_received(&self, packet_id: PacketId, context: &Context) -> u64 {
        let Phase::Open(open) = &self.phase else { return 0 };
        let Some(mut state) = open.session.state_for(self.outlet) else { return 0 };
        let session = state.key();
        let durable = state.durable;
        let mut received = state.awaiting_release.iter_mut();
        let Some(received) = received.find(|received| received.packet_id == packet_id) else { return 0 };
        received.held = false;
        if !durable || std::mem::replace(&mut received.durable, true) {
            return 0;
        }
        self.broker.durable.append(&Record::Received { session, packet_id }, context)
    }

    pub(super) fn puback(&mut self, ack: &Ack, context: &mut Context) {
        self.finish(ack, QoS::AtLeastOnce, Metric::PubAckMissed, context);
    }

    pub(super) fn pubrec(&mut self, ack: &Ack, context: &mut Context, out: &mut Outgoing) {
        if ack.reason.is_error() {
            self.finish(ack, QoS::ExactlyOnce, Metric::PubRecMissed, context);
            return;
        }
        let Phase::Open(open) = &self.phase else { return };
        let Some(mut state) = open.session.state_for(self.outlet) else { return };
        let mut received = Stage::Free;
        let sent_at_ms = state.inflight.sent_at_ms(ack.packet_id);
        let mut position = 0;
        let known = match state.inflight.stage(ack.packet_id) {
            Stage::Publish(queued) if queued.qos == QoS::ExactlyOnce => {
                received = state.inflight.release(ack.packet_id);
                if state.durable {
                    let record = Record::Released { session: state.key(), packet_id: ack.packet_id };
                    position = self.broker.durable.append(&record, context);
                }
                true
            }
            Stage::Release => true,
            Stage::Publish(_) | Stage::Free => false,
        };
        drop(state);
        self.tell_acked(&received, sent_at_ms, ack, context);
        let code = if known {
            ReasonCode::SUCCESS
        } else {
            context.count(Metric::PubRecMissed, 1);
            ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
        };
        context.count(Metric::PubRelSent, 1);
        let Phase::Open(open) = &mut self.phase else { return };
        open.push_after(position, Packet::PubRel(Ack::new(ack.packet_id, code)), context, out);
    }

    pub(super) fn pubcomp(&mut self, ack: &Ack, context: &mut Context) {
        let Phase::Open(open) = &self.phase else { return };
        let Some(mut state) = open.session.state_for(self.outlet) else { return };
        if matches!(state.inflight.stage(ack.packet_id), Stage::Release) {
            state.inflight.remove(ack.packet_id);
            self.complete(&state, ack.packet_id, context);
            context.count(Metric::MessagesAcked, 1);
            state.schedule_waiting(context);
        } else {
            context.count(Metric::PubCompMissed, 1);
        }
    }

    /// Writes down that a QoS 2 delivery is over. Nobody waits for it: what is lost is released again.
    fn complete(&self, state: &State, packet_id: PacketId, context: &Context) {
        if state.durable {
            self.broker.durable.append(&Record::Completed { session: state.key(), packet_id }, context);
        }
    }

    pub(super) fn pubrel(&mut self, ack: &Ack, context: &mut Context, out: &mut Outgoing) {
        let Phase::Open(open) = &mut self.phase else { return };
        let Some(mut state) = open.session.state_for(self.outlet) else { return };
        let mut received = state.awaiting_release.iter();
        let found = received.position(|received| received.packet_id == ack.packet_id);
        let mut position = 0;
        if let Some(index) = found
            && state.awaiting_release.remove(index).durable
        {
            let record = Record::ReceivedRelease { session: state.key(), packet_id: ack.packet_id };
            position = self.broker.durable.append(&record, context);
        }
        drop(state);
        let code = if found.is_some() {
            ReasonCode::SUCCESS
        } else {
            context.count(Metric::PubRelMissed, 1);
            ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
        };
        context.count(Metric::PubCompSent, 1);
        open.push_after(position, Packet::PubComp(Ack::new(ack.packet_id, code)), context, out);
    }

    /// Ends a delivery that the client has acknowledged or refused.
    fn finish(&mut self, ack: &Ack, qos: QoS, missed: Metric, context: &mut Context) {
        let Phase::Open(open) = &self.phase else { return };
        let Some(mut state) = open.session.state_for(self.outlet) else { return };
        if state.inflight.awaits(ack.packet_id, qos) {
            let finished = state.inflight.remove(ack.packet_id);
            let sent_at_ms = state.inflight.sent_at_ms(ack.packet_id);
            match &finished {
                _ if qos == QoS::ExactlyOnce => self.complete(&state, ack.packet_id, context),
                Stage::Publish(queued) => state.note_done(queued.delivery, context),
                Stage::Release | Stage::Free => {}
            }
            context.count(Metric::MessagesAcked, 1);
            state.schedule_waiting(context);
            drop(state);
            self.tell_acked(&finished, sent_at_ms, ack, context);
        } else {
            context.count(missed, 1);
        }
    }

    /// Tells those who want to hear of it of a message that the client has taken or refused.
    #[inline]
    fn tell_acked(&self, acknowledged: &Stage, sent_at_ms: i64, ack: &Ack, context: &Context) {
        if let Stage::Publish(queued) = acknowledged
            && (context.wants(EventKind::MessageAcked) | queued.trail.is_some())
        {
            self.tell_acked_now(queued, sent_at_ms, ack, context);
        }
    }

    #[cold]
    fn tell_acked_now(&self, queued: &Queued, sent_at_ms: i64, ack: &Ack, context: &Context) {
        let Phase::Open(open) = &self.phase else { return };
        if queued.trail.is_some() {
            context.note_acked(open.session.client_id(), queued, sent_at_ms);
        }
        // one that the client refused is not acknowledged
        if context.wants(EventKind::MessageAcked) && !ack.reason.is_error() {
            let (session, properties) = (&open.session, ack.properties.as_ref());
            self.broker.tell_acked(session, &open.profile, queued, properties, context.now_ms());
        }
    }
}
