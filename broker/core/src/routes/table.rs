//! Who wants what.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use broker_codec::{QoS, SubscriptionOptions};
use engine_event::RuleSlot;
use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

use super::share::{Left, ShareGroup, ShareRules};
use super::trie::Trie;
use super::watch::{Watch, WatchTree, Watchers};
use crate::broker::Gauge;
use crate::delayed;
use crate::session::Session;
use crate::system::is_system;

/// Every subscription of sessions, shared groups and rules.
#[derive(Debug)]
pub(crate) struct RouteTable {
    trie: RwLock<Trie<Subscribers>>,
    /// Grows with every change: what was resolved before is out of date.
    epoch: AtomicU64,
    rules: Mutex<HashMap<RuleSlot, Vec<String>>>,
    watches: WatchTree,
    shared_subscriptions: Gauge,
    per_subscription: bool,
}

/// Those who want the messages of one filter.
#[derive(Debug, Default)]
struct Subscribers {
    sessions: Vec<Subscriber>,
    /// Where each session is in `sessions`, kept once they are many.
    places: Option<HashMap<u64, u32, RandomState>>,
    shares: Vec<Arc<ShareGroup>>,
    rules: Vec<(RuleSlot, Option<u32>)>,
}

#[derive(Debug)]
struct Subscriber {
    session: Arc<Session>,
    incarnation: u32,
    durable: bool,
    options: SubscriptionOptions,
    /// The subscription identifier, 0 for none.
    identifier: u32,
}

/// From so many sessions on, one filter keeps an index of them.
const INDEX_FROM: usize = 32;

/// Who gets the messages of one topic.
#[derive(Debug)]
pub(crate) struct Routes {
    pub(crate) topic: Box<str>,
    pub(crate) epoch: u64,
    pub(crate) levels: usize,
    pub(crate) kind: TopicKind,
    pub(crate) targets: Box<[Target]>,
    pub(crate) shares: Box<[Arc<ShareGroup>]>,
    pub(crate) rules: Box<[RuleSlot]>,
    /// How many milliseconds rules may hold acknowledgements back; none when no rule does.
    pub(crate) holds_acks_ms: Option<u32>,
    /// Whether a session or group gets it whose messages are written down.
    pub(crate) durable: bool,
    /// Who looks at the messages without getting them.
    pub(crate) watch: Option<Arc<Watch>>,
}

/// What it means to publish to a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TopicKind {
    /// Just that.
    Plain,
    /// Clients may not.
    System,
    /// It is for later, where that is on.
    Delayed,
}

impl TopicKind {
    fn of(topic: &str) -> Self {
        match topic {
            topic if topic.starts_with(delayed::PREFIX) => Self::Delayed,
            topic if is_system(topic) => Self::System,
            _ => Self::Plain,
        }
    }
}

/// One session that gets a message.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) session: Arc<Session>,
    pub(crate) incarnation: u32,
    /// Whether its messages are written down.
    pub(crate) durable: bool,
    pub(crate) grant: Grant,
    /// What it gets of its own messages.
    pub(crate) own: Own,
}

/// How a session gets messages.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) options: SubscriptionOptions,
    pub(crate) extras: Option<Arc<Extras>>,
}

/// What only some deliveries have.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// Identifiers of the subscriptions that matched.
    pub(crate) identifiers: Box<[u32]>,
    /// The shared group that chose the session.
    pub(crate) share: Option<Weak<ShareGroup>>,
}

/// What a session gets of the messages that it publishes itself.
#[derive(Debug)]
pub(crate) enum Own {
    /// The same as of others.
    Same,
    /// Nothing.
    Nothing,
    /// What its subscriptions without No Local grant.
    Less(Box<Grant>),
}

impl Routes {
    /// Says whether anybody gets the messages.
    pub(crate) fn are_wanted(&self) -> bool {
        !(self.targets.is_empty() && self.shares.is_empty() && self.rules.is_empty())
    }
}

impl RouteTable {
    pub(crate) fn new(per_subscription: bool) -> Self {
        Self {
            trie: RwLock::new(Trie::new()),
            epoch: AtomicU64::new(1),
            rules: Mutex::default(),
            watches: WatchTree::new(),
            shared_subscriptions: Gauge::default(),
            per_subscription,
        }
    }

    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Adds a subscription of a session, or changes it.
    pub(crate) fn subscribe(
        &self,
        filter: &str,
        session: &Arc<Session>,
        (incarnation, durable): (u32, bool),
        options: SubscriptionOptions,
        identifier: Option<u32>,
    ) {
        let subscriber = Subscriber {
            session: Arc::clone(session),
            incarnation,
            durable,
            options,
            identifier: identifier.unwrap_or(0),
        };
        let mut trie = self.trie.write();
        trie.get_or_insert(filter).1.put(subscriber);
        self.changed();
    }

    /// Takes a subscription of a session out.
    pub(crate) fn unsubscribe(&self, filter: &str, session: &Session) {
        self.edit(filter, |subscribers| subscribers.take(session.id()));
    }

    /// Adds a member to a shared group, or changes its options.
    pub(crate) fn join_share(
        &self,
        group: (&str, ShareRules),
        filter: &str,
        session: &Arc<Session>,
        (incarnation, durable): (u32, bool),
        options: SubscriptionOptions,
        identifier: Option<u32>,
    ) {
        let (group, rules) = group;
        let mut trie = self.trie.write();
        let shares = &mut trie.get_or_insert(filter).1.shares;
        let share = match shares.iter().find(|share| share.name() == group) {
            Some(share) => share,
            None => {
                shares.push(ShareGroup::new(group, filter, rules));
                self.changed();
                &shares[shares.len() - 1]
            }
        };
        if share.join(session, incarnation, options, identifier) {
            self.shared_subscriptions.rise();
        }
        if durable && share.set_durable() {
            self.changed();
        }
    }

    /// Returns a shared group.
    pub(crate) fn share(&self, group: &str, filter: &str) -> Option<Arc<ShareGroup>> {
        let mut trie = self.trie.write();
        let node = trie.find(filter)?;
        let shares = &trie.value_mut(node)?.shares;
        shares.iter().find(|share| share.name() == group).cloned()
    }

    /// Takes a member out of a shared group, and the group when it was the last.
    pub(crate) fn leave_share(&self, group: &str, filter: &str, session: &Session) -> Left {
        let mut left = Left::default();
        self.edit(filter, |subscribers| {
            let Some(index) = subscribers.shares.iter().position(|share| share.name() == group) else {
                return false;
            };
            left = subscribers.shares[index].leave(session);
            if left.was_member {
                self.shared_subscriptions.fall(1);
            }
            if left.is_empty {
                subscribers.shares.swap_remove(index);
            }
            left.is_empty
        });
        left
    }

    /// Registers the filters of a rule in place of those it had.
    pub(crate) fn set_rule(&self, rule: RuleSlot, filters: &[String], holds_acks_ms: Option<u32>) {
        let mut rules = self.rules.lock();
        let old = rules.insert(rule, filters.to_vec()).unwrap_or_default();
        // new ones first: a filter that stays is never missing
        for filter in filters {
            let mut trie = self.trie.write();
            let registered = &mut trie.get_or_insert(filter).1.rules;
            registered.retain(|(slot, _)| *slot != rule);
            registered.push((rule, holds_acks_ms));
            self.changed();
        }
        for filter in old.iter().filter(|filter| !filters.contains(filter)) {
            self.drop_rule_filter(rule, filter);
        }
    }

    /// Takes a rule out.
    pub(crate) fn remove_rule(&self, rule: RuleSlot) {
        let mut rules = self.rules.lock();
        for filter in rules.remove(&rule).unwrap_or_default() {
            self.drop_rule_filter(rule, &filter);
        }
    }

    fn drop_rule_filter(&self, rule: RuleSlot, filter: &str) {
        self.edit(filter, |subscribers| {
            let before = subscribers.rules.len();
            subscribers.rules.retain(|(slot, _)| *slot != rule);
            subscribers.rules.len() < before
        });
    }

    /// Changes the subscribers of a filter that has some; `change` says whether routes differ now.
    fn edit(&self, filter: &str, change: impl FnOnce(&mut Subscribers) -> bool) {
        let mut trie = self.trie.write();
        let Some(node) = trie.find(filter) else { return };
        let Some(subscribers) = trie.value_mut(node) else { return };
        let changed = change(subscribers);
        if subscribers.is_empty() {
            trie.remove(node);
        }
        if changed {
            self.changed();
        }
    }

    /// Called with the tree locked for writing, so that an epoch belongs to one state of the tree.
    fn changed(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Finds out who gets the messages of a topic.
    pub(crate) fn resolve(&self, topic: &str) -> Arc<Routes> {
        let trie = self.trie.read();
        let mut matched: SmallVec<[&Subscriber; 8]> = SmallVec::new();
        let mut shares = Vec::new();
        let mut rules: Vec<RuleSlot> = Vec::new();
        let mut holds_acks_ms: Option<u32> = None;
        trie.matching(topic, |subscribers| {
            matched.extend(&subscribers.sessions);
            shares.extend(subscribers.shares.iter().cloned());
            for &(rule, holds_ms) in &subscribers.rules {
                rules.push(rule);
                holds_acks_ms = [holds_acks_ms, holds_ms].into_iter().flatten().min();
            }
        });
        rules.sort_unstable();
        rules.dedup();
        let durable = matched.iter().any(|subscriber| subscriber.durable)
            || shares.iter().any(|share: &Arc<ShareGroup>| share.is_durable());
        let targets = if self.per_subscription {
            matched.iter().map(|subscriber| target(&[subscriber])).collect()
        } else {
            matched.sort_unstable_by_key(|subscriber| subscriber.session.id());
            matched.chunk_by(|a, b| a.session.id() == b.session.id()).map(target).collect()
        };
        Arc::new(Routes {
            topic: topic.into(),
            epoch: self.epoch(),
            levels: broker_codec::topic::level_count(topic),
            kind: TopicKind::of(topic),
            targets,
            shares: shares.into(),
            rules: rules.into(),
            holds_acks_ms,
            durable,
            watch: self.watches.of(topic),
        })
    }

    /// Changes who looks at the topics of a filter.
    pub(crate) fn watch(&self, filter: &str, change: impl FnOnce(&mut Watchers)) {
        self.watches.change(filter, change);
        let _trie = self.trie.write();
        self.changed();
    }

    /// Returns who looks at a topic, without its routes.
    pub(crate) fn watch_of(&self, topic: &str) -> Option<Arc<Watch>> {
        self.watches.of(topic)
    }

    /// Says whether somebody wants messages of topics with that first level. Filters that begin with a wildcard do not
    /// count: where the level begins with `$` they match nothing.
    pub(crate) fn has_filters_below(&self, first_level: &str) -> bool {
        self.trie.read().has_child_of_root(first_level)
    }

    /// Returns every filter that somebody has subscribed to, with the number of sessions and shared groups.
    pub(crate) fn list(&self) -> Vec<(String, usize)> {
        /// So many at a time: while somebody waits to change the tree, nobody may read it either.
        const BATCH: usize = 1024;
        let mut list = Vec::new();
        let mut at = 0;
        loop {
            let trie = self.trie.read();
            if at >= trie.places() {
                break;
            }
            trie.each_in(at..at + BATCH, |filter, subscribers| {
                let count = subscribers.sessions.len() + subscribers.shares.len();
                if count > 0 {
                    list.push((filter, count));
                }
            });
            at += BATCH;
        }
        list.sort();
        list.dedup_by(|a, b| a.0 == b.0); // one that moved meanwhile
        list
    }

    /// Returns the number of filters, those of rules included.
    pub(crate) fn len(&self) -> usize {
        self.trie.read().len()
    }

    /// Returns the number of members of all shared groups, and the highest it has been.
    pub(crate) fn shared_subscriptions(&self) -> (usize, usize) {
        (self.shared_subscriptions.now(), self.shared_subscriptions.max())
    }
}

/// Merges the subscriptions of one session that match a topic.
fn target(matched: &[&Subscriber]) -> Target {
    let all = grant(matched.iter().copied());
    let own = if matched.iter().all(|subscriber| !subscriber.options.no_local) {
        Own::Same
    } else {
        match grant(matched.iter().copied().filter(|subscriber| !subscriber.options.no_local)) {
            Some(less) => Own::Less(Box::new(less)),
            None => Own::Nothing,
        }
    };
    let first = matched[0]; // a chunk is never empty
    Target {
        session: Arc::clone(&first.session),
        incarnation: first.incarnation,
        durable: first.durable,
        grant: all.expect("a chunk is never empty"),
        own,
    }
}

fn grant<'a>(matched: impl Iterator<Item = &'a Subscriber>) -> Option<Grant> {
    let mut options: Option<SubscriptionOptions> = None;
    let mut identifiers: SmallVec<[u32; 4]> = SmallVec::new();
    for subscriber in matched {
        let merged = options.get_or_insert(SubscriptionOptions::with_qos(QoS::AtMostOnce));
        merged.qos = merged.qos.max(subscriber.options.qos);
        merged.retain_as_published |= subscriber.options.retain_as_published;
        if subscriber.identifier != 0 {
            identifiers.push(subscriber.identifier);
        }
    }
    let extras = (!identifiers.is_empty())
        .then(|| Arc::new(Extras { identifiers: identifiers.as_slice().into(), share: None }));
    Some(Grant { options: options?, extras })
}

impl Subscribers {
    fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.shares.is_empty() && self.rules.is_empty()
    }

    fn place(&self, session: u64) -> Option<usize> {
        match &self.places {
            Some(places) => places.get(&session).map(|place| *place as usize),
            None => self.sessions.iter().position(|subscriber| subscriber.session.id() == session),
        }
    }

    fn put(&mut self, subscriber: Subscriber) {
        if let Some(place) = self.place(subscriber.session.id()) {
            self.sessions[place] = subscriber;
            return;
        }
        if self.sessions.is_empty() {
            self.sessions.reserve_exact(1);
        }
        if let Some(places) = &mut self.places {
            places.insert(subscriber.session.id(), self.sessions.len() as u32);
        }
        self.sessions.push(subscriber);
        if self.places.is_none() && self.sessions.len() > INDEX_FROM {
            let numbered = self.sessions.iter().zip(0..);
            self.places = Some(numbered.map(|(entry, place)| (entry.session.id(), place)).collect());
        }
    }

    fn take(&mut self, session: u64) -> bool {
        let Some(place) = self.place(session) else { return false };
        self.sessions.swap_remove(place);
        if let Some(places) = &mut self.places {
            places.remove(&session);
            if let Some(moved) = self.sessions.get(place) {
                places.insert(moved.session.id(), place as u32);
            }
        }
        true
    }
}
