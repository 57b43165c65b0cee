//! From the records of a journal back to sessions and retained messages.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use broker_codec::{PacketId, Peer, Publish, QoS};
use engine_event::{Map, Text, Value};
use foldhash::fast::RandomState;

use super::journal::{Cause, Journal, Message, ProfileRecord, Record, SessionKey, SessionRecord, Target};
use crate::access::Identity;
use crate::broker::Broker;
use crate::filters::Wanted;
use crate::lifecycle;
use crate::mountpoint::Mountpoint;
use crate::retained::Retained;
use crate::routes::{Extras, ShareRules};
use crate::session::{PendingWill, Profile, Queued, Received, Session, Stage, SubscriptionRecord};
use crate::zone::Zone;

/// Sessions and retained messages on their way back.
///
/// Records may be told of what is there already: a rewrite says it again. What is told of a session before the session
/// itself is kept until that comes, and forgotten at the end if it does not.
#[derive(Debug, Default)]
pub struct Recovery {
    sessions: HashMap<u64, BTreeMap<u32, Building>, RandomState>,
    retained: HashMap<Box<str>, Remembered, RandomState>,
    /// Bodies of retained messages by their numbers, and those that a rewrite has written: others are not referred to.
    bodies: HashMap<u64, Arc<Body>, RandomState>,
    next_number: u64,
    next_session: u64,
    /// Stands in profiles until the broker says which zone they are of.
    no_zone: Arc<Zone>,
    /// Records that named a body which is not there.
    lost_bodies: u64,
}

/// What a recovery found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// Sessions.
    pub sessions: usize,
    /// Their subscriptions.
    pub subscriptions: usize,
    /// Deliveries that wait or are under way.
    pub deliveries: usize,
    /// Retained messages.
    pub retained: usize,
    /// Deliveries whose message is not in the journal any more.
    pub lost: u64,
}

#[derive(Debug)]
struct Body {
    publish: Publish,
    expires_at_ms: i64,
}

#[derive(Debug)]
struct Remembered {
    body: Arc<Body>,
    number: u64,
    received_at_ms: i64,
    client_id: Text,
}

/// A session on its way back.
#[derive(Debug, Default)]
struct Building {
    info: Option<Info>,
    subscriptions: HashMap<Box<str>, SubscriptionRecord, RandomState>,
    /// By number: in the order in which each publisher sent them.
    deliveries: BTreeMap<u64, Owed>,
    /// QoS 2 deliveries under way, in the order of sending; without a number once they are released.
    flights: Vec<(PacketId, Option<u64>)>,
    received: Vec<PacketId>,
}

#[derive(Debug)]
struct Info {
    client_id: Text,
    created_at_ms: i64,
    disconnected_at_ms: Option<i64>,
    expiry_interval_s: u32,
    will: Option<(Publish, u32)>,
    profile: Profile,
}

#[derive(Debug)]
struct Owed {
    body: Arc<Body>,
    qos: QoS,
    retain: bool,
    identifiers: Box<[u32]>,
    share: Option<(Box<str>, Box<str>)>,
}

impl Owed {
    fn new(body: &Arc<Body>, target: &Target<'_>) -> Self {
        Self {
            body: Arc::clone(body),
            qos: target.qos,
            retain: target.retain,
            identifiers: target.identifiers.as_ref().into(),
            share: target.share.map(|(group, filter)| (group.into(), filter.into())),
        }
    }
}

impl Building {
    fn end_flight(&mut self, packet_id: PacketId) -> Option<u64> {
        let index = self.flights.iter().position(|(used, _)| *used == packet_id)?;
        self.flights.remove(index).1
    }

    fn sent(&mut self, packet_id: PacketId, delivery: u64) {
        if self.flights.contains(&(packet_id, Some(delivery))) {
            return; // said again
        }
        self.end_flight(packet_id);
        self.flights.push((packet_id, Some(delivery)));
    }

    fn released(&mut self, packet_id: PacketId) {
        match self.flights.iter_mut().find(|(used, _)| *used == packet_id) {
            Some((_, delivery)) => {
                if let Some(delivery) = delivery.take() {
                    self.deliveries.remove(&delivery);
                }
            }
            None => self.flights.push((packet_id, None)),
        }
    }

    fn completed(&mut self, packet_id: PacketId) {
        if let Some(delivery) = self.end_flight(packet_id) {
            self.deliveries.remove(&delivery);
        }
    }

    fn done(&mut self, delivery: u64) {
        self.deliveries.remove(&delivery);
        self.flights.retain(|(_, flying)| *flying != Some(delivery));
    }

    fn received(&mut self, packet_id: PacketId) {
        if !self.received.contains(&packet_id) {
            self.received.push(packet_id);
        }
    }
}

impl Recovery {
    /// Starts with nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next record.
    pub fn apply(&mut self, record: Record<'_>) {
        match record {
            Record::Message(message) => self.message(message),
            Record::Owed { message, delivery, target } => {
                self.next_number = self.next_number.max(delivery.saturating_add(1));
                match self.bodies.get(&message).map(Arc::clone) {
                    Some(body) => self.owe(&body, delivery, &target),
                    None => self.lost_bodies += 1,
                }
            }
            Record::Done(done) => {
                for (session, delivery) in done.iter() {
                    self.at(*session).done(*delivery);
                }
            }
            Record::Session(session) => self.session(*session),
            Record::SessionEnd(key) => self.end(key, true),
            Record::Subscribe { session, filter, options, identifier } => {
                let record = SubscriptionRecord { options, identifier };
                self.at(session).subscriptions.insert(filter.into(), record);
            }
            Record::Unsubscribe { session, filter } => {
                self.at(session).subscriptions.remove(filter);
            }
            Record::Sent { session, delivery, packet_id } => self.at(session).sent(packet_id, delivery),
            Record::Released { session, packet_id } => self.at(session).released(packet_id),
            Record::Completed { session, packet_id } => self.at(session).completed(packet_id),
            Record::Received { session, packet_id } => self.at(session).received(packet_id),
            Record::ReceivedRelease { session, packet_id } => {
                self.at(session).received.retain(|received| *received != packet_id);
            }
            Record::RetainRemove { topic } => self.forget_retained(topic),
            Record::WillDone(session) => self.forget_will(session),
            Record::Barrier => {}
        }
    }

    fn at(&mut self, key: SessionKey) -> &mut Building {
        self.sessions.entry(key.session).or_default().entry(key.incarnation).or_default()
    }

    fn message(&mut self, message: Message<'_>) {
        let copies = message.targets.iter().map(|target| u64::from(target.copy)).max().unwrap_or(0);
        self.next_number = self.next_number.max(message.number.saturating_add(copies).saturating_add(1));
        let topic: Box<str> = message.publish.topic().into();
        let body = Arc::new(Body { publish: message.publish, expires_at_ms: message.expires_at_ms });
        for target in message.targets.iter() {
            self.owe(&body, message.number.saturating_add(u64::from(target.copy)), target);
        }
        match message.cause {
            Cause::None => {}
            Cause::Received(session, packet_id) => self.at(session).received(packet_id),
            Cause::Will(session) => self.forget_will(session),
        }
        if message.rewritten || message.retain {
            self.bodies.insert(message.number, Arc::clone(&body));
        }
        if message.retain {
            let remembered = Remembered {
                body,
                number: message.number,
                received_at_ms: message.received_at_ms,
                client_id: Text::from(message.client_id.to_vec()),
            };
            let old = self.retained.insert(topic, remembered);
            if let Some(old) = old.filter(|old| old.number != message.number) {
                self.bodies.remove(&old.number);
            }
        }
    }

    fn owe(&mut self, body: &Arc<Body>, delivery: u64, target: &Target<'_>) {
        let owed = || Owed::new(body, target);
        self.at(target.session).deliveries.entry(delivery).or_insert_with(owed);
    }

    fn session(&mut self, record: SessionRecord<'_>) {
        let key = record.session;
        self.next_session = self.next_session.max(key.session.saturating_add(1));
        self.end(key, false);
        let info = Info {
            client_id: Text::from(record.client_id.to_vec()),
            created_at_ms: record.created_at_ms,
            disconnected_at_ms: record.disconnected_at_ms,
            expiry_interval_s: record.expiry_interval_s,
            will: record.will,
            profile: profile_of(&record.profile, Arc::clone(&self.no_zone)),
        };
        self.at(key).info = Some(info);
    }

    /// Forgets the incarnations of a session before that of `key`, and that one too if it is `through`.
    fn end(&mut self, key: SessionKey, through: bool) {
        let Some(incarnations) = self.sessions.get_mut(&key.session) else { return };
        let kept = incarnations.split_off(&key.incarnation);
        *incarnations = kept;
        if through {
            incarnations.remove(&key.incarnation);
        }
        if incarnations.is_empty() {
            self.sessions.remove(&key.session);
        }
    }

    fn forget_will(&mut self, key: SessionKey) {
        if let Some(info) = &mut self.at(key).info {
            info.will = None;
        }
    }

    fn forget_retained(&mut self, topic: &str) {
        if let Some(old) = self.retained.remove(topic) {
            self.bodies.remove(&old.number);
        }
    }

    /// Puts everything into a broker that nobody uses yet, and has it write into `journal` from now on.
    ///
    /// [`Broker::run_timers`] then does what became due while nobody was there.
    pub fn finish(self, broker: &Arc<Broker>, journal: Arc<dyn Journal>) -> RecoveryReport {
        let now_ms = broker.now_ms();
        let mut report = RecoveryReport { lost: self.lost_bodies, ..RecoveryReport::default() };
        broker.durable.start_numbers_at(self.next_number.max(1));
        broker.registry.start_ids_at(self.next_session.max(1));
        broker.durable.set_journal(journal);
        let mut sessions: Vec<(SessionKey, Building)> = Vec::new();
        for (session, incarnations) in self.sessions {
            // the latest is the one that goes on
            let found = incarnations.into_iter().rfind(|(_, building)| building.info.is_some());
            if let Some((incarnation, building)) = found {
                sessions.push((SessionKey { session, incarnation }, building));
            }
        }
        // the later one of a client id wins, should there be two
        sessions.sort_unstable_by_key(|(key, _)| std::cmp::Reverse(*key));
        let mut restored = Vec::with_capacity(sessions.len());
        for (key, mut building) in sessions {
            let Some(info) = building.info.take() else { continue };
            if let Some(session) = broker.restore_session(key, info, &building, now_ms) {
                report.sessions += 1;
                report.subscriptions += building.subscriptions.len();
                restored.push((session, building));
            }
        }
        // shared groups are whole now: messages find the one that they came through
        for (session, building) in restored {
            report.deliveries += broker.restore_deliveries(&session, building, now_ms);
        }
        for (_, remembered) in self.retained {
            report.retained += usize::from(broker.restore_retained(remembered, now_ms));
        }
        report
    }
}

impl Broker {
    fn restore_session(
        &self,
        key: SessionKey,
        info: Info,
        building: &Building,
        now_ms: i64,
    ) -> Option<Arc<Session>> {
        let session = self.registry.restore(key.session, info.client_id, info.created_at_ms)?;
        let context = self.call_context();
        let mut profile = info.profile;
        profile.number = self.next_connection_number();
        profile.zone = Arc::clone(self.zone_of_listener(&profile.listener));
        {
            let mut state = session.state();
            state.incarnation = key.incarnation;
            state.durable = true;
            state.queue.set_settings(&profile.zone.queue);
            state.profile = Some(Arc::new(profile));
            // a connection of before ended with the server; how long ago that was is not known
            state.disconnected_at_ms = info.disconnected_at_ms.unwrap_or(now_ms);
            state.expiry_interval_s = info.expiry_interval_s;
            state.will = info.will.map(|(publish, delay_s)| Box::new(PendingWill { publish, delay_s }));
            state.subscriptions.clone_from(&building.subscriptions);
            let received = building.received.iter();
            state.awaiting_release = received
                .map(|packet_id| Received { packet_id: *packet_id, held: false, durable: true })
                .collect();
            if info.disconnected_at_ms.is_none() {
                self.durable.write_session(&session, &state, &context);
            }
            self.timers.set(lifecycle::next_due(&state), &mut state.timer_ms, &session);
        }
        self.gauges.sessions.rise();
        for (filter, record) in &building.subscriptions {
            let Some(parsed) = Wanted::parse(filter) else { continue };
            if parsed.is_exclusive && !self.exclusive.claim(parsed.filter, key.session) {
                continue;
            }
            let whose = (key.incarnation, true);
            let SubscriptionRecord { options, identifier } = *record;
            self.gauges.subscriptions.rise();
            match parsed.group {
                Some(group) => {
                    let group = (group, ShareRules::of(self.config(), group));
                    self.routes().join_share(group, parsed.filter, &session, whose, options, identifier);
                }
                None => self.routes().subscribe(parsed.filter, &session, whose, options, identifier),
            }
        }
        Some(session)
    }

    fn restore_deliveries(&self, session: &Arc<Session>, mut building: Building, now_ms: i64) -> usize {
        let mut state = session.state();
        let was_connected = state.disconnected_at_ms == now_ms;
        for (packet_id, delivery) in building.flights {
            let stage = match delivery {
                None => Stage::Release,
                Some(delivery) => match building.deliveries.remove(&delivery) {
                    Some(owed) => Stage::Publish(self.queued(session, delivery, owed)),
                    None => continue,
                },
            };
            state.inflight.restore(packet_id, stage);
        }
        // of QoS 1 it is not known what went out: at most so many
        let zone = state.profile.as_ref().map(|profile| &profile.zone);
        let max_inflight = zone.map_or(0, |zone| usize::from(zone.max_inflight));
        let mut perhaps_sent = if was_connected { max_inflight } else { 0 };
        for (delivery, owed) in building.deliveries {
            let mut queued = self.queued(session, delivery, owed);
            if queued.expires_at_ms <= now_ms {
                continue;
            }
            if queued.qos == QoS::AtLeastOnce && perhaps_sent > 0 {
                perhaps_sent -= 1;
                queued.again = true;
            }
            state.queue.force(queued);
        }
        state.inflight.len() + state.queue.len()
    }

    fn queued(&self, session: &Session, delivery: u64, owed: Owed) -> Queued {
        let share = owed.share.and_then(|(group, filter)| self.routes().share(&group, &filter));
        let extras = match share.and_then(|share| share.extras_of(session.id())) {
            Some(extras) => Some(extras),
            None if owed.identifiers.is_empty() => None,
            None => Some(Arc::new(Extras { identifiers: owed.identifiers, share: None })),
        };
        Queued {
            extras,
            expires_at_ms: owed.body.expires_at_ms,
            delivery,
            retain: owed.retain,
            ..Queued::new(owed.body.publish.clone(), owed.qos)
        }
    }

    fn restore_retained(&self, remembered: Remembered, now_ms: i64) -> bool {
        if remembered.body.expires_at_ms <= now_ms {
            return false;
        }
        // the session that published it may be gone; its client id says whose it is
        let publisher = if remembered.client_id.is_empty() { 0 } else { u64::MAX };
        let retained = Retained {
            publish: remembered.body.publish.clone(),
            received_at_ms: remembered.received_at_ms,
            expires_at_ms: remembered.body.expires_at_ms,
            client_id: remembered.client_id,
            publisher,
            number: remembered.number,
        };
        self.retained.store(retained, 0);
        true
    }
}

fn profile_of(record: &ProfileRecord<'_>, zone: Arc<Zone>) -> Profile {
    let attributes = record.attributes.iter();
    let attributes: Map = attributes
        .map(|(name, value)| (Text::from(name.to_vec()), Value::Text(Text::from(value.to_vec()))))
        .collect();
    Profile {
        number: 0,
        zone,
        username: record.username.map(|name| Text::from(name.to_vec())),
        remote: record.remote,
        local: record.local,
        listener: record.listener.into(),
        mountpoint: Mountpoint::restore(record.mountpoint),
        peer: Peer {
            version: record.version,
            maximum_packet_size: record.maximum_packet_size,
            ..Peer::new(record.version)
        },
        bridge: record.bridge,
        clean_start: record.clean_start,
        keep_alive_s: record.keep_alive_s,
        receive_maximum: record.receive_maximum,
        connected_at_ms: record.connected_at_ms,
        properties: None,
        identity: Identity {
            is_superuser: record.is_superuser,
            is_anonymous: record.is_anonymous,
            attributes,
        },
    }
}
