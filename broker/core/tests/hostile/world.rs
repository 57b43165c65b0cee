//! A broker, a few hostile clients and a few healthy ones.

use std::sync::{Arc, Weak};

use broker_codec::{QoS, Version};
use broker_core::{
    Broker, BrokerConfig, CloseReason, Connection, ConnectionKey, Context, Endpoints, Recovery, ShareStrategy,
};
use engine_event::{ManualClock, RuleSlot, RuleTopics};
use fastrand::Rng;

use crate::around::{Around, Forbids, Judge, Mailbox, SlowDisk, SlowRules};
use crate::healthy::Healthy;
use crate::link::{Counts, Link};
use crate::packets;

/// Hostile clients that are connected at a time.
const HOSTILES: usize = 6;

/// Messages that healthy clients have open at most, so that no limit of theirs is the reason for a loss.
const OPEN_MAX: usize = 10;

/// Messages that wait for a healthy client, away or held up by the disk.
const WAITING_MAX: usize = 100;

pub(crate) struct World {
    rng: Rng,
    broker: Arc<Broker>,
    clock: Arc<ManualClock>,
    around: Around,
    context: Context,
    links: Vec<Link>,
    hostiles: [Option<usize>; HOSTILES],
    /// The publisher, two subscribers, two members of a group.
    healthy: [Healthy; 5],
    topic: String,
    published: [u32; 3],
    next_generation: u32,
    pub(crate) counts: Counts,
}

const PUBLISHER: usize = 0;
const MEMBERS: [usize; 2] = [3, 4];

fn config(rng: &mut Rng) -> BrokerConfig {
    use ShareStrategy::*;
    let strategies =
        [Random, RoundRobin, RoundRobinPerGroup, Sticky, Local, HashClientId, HashTopic, LeastInflight];
    BrokerConfig {
        allow_anonymous: true,
        max_packet_size: [1000, 4000, 100_000][rng.usize(..3)],
        max_topic_levels: 20,
        max_topic_alias: rng.u16(..5),
        keep_alive_multiplier_permille: 1500,
        session_expiry_interval_s: 1000,
        max_session_expiry_interval_s: 1000,
        // so that what is retained ends: names that begin with `$` cannot be listed
        message_expiry_interval_s: Some(if rng.bool() { 1_000_000 } else { u32::MAX }),
        receive_maximum: rng.u16(OPEN_MAX as u16..30),
        max_inflight: rng.u16(1..6),
        max_queue_len: 200,
        max_queue_bytes: 100_000,
        max_subscriptions: 8,
        overlap_per_subscription: rng.bool(),
        max_retained_messages: 10,
        max_retained_per_subscribe: 5,
        shared_strategy: strategies[rng.usize(..8)],
        shared_offline_always: rng.bool(),
        shared_backlog: 300,
        max_delayed_messages: 10,
        exclusive_subscription: rng.bool(),
        ignore_loop_deliver: rng.bool(),
        upgrade_qos: false,
        ..BrokerConfig::default()
    }
}

/// Does something with a connection, if it is still there.
fn of(links: &mut [Link], key: ConnectionKey, act: impl FnOnce(&mut Link)) {
    if let Some(link) = links.get_mut(key.slot as usize).filter(|link| link.key == key) {
        act(link);
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        fastrand::seed(seed); // what the broker leaves to chance
        let mut rng = Rng::with_seed(seed);
        let clock = Arc::new(ManualClock::at(1_000_000));
        let broker = Broker::with_access(
            config(&mut rng),
            Arc::clone(&clock) as _,
            Arc::new(Judge),
            Arc::new(Forbids),
        );
        let interest = if rng.bool() { u32::MAX } else { 0 };
        let around = Around {
            mailbox: Arc::new(Mailbox::default()),
            rules: Arc::new(SlowRules::with_interest(interest)),
            disk: rng.bool().then(Arc::default),
            disk_fails: rng.u8(..4) == 0,
        };
        broker.set_outlets(Arc::clone(&around.mailbox) as _);
        broker.set_tap(Arc::clone(&around.rules) as _);
        broker.set_rule(RuleSlot(1), &[packets::HELD_FILTER.to_owned()], Some(3_000));
        broker.set_rule(RuleSlot(2), &[packets::HEARD_FILTER.to_owned()], None);
        if let Some(disk) = &around.disk {
            let disk: Arc<SlowDisk> = Arc::clone(disk);
            Recovery::new().finish(&broker, disk as _);
        }
        // nobody can guess these
        let secret: String = std::iter::repeat_with(|| rng.alphanumeric()).take(16).collect();
        let topic = format!("well/{secret}");
        let client = |name: &str, version, filter: Option<String>| {
            Healthy::new(format!("{secret}-{name}"), version, filter)
        };
        let healthy = [
            client("publisher", Version::V5, None),
            client("five", Version::V5, Some(format!("{topic}/#"))),
            client("four", Version::V4, Some(format!("{topic}/+"))),
            client("member-5", Version::V5, Some(format!("$share/{secret}/{topic}/#"))),
            client("member-3", Version::V3, Some(format!("$share/{secret}/{topic}/#"))),
        ];
        let mut world = Self {
            context: broker.worker_context(),
            broker,
            clock,
            around,
            links: Vec::new(),
            hostiles: [None; HOSTILES],
            healthy,
            topic,
            published: [0; 3],
            next_generation: 0,
            counts: Counts::default(),
            rng,
        };
        if !world.may_lose() {
            (0..world.healthy.len()).for_each(|who| world.bring_back(who));
        }
        world.commit();
        world
    }

    /// Whether messages may be lost: then there are no healthy clients, who would notice.
    fn may_lose(&self) -> bool {
        self.around.disk_fails && self.around.disk.is_some()
    }

    /// Lets something happen.
    pub(crate) fn step(&mut self) {
        match self.rng.u8(..100) {
            0..60 => self.act_hostile(),
            60..78 => self.publish(),
            78..84 => self.pass_time(),
            84..88 if self.may_lose() => self.commit_or_fail(),
            84..88 => self.commit(),
            88..92 => {
                let (count, fails) = (self.rng.usize(..5), self.rng.bool());
                self.around.rules.settle(count, fails);
            }
            92..95 => self.judge(),
            95..97 if !self.may_lose() => self.come_and_go(),
            97 => {
                let client_id = format!("h{}", self.rng.u8(..4));
                self.broker.kick(&client_id);
            }
            98 => {
                self.broker.delete_retained("a");
            }
            _ => self.forget_ended(),
        }
        self.work();
    }

    /// One hostile client does something.
    fn act_hostile(&mut self) {
        let who = self.rng.usize(..HOSTILES);
        let Some(at) = self.hostiles[who].filter(|at| !self.links[*at].closed) else {
            return self.knock(who);
        };
        let version = self.links[at].view.version().unwrap_or(Version::V5);
        let bytes = match self.rng.u8(..100) {
            0..75 => {
                let count = self.rng.usize(1..6);
                (0..count).flat_map(|_| packets::packet(&mut self.rng, version)).collect()
            }
            75..83 => {
                let mut packet = packets::packet(&mut self.rng, version);
                packets::spoil(&mut self.rng, &mut packet);
                packet
            }
            83..87 => return self.send_broken(at),
            87..89 => packets::noise(&mut self.rng),
            89..93 => {
                let link = &mut self.links[at];
                if !link.is_deaf {
                    link.is_deaf = true;
                    return;
                }
                return link.listen(&mut self.context, &mut self.counts);
            }
            93..96 => {
                return self.links[at].close(CloseReason::TcpClosed, &mut self.context, &mut self.counts);
            }
            _ => {
                // a packet in two parts, with something of others between
                let packet = packets::packet(&mut self.rng, version);
                let cut = self.rng.usize(..packet.len());
                self.receive(at, &packet[..cut]);
                self.publish();
                packet[cut..].to_vec()
            }
        };
        self.receive(at, &bytes);
    }

    /// A hostile client opens a connection and says something first.
    fn knock(&mut self, who: usize) {
        let at = self.open([127, 0, 0, 1]);
        self.hostiles[who] = Some(at);
        let (_, mut bytes) = packets::connect(&mut self.rng);
        match self.rng.u8(..20) {
            0 => packets::spoil(&mut self.rng, &mut bytes),
            1 => bytes = packets::noise(&mut self.rng),
            2 => bytes = packets::packet(&mut self.rng, Version::V5),
            // not waiting for CONNACK
            3..6 => bytes.extend(packets::packet(&mut self.rng, Version::V5)),
            _ => {}
        }
        self.receive(at, &bytes);
    }

    /// Sends a packet of which the standard says how it is answered.
    fn send_broken(&mut self, at: usize) {
        let (bytes, want) = packets::BROKEN[self.rng.usize(..packets::BROKEN.len())];
        let link = &self.links[at];
        let is_sure = link.is_at_rest()
            && link.view.is_accepted()
            && link.view.version() == Some(Version::V5)
            && link.view.maximum_packet_size() >= 3;
        self.receive(at, bytes);
        let link = &self.links[at];
        if is_sure && link.closed {
            assert_eq!(link.told(), Some(want), "{bytes:02x?}");
        }
    }

    fn receive(&mut self, at: usize, bytes: &[u8]) {
        self.links[at].receive(bytes, &mut self.context, &mut self.counts);
    }

    fn open(&mut self, from: [u8; 4]) -> usize {
        let generation = self.next_generation;
        self.next_generation += 1;
        let key = ConnectionKey { worker: 0, slot: self.links.len() as u32, generation };
        let endpoints =
            Endpoints::new((from, 1000).into(), ([127, 0, 0, 1], 1883).into(), "tcp:default".into());
        let connection = Connection::new(Arc::clone(&self.broker), key, endpoints);
        let max_packet_size = self.broker.config().max_packet_size;
        self.links.push(Link::new(connection, key, max_packet_size, self.context.now_ms()));
        self.links.len() - 1
    }

    /// The healthy publisher publishes, to whoever is there.
    fn publish(&mut self) {
        let Some(at) = self.healthy[PUBLISHER].link else { return };
        let published = self.published.iter().sum::<u32>() as usize;
        let may_wait = self.healthy[1..3].iter().all(|client| published - client.got() < WAITING_MAX);
        let limit = OPEN_MAX.min(usize::from(self.links[at].view.server_receive_maximum));
        if !may_wait
            || !self.links[at].view.is_accepted()
            || self.healthy[PUBLISHER].unacknowledged() >= limit
        {
            return;
        }
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][self.rng.usize(..3)];
        let number = self.published[qos as usize];
        self.published[qos as usize] += 1;
        let topic = format!("{}/{}", self.topic, number % 3);
        let bytes = self.healthy[PUBLISHER].publish(&topic, number, qos);
        self.receive(at, &bytes);
    }

    /// A healthy subscriber goes away for a while, or comes back.
    fn come_and_go(&mut self) {
        let who = self.rng.usize(1..self.healthy.len());
        match self.healthy[who].link {
            // one that is away at a time: a group needs somebody, and what is QoS 0 waits for who is away
            Some(_) if self.healthy.iter().any(|client| client.link.is_none()) || MEMBERS.contains(&who) => {}
            Some(at) if self.links[at].is_at_rest() => {
                self.links[at].close(CloseReason::TcpClosed, &mut self.context, &mut self.counts);
                self.healthy[who].disconnected();
            }
            Some(_) => {}
            None => self.bring_back(who),
        }
    }

    fn bring_back(&mut self, who: usize) {
        let at = self.open([127, 0, 0, 1]);
        self.healthy[who].link = Some(at);
        let bytes = self.healthy[who].connect();
        self.receive(at, &bytes);
        self.work();
    }

    fn pass_time(&mut self) {
        let by_ms = [1, 100, 500, 1000, 3000][self.rng.usize(..5)];
        self.advance_ms(by_ms);
    }

    fn advance_ms(&mut self, by_ms: i64) {
        self.clock.advance_ms(by_ms);
        self.context.set_now_ms(self.broker.now_ms());
        self.broker.run_timers(&mut self.context);
        self.context.forget_stale_routes(&self.broker);
        self.links.iter_mut().for_each(|link| link.tick(&mut self.context, &mut self.counts));
    }

    fn commit(&mut self) {
        self.broker.commit(&self.context, 0);
        if let Some(disk) = &self.around.disk {
            disk.commit_all();
        }
        self.work();
    }

    /// The disk writes, or fails to, or is full.
    fn commit_or_fail(&mut self) {
        let Some(disk) = self.around.disk.clone() else { return };
        match self.rng.u8(..4) {
            0 => {
                self.broker.commit(&self.context, 0);
                disk.fail_all();
                self.work(); // all hear of it before anything else is written
            }
            1 => disk.set_full(self.rng.bool()),
            _ => self.commit(),
        }
    }

    fn judge(&mut self) {
        for link in &mut self.links {
            if self.rng.bool() {
                link.judge(&mut self.context, &mut self.counts);
            }
        }
    }

    /// Does what follows until nothing more does: flushes, and the answers of healthy clients.
    fn work(&mut self) {
        for _ in 0..10_000 {
            let mut mail = self.around.mailbox.take();
            mail.flush.extend(self.context.take_scheduled());
            // answers go out with the batch, whether or not something was scheduled
            self.links.iter_mut().for_each(|link| link.write(&mut self.counts));
            let healthy = self.answer();
            if mail.is_empty() && !healthy {
                return;
            }
            let (context, counts) = (&mut self.context, &mut self.counts);
            let links = &mut self.links;
            for (key, reason) in mail.close {
                of(links, key, |link| link.close(reason, context, counts));
            }
            for (key, ack, settled) in mail.settled {
                of(links, key, |link| link.settled((ack, settled), context, counts));
            }
            if mail.committed {
                links.iter_mut().for_each(|link| link.committed(context, counts));
            }
            for key in mail.flush {
                of(links, key, |link| link.fill(context, counts));
            }
        }
        panic!("it goes on for ever");
    }

    /// Has healthy clients take what they were sent; says whether there was something.
    fn answer(&mut self) -> bool {
        let mut found = false;
        for client in &mut self.healthy {
            let Some(at) = client.link else { continue };
            let link = &mut self.links[at];
            assert!(!link.closed, "{} was closed: {:?}", client.client_id, link.told());
            let packets = std::mem::take(&mut link.inbox);
            found |= !packets.is_empty();
            let answers = client.take(packets);
            link.receive(&answers, &mut self.context, &mut self.counts);
        }
        // hostile clients do not remember
        for link in &mut self.links {
            link.inbox.clear();
        }
        found
    }

    /// Gives the memory of ended connections back.
    fn forget_ended(&mut self) {
        let in_use = |links: &[Link], at: usize| !links[at].closed;
        while let Some(last) = self.links.len().checked_sub(1).filter(|at| !in_use(&self.links, *at)) {
            for hostile in &mut self.hostiles {
                *hostile = hostile.filter(|at| *at != last);
            }
            self.links.pop();
        }
    }

    /// Checks that healthy clients have lost nothing, ends everything, and checks that nothing is left.
    pub(crate) fn end(mut self) -> Counts {
        if !self.may_lose() {
            self.let_healthy_finish();
            self.check_healthy();
        }
        self.check_answers();
        self.check_clean()
    }

    fn let_healthy_finish(&mut self) {
        for who in 0..self.healthy.len() {
            if self.healthy[who].link.is_none() {
                self.bring_back(who);
            }
        }
        // what is written down goes out with the next commit, and what follows from that with the one behind it
        for _ in 0..200 {
            self.commit();
            self.work();
        }
        assert_eq!(self.healthy[PUBLISHER].unacknowledged(), 0, "every message is acknowledged");
    }

    fn check_healthy(&self) {
        for (qos, &count) in self.published.iter().enumerate() {
            let all: Vec<u32> = (0..count).collect();
            for client in &self.healthy[1..3] {
                assert_eq!(client.got[qos], all, "{} lost or reordered QoS {qos}", client.client_id);
            }
            let mut together: Vec<u32> =
                MEMBERS.iter().flat_map(|who| self.healthy[*who].got[qos].iter().copied()).collect();
            together.sort_unstable();
            assert_eq!(together, all, "the group lost QoS {qos} or got it twice");
        }
    }

    /// Who has its session and was not held up has an answer to each request.
    fn check_answers(&mut self) {
        self.judge();
        self.around.rules.settle(usize::MAX, false);
        for at in 0..self.links.len() {
            if self.links[at].is_deaf {
                self.links[at].listen(&mut self.context, &mut self.counts);
            }
        }
        self.commit();
        for link in self.links.iter().filter(|link| link.is_at_rest() && link.view.is_accepted()) {
            assert!(link.view.is_answered(), "a request was not answered");
        }
    }

    fn check_clean(mut self) -> Counts {
        for link in &mut self.links {
            link.close(CloseReason::TcpClosed, &mut self.context, &mut self.counts);
        }
        self.around.rules.settle(usize::MAX, false);
        for _ in 0..5 {
            // beyond every expiry that can be written
            self.advance_ms(10 * i64::from(u32::MAX) * 1000);
            let _ = self.context.take_scheduled();
            let _ = self.around.mailbox.take();
            self.commit_unheard();
        }
        self.broker.purge_retained();
        for message in self.broker.retained_messages("$SYS/#", usize::MAX) {
            self.broker.delete_retained(message.publish.topic());
        }
        self.broker.remove_rule(RuleSlot(1));
        self.broker.remove_rule(RuleSlot(2));
        assert_eq!(self.broker.clients(), [], "sessions are left");
        assert_eq!(self.broker.topics(), [], "routes are left");
        let left: Vec<_> = self
            .broker
            .stats()
            .0
            .into_iter()
            .filter(|(name, value)| name.ends_with(".count") && *value > 0)
            .collect();
        assert_eq!(left, [], "something is left");
        let counts = self.counts;
        let broker: Weak<Broker> = Arc::downgrade(&self.broker);
        drop(self);
        assert!(broker.upgrade().is_none(), "somebody keeps the broker");
        counts
    }

    fn commit_unheard(&mut self) {
        self.broker.commit(&self.context, 0);
        if let Some(disk) = &self.around.disk {
            disk.commit_all();
        }
        let _ = self.around.mailbox.take();
    }
}
