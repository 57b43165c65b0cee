//! What clients write in SUBSCRIBE: shared groups, exclusive subscriptions, and who has those.

use std::collections::HashMap;

use broker_codec::topic::{self, QueueAlias};
use broker_codec::{ReasonCode, SubscribedFilter};
use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::config::BrokerConfig;

/// What the filters of exclusive subscriptions begin with.
const EXCLUSIVE: &str = "$exclusive/";

/// A filter as a client wrote it, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    /// What stands before the filter: `$share/<group>/`, `$queue/`, `$exclusive/` or nothing.
    pub(crate) prefix: &'a str,
    /// The group of a shared subscription.
    pub(crate) group: Option<&'a str>,
    /// The filter that topics are matched with.
    pub(crate) filter: &'a str,
    /// Nobody else may have it.
    pub(crate) is_exclusive: bool,
}

impl<'a> Wanted<'a> {
    /// Takes apart what a client wrote; none when it is not valid.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        if let Some(filter) = text.strip_prefix(EXCLUSIVE) {
            let is_valid = topic::validate_topic_filter(filter).is_ok();
            return is_valid.then_some(Self { prefix: EXCLUSIVE, group: None, filter, is_exclusive: true });
        }
        let SubscribedFilter { group, filter } = SubscribedFilter::parse(text, QueueAlias::On).ok()?;
        let prefix = &text[..text.len() - filter.len()];
        Some(Self { prefix, group, filter, is_exclusive: false })
    }

    /// Takes apart and checks what a client wants to subscribe to.
    pub(crate) fn parse_for(text: &'a str, config: &BrokerConfig) -> Result<Self, ReasonCode> {
        let wanted = Self::parse(text).ok_or(ReasonCode::TOPIC_FILTER_INVALID)?;
        wanted.check(config)?;
        Ok(wanted)
    }

    /// Says what the configuration does not allow.
    fn check(&self, config: &BrokerConfig) -> Result<(), ReasonCode> {
        if topic::level_count(self.filter) > config.max_topic_levels {
            return Err(ReasonCode::TOPIC_FILTER_INVALID);
        }
        if self.is_exclusive && !config.exclusive_subscription {
            return Err(ReasonCode::TOPIC_FILTER_INVALID);
        }
        if self.group.is_some() && !config.shared_subscription {
            return Err(ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED);
        }
        if topic::has_wildcards(self.filter) && !config.wildcard_subscription {
            return Err(ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED);
        }
        Ok(())
    }
}

/// Who has which filter for itself, by number of the session.
#[derive(Debug, Default)]
pub(crate) struct ExclusiveOwners(Mutex<HashMap<Box<str>, u64, RandomState>>);

impl ExclusiveOwners {
    /// Gives a filter to a session, unless another has it.
    pub(crate) fn claim(&self, filter: &str, session: u64) -> bool {
        let mut owners = self.0.lock();
        match owners.get(filter) {
            Some(owner) => *owner == session,
            None => {
                owners.insert(filter.into(), session);
                true
            }
        }
    }

    /// Takes a filter from a session, if it has it.
    pub(crate) fn release(&self, filter: &str, session: u64) {
        let mut owners = self.0.lock();
        if owners.get(filter) == Some(&session) {
            owners.remove(filter);
        }
    }
}
