//! Topic aliases, both ways: each belongs to one connection and one direction.

use std::collections::HashMap;
use std::num::NonZeroU16;

use broker_codec::{Delivery, MAX_PACKET_SIZE, Peer, Publish, TopicAlias};
use bytes::Bytes;
use foldhash::fast::RandomState;

/// The topic aliases that a client has set on its connection.
#[derive(Debug, Default)]
pub(super) struct ReceivedAliases(HashMap<u16, Bytes, RandomState>);

/// The topic aliases that a client has been told.
///
/// The first topics get them, for good: which topics come most often is not known in advance, and a client that
/// offers aliases mostly gets few topics.
#[derive(Debug)]
pub(super) struct SentAliases {
    by_topic: HashMap<Box<str>, NonZeroU16, RandomState>,
    max: u16,
}

/// More aliases are not used whatever a client offers: each keeps its topic in memory.
const SENT_MAX: u16 = 64;

/// Bytes of the property that stands for a topic: where a topic has no more, an alias would make a packet larger, maybe
/// larger than the client takes.
const ALIAS_LEN: usize = 3;

impl ReceivedAliases {
    pub(super) fn set(&mut self, alias: u16, topic: &str) {
        // a copy: a share would keep the whole message in memory
        self.0.insert(alias, Bytes::copy_from_slice(topic.as_bytes()));
    }

    pub(super) fn topic(&self, alias: u16) -> Option<&str> {
        self.0.get(&alias).and_then(|topic| std::str::from_utf8(topic).ok())
    }
}

impl SentAliases {
    /// Makes the aliases for a client that takes up to `max`; none for a client that takes none.
    pub(super) fn up_to(max: u16) -> Option<Box<Self>> {
        (max > 0).then(|| Box::new(Self { by_topic: HashMap::default(), max: max.min(SENT_MAX) }))
    }

    /// Returns the alias for a message that is about to be written as `delivery` says, and takes it as told.
    pub(super) fn choose(
        &mut self,
        publish: &Publish,
        delivery: &Delivery<'_>,
        peer: &Peer,
    ) -> Option<TopicAlias> {
        if publish.topic().len() <= ALIAS_LEN {
            return None;
        }
        if let Some(alias) = self.by_topic.get(publish.topic()) {
            return Some(TopicAlias::Use(*alias));
        }
        let next = NonZeroU16::new(self.by_topic.len() as u16 + 1)?; // fits: there are at most `max`
        let told = Delivery { topic_alias: Some(TopicAlias::Set(next)), ..*delivery };
        let limit = peer.maximum_packet_size.min(MAX_PACKET_SIZE) as usize;
        if next.get() > self.max || told.encoded_len(publish) > limit {
            return None;
        }
        self.by_topic.insert(publish.topic().into(), next);
        Some(TopicAlias::Set(next))
    }
}
