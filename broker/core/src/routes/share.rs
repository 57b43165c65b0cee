//! Shared subscriptions: a group of sessions of which one gets each message.

use std::sync::{Arc, Weak};

use broker_codec::SubscriptionOptions;
use parking_lot::Mutex;

use super::Extras;
use crate::context::Context;
use crate::session::{Queued, Rank, Refused, Session};

/// The members of one (group, filter).
#[derive(Debug)]
pub(crate) struct ShareGroup {
    name: Box<str>,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    list: Vec<Member>,
    /// The member whose turn it is.
    turn: usize,
}

#[derive(Debug)]
struct Member {
    session: Arc<Session>,
    incarnation: u32,
    options: SubscriptionOptions,
    extras: Arc<Extras>,
}

/// Whether a session that is away is asked although others are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AwayMembers {
    /// Only when nobody is connected.
    Last,
    /// As if they were connected.
    TakeTurns,
}

impl ShareGroup {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.into(), members: Mutex::default() })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
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
        let member = Member { session: Arc::clone(session), incarnation, options, extras };
        let mut members = self.members.lock();
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

    /// Takes a member out and says whether the group is empty now.
    pub(crate) fn leave(&self, session: &Session) -> (bool, bool) {
        let mut members = self.members.lock();
        let before = members.list.len();
        members.list.retain(|member| member.session.id() != session.id());
        (members.list.len() < before, members.list.is_empty())
    }

    /// Hands a message to one member: in turn among those that can take it at once, else among those that are
    /// connected, else among those that are away. Gives it back when nobody took it.
    pub(crate) fn dispatch(
        &self,
        mut queued: Queued,
        away: AwayMembers,
        upgrade_qos: bool,
        context: &mut Context,
    ) -> Result<(), Queued> {
        let ranks: &[Rank] = match away {
            AwayMembers::Last => &[Rank::Ready, Rank::Busy, Rank::Away],
            AwayMembers::TakeTurns => &[],
        };
        let published_qos = queued.qos;
        let published_retain = queued.retain;
        let mut members = self.members.lock();
        let count = members.list.len();
        let passes = ranks.iter().map(|rank| Some(*rank)).chain(ranks.is_empty().then_some(None));
        for rank in passes {
            for step in 0..count {
                let index = (members.turn + step) % count;
                let member = &members.list[index];
                queued.qos = granted(published_qos, &member.options, upgrade_qos);
                queued.retain = published_retain && member.options.retain_as_published;
                queued.extras = Some(Arc::clone(&member.extras));
                match member.session.offer(queued, member.incarnation, rank, context) {
                    Ok(()) => {
                        members.turn = (index + 1) % count;
                        return Ok(());
                    }
                    Err(Refused { queued: back, .. }) => queued = back,
                }
            }
        }
        queued.qos = published_qos;
        queued.retain = published_retain;
        Err(queued)
    }
}

/// Says when members that are away are asked.
pub(crate) fn away_members(always: bool) -> AwayMembers {
    if always { AwayMembers::TakeTurns } else { AwayMembers::Last }
}

/// Returns the QoS of a delivery.
#[inline]
pub(crate) fn granted(
    published: broker_codec::QoS,
    options: &SubscriptionOptions,
    upgrade_qos: bool,
) -> broker_codec::QoS {
    if upgrade_qos { published.max(options.qos) } else { published.min(options.qos) }
}

/// The group that a message came through, if it still exists.
pub(crate) fn group_of(extras: Option<&Extras>) -> Option<Arc<ShareGroup>> {
    extras?.share.as_ref().and_then(Weak::upgrade)
}
