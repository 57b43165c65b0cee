//! Shared subscriptions: a group of sessions of which one gets each message.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use broker_codec::{QoS, SubscriptionOptions};
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::Extras;
use super::strategy::{ShareStrategy, StickyPick, Stuck, affinity, stable_hash};
use crate::config::BrokerConfig;
use crate::context::Context;
use crate::durable::Keeper;
use crate::session::{Queued, Rank, Refused, Session};

/// The members of one (group, filter).
#[derive(Debug)]
pub(crate) struct ShareGroup {
    name: Box<str>,
    filter: Box<str>,
    /// Whether some member is written down, or was.
    durable: AtomicBool,
    rules: ShareRules,
    members: Mutex<Members>,
}

/// How a group hands out messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShareRules {
    strategy: ShareStrategy,
    sticky_pick: StickyPick,
    /// A session that is away is asked although others are connected.
    away_take_turns: bool,
    upgrade_qos: bool,
    /// Messages that wait for a member which can take them.
    backlog_max: usize,
    backlog_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Members {
    list: Vec<Member>,
    /// The member whose turn it is.
    turn: usize,
    stuck: Stuck,
    /// Messages that no member has room for. Members that have room again come and get them.
    backlog: VecDeque<Queued>,
    backlog_bytes: usize,
}

#[derive(Debug)]
struct Member {
    session: Arc<Session>,
    incarnation: u32,
    options: SubscriptionOptions,
    extras: Arc<Extras>,
    /// Stable number of the client id, for the strategies that hash.
    hash: u32,
}

/// A member that a message is meant for.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) session: Arc<Session>,
    pub(crate) incarnation: u32,
    pub(crate) durable: bool,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) extras: Arc<Extras>,
}

/// What a member has left behind.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Whether it was one.
    pub(crate) was_member: bool,
    /// Whether the group is empty now.
    pub(crate) is_empty: bool,
    /// Messages that waited for a member of the group, which has none any more.
    pub(crate) dropped: Vec<Queued>,
    /// The group, if it lives on.
    pub(crate) group: Option<Arc<ShareGroup>>,
}

/// Members looked at for the one with the fewest messages: of a larger group, the next ones in turn.
const LEAST_OF: usize = 32;

/// Waiting messages that are too large for a member, before it stops to look for others.
const TOO_LARGE_MAX: usize = 64;

impl ShareRules {
    /// Returns how the group of that name hands out messages.
    pub(crate) fn of(config: &BrokerConfig, group: &str) -> Self {
        Self {
            strategy: config.shared_groups.get(group).copied().unwrap_or(config.shared_strategy),
            sticky_pick: config.shared_sticky_pick,
            away_take_turns: config.shared_offline_always,
            upgrade_qos: config.upgrade_qos,
            backlog_max: config.shared_backlog,
            backlog_bytes_max: match config.max_queue_bytes {
                0 => usize::MAX,
                bytes => bytes,
            },
        }
    }
}

impl ShareGroup {
    pub(crate) fn new(name: &str, filter: &str, rules: ShareRules) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            filter: filter.into(),
            durable: AtomicBool::new(false),
            rules,
            members: Mutex::default(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn filter(&self) -> &str {
        &self.filter
    }

    /// Says whether some member is written down, or was.
    pub(crate) fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Relaxed)
    }

    /// Notes that a member is written down, and says whether that is news.
    pub(crate) fn set_durable(&self) -> bool {
        !self.durable.swap(true, Ordering::Relaxed)
    }

    /// Returns what a delivery to that member has, if it is one.
    pub(crate) fn extras_of(&self, session: u64) -> Option<Arc<Extras>> {
        let members = self.members.lock();
        members
            .list
            .iter()
            .find(|member| member.session.id() == session)
            .map(|found| Arc::clone(&found.extras))
    }

    /// Chooses the member that a message is meant for, as [`ShareGroup::dispatch`] does, without handing it over.
    pub(crate) fn choose(&self, queued: &Queued, context: &Context) -> Option<Chosen> {
        let mut members = self.members.lock();
        if !members.backlog.is_empty() {
            return None;
        }
        let (index, durable) = members.choose(queued, &self.rules, context)?;
        members.note(index, queued.publisher, &self.rules);
        let member = &members.list[index];
        let offered = member.as_offered(queued.clone(), &self.rules);
        Some(Chosen {
            session: Arc::clone(&member.session),
            incarnation: member.incarnation,
            durable,
            qos: offered.qos,
            retain: offered.retain,
            extras: Arc::clone(&member.extras),
        })
    }

    /// Says whether [`Queued::publisher`] has to be known.
    #[inline]
    pub(crate) fn needs_publisher(&self) -> bool {
        self.rules.strategy.needs_publisher()
    }

    /// Adds a member, or changes its options.
    pub(crate) fn join(
        self: &Arc<Self>,
        session: &Arc<Session>,
        incarnation: u32,
        options: SubscriptionOptions,
        identifier: Option<u32>,
    ) -> bool {
        let extras = Arc::new(Extras {
            identifiers: identifier.into_iter().collect(),
            share: Some(Arc::downgrade(self)),
        });
        let hash = stable_hash(session.client_id().as_bytes());
        let member = Member { session: Arc::clone(session), incarnation, options, extras, hash };
        let mut members = self.members.lock();
        if !members.backlog.is_empty() {
            session.state().starve(self);
        }
        match members.list.iter_mut().find(|member| member.session.id() == session.id()) {
            Some(found) => {
                *found = member;
                false
            }
            None => {
                members.list.push(member);
                true
            }
        }
    }

    /// Takes a member out.
    pub(crate) fn leave(self: &Arc<Self>, session: &Session) -> Left {
        let mut members = self.members.lock();
        let before = members.list.len();
        members.list.retain(|member| member.session.id() != session.id());
        let is_empty = members.list.is_empty();
        let dropped = if is_empty { std::mem::take(&mut members.backlog).into() } else { Vec::new() };
        members.backlog_bytes *= usize::from(!is_empty);
        let was_member = members.list.len() < before;
        Left { was_member, is_empty, dropped, group: (!is_empty).then(|| Arc::clone(self)) }
    }

    /// Hands a message to one member: as the strategy says among those that can take it at once, else among those that
    /// are connected, else among those that are away. Without room anywhere it waits with the group. Gives it back when
    /// nobody takes it.
    /// `keeper` writes down what a durable member gets.
    pub(crate) fn dispatch(
        self: &Arc<Self>,
        queued: Queued,
        keeper: Option<&Keeper<'_>>,
        context: &mut Context,
    ) -> Result<(), Queued> {
        let mut members = self.members.lock();
        // behind older ones, except what cannot wait
        if !members.backlog.is_empty() && queued.publish.qos() > QoS::AtMostOnce {
            return members.keep(queued, &self.rules, context);
        }
        let Err(queued) = members.hand_over(queued, &self.rules, keeper, context) else { return Ok(()) };
        self.dispatch_later(&mut members, queued, keeper, context)
    }

    /// Has members come for a message once they have room.
    #[cold]
    fn dispatch_later(
        self: &Arc<Self>,
        members: &mut Members,
        queued: Queued,
        keeper: Option<&Keeper<'_>>,
        context: &mut Context,
    ) -> Result<(), Queued> {
        members.keep(queued, &self.rules, context)?;
        for member in &members.list {
            member.session.state().starve(self);
        }
        // one may have got room before it was told
        match members.take_back().map(|queued| members.hand_over(queued, &self.rules, keeper, context)) {
            Some(Err(queued)) => members.keep(queued, &self.rules, context),
            _ => Ok(()),
        }
    }

    /// Gives a member what waits with the group, as far as it can take it at once, and says whether that was anything.
    pub(crate) fn feed(
        self: &Arc<Self>,
        session: &Session,
        keeper: Option<&Keeper<'_>>,
        context: &mut Context,
    ) -> bool {
        let mut members = self.members.lock();
        let Some(index) = members.list.iter().position(|member| member.session.id() == session.id()) else {
            return false;
        };
        let mut fed = false;
        let mut too_large = Vec::new();
        while let Some(waiting) = members.take_back() {
            let member = &members.list[index];
            match member.offer(waiting, Some(Rank::Ready), &self.rules, keeper, context) {
                Ok(()) => fed = true,
                Err(back) if too_large.len() < TOO_LARGE_MAX && !session.state().fits(&back, context) => {
                    too_large.push(back); // for somebody else
                }
                Err(back) => {
                    members.put_back(back);
                    break;
                }
            }
        }
        too_large.into_iter().rev().for_each(|queued| members.put_back(queued));
        if !members.backlog.is_empty() {
            session.state().starve(self);
        }
        fed
    }
}

impl Member {
    /// Offers a message as the member's subscription has it.
    #[inline]
    fn offer(
        &self,
        mut queued: Queued,
        rank: Option<Rank>,
        rules: &ShareRules,
        keeper: Option<&Keeper<'_>>,
        context: &mut Context,
    ) -> Result<(), Queued> {
        queued = self.as_offered(queued, rules);
        let refused = self.session.offer(queued, self.incarnation, rank, keeper, context);
        refused.map_err(|Refused { queued }| queued)
    }

    /// Makes of a message what the member would get.
    #[inline]
    fn as_offered(&self, mut queued: Queued, rules: &ShareRules) -> Queued {
        queued.qos = granted(queued.publish.qos(), &self.options, rules.upgrade_qos);
        queued.retain = queued.publish.retain() && self.options.retain_as_published;
        queued.extras = Some(Arc::clone(&self.extras));
        queued
    }
}

impl Members {
    /// Hands a message to a member: first to the one that the strategy chooses, else to the best of the others.
    fn hand_over(
        &mut self,
        queued: Queued,
        rules: &ShareRules,
        keeper: Option<&Keeper<'_>>,
        context: &mut Context,
    ) -> Result<(), Queued> {
        if self.list.is_empty() {
            return Err(queued);
        }
        let publisher = queued.publisher;
        let (first, rank) = self.first_choice(&queued, rules);
        let rank = (!rules.away_take_turns).then_some(rank);
        let queued = match self.list[first].offer(queued, rank, rules, keeper, context) {
            Ok(()) => {
                self.note(first, publisher, rules);
                return Ok(());
            }
            Err(back) => back,
        };
        self.hand_over_to_others(first, queued, rules, keeper, context)
    }

    /// Returns the member that a message would be handed over to, and whether it is durable.
    fn choose(&self, queued: &Queued, rules: &ShareRules, context: &Context) -> Option<(usize, bool)> {
        if self.list.is_empty() {
            return None;
        }
        let would_take = |index: usize, rank| {
            let member = &self.list[index];
            let offered = member.as_offered(queued.clone(), rules);
            let durable = member.session.would_take(&offered, member.incarnation, rank, context);
            durable.map(|durable| (index, durable))
        };
        let (first, rank) = self.first_choice(queued, rules);
        if let Some(found) = would_take(first, (!rules.away_take_turns).then_some(rank)) {
            return Some(found);
        }
        let order = self.order(first, queued, rules);
        let all = [Some(Rank::Ready), Some(Rank::Busy), Some(Rank::Away)];
        let passes = if rules.away_take_turns { &[None][..] } else { &all[..] };
        passes.iter().find_map(|rank| order.iter().find_map(|index| would_take(*index, *rank)))
    }

    /// Returns the member that is asked first, and how ready it must be.
    ///
    /// Who keeps to one member keeps to it while it is connected, even if the message has to wait there: otherwise
    /// messages would overtake each other.
    #[inline]
    fn first_choice(&self, queued: &Queued, rules: &ShareRules) -> (usize, Rank) {
        let count = self.list.len();
        match rules.strategy {
            ShareStrategy::RoundRobin | ShareStrategy::RoundRobinPerGroup => (self.turn % count, Rank::Ready),
            ShareStrategy::Random | ShareStrategy::Local => (fastrand::usize(..count), Rank::Ready),
            ShareStrategy::HashClientId => (self.owner(queued.publisher), Rank::Busy),
            ShareStrategy::HashTopic => (self.owner(topic_key(queued)), Rank::Busy),
            ShareStrategy::LeastInflight => (self.least_loaded(), Rank::Ready),
            ShareStrategy::Sticky => self.stuck_to(queued, rules),
        }
    }

    fn stuck_to(&self, queued: &Queued, rules: &ShareRules) -> (usize, Rank) {
        let session = self.stuck.get(queued.publisher);
        let place = |id| self.list.iter().position(|member| member.session.id() == id);
        if let Some(index) = session.and_then(place) {
            return (index, Rank::Busy);
        }
        match rules.sticky_pick {
            StickyPick::Random | StickyPick::Local => (fastrand::usize(..self.list.len()), Rank::Ready),
            StickyPick::HashTopic => (self.owner(topic_key(queued)), Rank::Busy),
            StickyPick::HashClientId => (self.owner(queued.publisher), Rank::Busy),
        }
    }

    /// Returns the member that a key belongs to.
    fn owner(&self, key: u32) -> usize {
        let affinities = self.list.iter().map(|member| affinity(key, member.hash));
        affinities.enumerate().max_by_key(|(_, affinity)| *affinity).map_or(0, |(index, _)| index)
    }

    /// Returns the connected member with the fewest messages, from the one whose turn it is on.
    fn least_loaded(&self) -> usize {
        let count = self.list.len();
        let in_turn = (0..count.min(LEAST_OF)).map(|step| (self.turn + step) % count);
        let loaded = in_turn.filter_map(|index| {
            let load = self.list[index].session.state().load()?;
            Some((load, index))
        });
        // of equals the first: the one whose turn comes first
        loaded.min_by_key(|(load, _)| *load).map_or(self.turn % count, |(_, index)| index)
    }

    /// Asks everybody, the readiest first.
    #[cold]
    fn hand_over_to_others(
        &mut self,
        first: usize,
        mut queued: Queued,
        rules: &ShareRules,
        keeper: Option<&Keeper<'_>>,
        context: &mut Context,
    ) -> Result<(), Queued> {
        let order = self.order(first, &queued, rules);
        let publisher = queued.publisher;
        let all = [Some(Rank::Ready), Some(Rank::Busy), Some(Rank::Away)];
        let passes = if rules.away_take_turns { &[None][..] } else { &all[..] };
        for rank in passes {
            for &index in &order {
                match self.list[index].offer(queued, *rank, rules, keeper, context) {
                    Ok(()) => {
                        self.note(index, publisher, rules);
                        return Ok(());
                    }
                    Err(back) => queued = back,
                }
            }
        }
        Err(queued)
    }

    /// Returns the order in which members are asked once the first choice has refused.
    fn order(&self, first: usize, queued: &Queued, rules: &ShareRules) -> SmallVec<[usize; 16]> {
        let count = self.list.len();
        let mut order: SmallVec<[usize; 16]> = (0..count).map(|step| (first + step) % count).collect();
        let key = match (rules.strategy, rules.sticky_pick) {
            (ShareStrategy::HashTopic, _) | (ShareStrategy::Sticky, StickyPick::HashTopic) => {
                topic_key(queued)
            }
            (ShareStrategy::HashClientId, _) | (ShareStrategy::Sticky, StickyPick::HashClientId) => {
                queued.publisher
            }
            (ShareStrategy::Random | ShareStrategy::Local | ShareStrategy::Sticky, _) => {
                fastrand::shuffle(&mut order); // else who comes behind one that is away would get twice as many
                return order;
            }
            _ => return order,
        };
        order.sort_by_key(|index| std::cmp::Reverse(affinity(key, self.list[*index].hash)));
        order
    }

    /// Notes who got a message.
    #[inline]
    fn note(&mut self, index: usize, publisher: u32, rules: &ShareRules) {
        self.turn = (index + 1) % self.list.len();
        if rules.strategy == ShareStrategy::Sticky && publisher != 0 {
            self.stuck.set(publisher, self.list[index].session.id());
        }
    }

    /// Keeps a message until a member has room for it.
    fn keep(&mut self, queued: Queued, rules: &ShareRules, context: &Context) -> Result<(), Queued> {
        let size = queued.cost();
        let full = self.backlog.len() >= rules.backlog_max
            || self.backlog_bytes.saturating_add(size) > rules.backlog_bytes_max && !self.backlog.is_empty();
        if full || queued.publish.qos() == QoS::AtMostOnce {
            return Err(queued);
        }
        // one that is too large for all would wait for ever
        if !self.list.iter().any(|member| member.session.state().fits(&queued, context)) {
            return Err(queued);
        }
        context.note_stays();
        self.backlog_bytes += size;
        self.backlog.push_back(queued);
        Ok(())
    }
}

impl Members {
    fn take_back(&mut self) -> Option<Queued> {
        let queued = self.backlog.pop_front()?;
        self.backlog_bytes -= queued.cost();
        Some(queued)
    }

    fn put_back(&mut self, queued: Queued) {
        self.backlog_bytes += queued.cost();
        self.backlog.push_front(queued);
    }
}

fn topic_key(queued: &Queued) -> u32 {
    stable_hash(queued.publish.topic().as_bytes())
}

/// Returns the QoS of a delivery.
#[inline]
pub(crate) fn granted(published: QoS, options: &SubscriptionOptions, upgrade_qos: bool) -> QoS {
    if upgrade_qos { published.max(options.qos) } else { published.min(options.qos) }
}

/// The group that a message came through, if it still exists.
pub(crate) fn group_of(extras: Option<&Extras>) -> Option<Arc<ShareGroup>> {
    extras?.share.as_ref().and_then(Weak::upgrade)
}
