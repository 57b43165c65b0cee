//! Acknowledgements, both ways.

use std::collections::VecDeque;

use broker_codec::{Ack, Packet, PacketId, Properties, QoS, ReasonCode, Version};
use engine_event::{EventKind, Settled};

use super::{Connection, Flow, Open, Phase};
use crate::context::Context;
use crate::metrics::Metric;
use crate::outgoing::Outgoing;
use crate::session::{Stage, Traffic};

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
}

impl PendingAcks {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    fn push(&mut self, packet_id: PacketId, qos: QoS, outcome: Option<ReasonCode>, due_ms: i64) -> u64 {
        let number = self.first + self.queue.len() as u64;
        self.queue.push_back(PendingAck { packet_id, qos, due_ms, outcome });
        number
    }

    fn contains(&self, packet_id: PacketId, qos: QoS) -> bool {
        self.queue.iter().any(|ack| ack.packet_id == packet_id && ack.qos == qos)
    }

    fn settle(&mut self, number: u64, outcome: ReasonCode) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(ack) = index.and_then(|index| self.queue.get_mut(index)) {
            ack.outcome.get_or_insert(outcome);
        }
    }

    fn pop_settled(&mut self) -> Option<(PacketId, QoS, ReasonCode)> {
        let outcome = self.queue.front()?.outcome?;
        let ack = self.queue.pop_front()?;
        self.first += 1;
        Some((ack.packet_id, ack.qos, outcome))
    }
}

impl Open {
    /// Reserves the acknowledgement of a message that rules hold back until `due_ms` at most, and returns its number.
    pub(super) fn hold_ack(&mut self, packet_id: PacketId, qos: QoS, due_ms: i64) -> u64 {
        self.acks.get_or_insert_default().push(packet_id, qos, None, due_ms)
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
                acks.push(packet_id, qos, Some(code), context.now_ms());
            }
            _ => self.send_ack(packet_id, qos, code, context, out),
        }
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
        if let Some(acks) = &mut open.acks {
            acks.settle(ack, outcome);
        }
        self.send_settled(context, out)
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
        let held = open.held_acks();
        held > 0
            && open.profile.version() != Version::V5
            && held >= usize::from(self.broker.config().receive_maximum)
    }

    /// Says whether acknowledgements are held back.
    pub fn has_held_acks(&self) -> bool {
        matches!(&self.phase, Phase::Open(open) if open.held_acks() > 0)
    }

    fn send_settled(&mut self, context: &mut Context, out: &mut Outgoing) -> Flow {
        loop {
            let Phase::Open(open) = &mut self.phase else { return Flow::Close };
            let Some((packet_id, qos, code)) = open.acks.as_mut().and_then(|acks| acks.pop_settled()) else {
                return Flow::Continue;
            };
            if qos == QoS::ExactlyOnce {
                if code.is_error() {
                    self.forget_received(packet_id);
                } else {
                    self.keep_received(packet_id);
                }
            }
            let Phase::Open(open) = &mut self.phase else { return Flow::Close };
            if code == ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR && open.profile.version() != Version::V5 {
                return self.fail(code, "a rule could not take the message", context, out);
            }
            open.send_ack(packet_id, qos, code, context, out);
        }
    }

    /// Forgets a received QoS 2 message: sent again, it is new.
    pub(super) fn forget_received(&self, packet_id: PacketId) {
        let Phase::Open(open) = &self.phase else { return };
        if let Some(mut state) = open.session.state_for(self.outlet) {
            state.awaiting_release.retain(|received| received.packet_id != packet_id);
        }
    }

    /// Notes that the rules of a received QoS 2 message have settled: it is known until its PUBREL, on any connection.
    fn keep_received(&self, packet_id: PacketId) {
        let Phase::Open(open) = &self.phase else { return };
        let Some(mut state) = open.session.state_for(self.outlet) else { return };
        let mut received = state.awaiting_release.iter_mut();
        if let Some(received) = received.find(|received| received.packet_id == packet_id) {
            received.held = false;
        }
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
        let known = match state.inflight.stage(ack.packet_id) {
            Stage::Publish(queued) if queued.qos == QoS::ExactlyOnce => {
                received = state.inflight.release(ack.packet_id);
                true
            }
            Stage::Release => true,
            Stage::Publish(_) | Stage::Free => false,
        };
        drop(state);
        self.tell_acked(&received, ack, context);
        let code = if known {
            ReasonCode::SUCCESS
        } else {
            context.count(Metric::PubRecMissed, 1);
            ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
        };
        context.count(Metric::PubRelSent, 1);
        open.push(&Packet::PubRel(Ack::new(ack.packet_id, code)), context, out);
    }

    pub(super) fn pubcomp(&mut self, ack: &Ack, context: &mut Context) {
        let Phase::Open(open) = &self.phase else { return };
        let Some(mut state) = open.session.state_for(self.outlet) else { return };
        if matches!(state.inflight.stage(ack.packet_id), Stage::Release) {
            state.inflight.remove(ack.packet_id);
            context.count(Metric::MessagesAcked, 1);
            state.schedule_waiting(context);
        } else {
            context.count(Metric::PubCompMissed, 1);
        }
    }

    pub(super) fn pubrel(&mut self, ack: &Ack, context: &mut Context, out: &mut Outgoing) {
        let Phase::Open(open) = &self.phase else { return };
        let Some(mut state) = open.session.state_for(self.outlet) else { return };
        let mut received = state.awaiting_release.iter();
        let found = received.position(|received| received.packet_id == ack.packet_id);
        if let Some(index) = found {
            state.awaiting_release.remove(index);
        }
        drop(state);
        let code = if found.is_some() {
            ReasonCode::SUCCESS
        } else {
            context.count(Metric::PubRelMissed, 1);
            ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
        };
        context.count(Metric::PubCompSent, 1);
        open.push(&Packet::PubComp(Ack::new(ack.packet_id, code)), context, out);
    }

    /// Ends a delivery that the client has acknowledged or refused.
    fn finish(&mut self, ack: &Ack, qos: QoS, missed: Metric, context: &mut Context) {
        let Phase::Open(open) = &self.phase else { return };
        let Some(mut state) = open.session.state_for(self.outlet) else { return };
        if state.inflight.awaits(ack.packet_id, qos) {
            let finished = state.inflight.remove(ack.packet_id);
            context.count(Metric::MessagesAcked, 1);
            state.schedule_waiting(context);
            drop(state);
            self.tell_acked(&finished, ack, context);
        } else {
            context.count(missed, 1);
        }
    }

    /// Tells rules of a message that the client has taken; one that it refused is not acknowledged.
    #[inline]
    fn tell_acked(&self, acknowledged: &Stage, ack: &Ack, context: &Context) {
        if let Stage::Publish(queued) = acknowledged
            && context.wants(EventKind::MessageAcked)
            && !ack.reason.is_error()
            && let Phase::Open(open) = &self.phase
        {
            let (session, properties) = (&open.session, ack.properties.as_ref());
            self.broker.tell_acked(session, &open.profile, queued, properties, context.now_ms());
        }
    }
}
