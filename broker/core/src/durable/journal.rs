//! What is written down, and the seam to what writes it.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use broker_codec::{PacketId, Publish, QoS, SubscriptionOptions, Version};

/// The place where records go. Filled in by `broker-store`.
///
/// Positions grow with every append. When one is committed, so are all before it.
pub trait Journal: Send + Sync {
    /// Says whether there is room for something new of about `bytes`. What only finishes things that are there has
    /// room always.
    fn admits(&self, bytes: usize) -> bool;

    /// Appends a record, without waiting for the disk, and returns its position.
    ///
    /// A journal that cannot write returns a position that will fail.
    fn append(&self, record: &Record<'_>) -> u64;

    /// Calls `done` once everything that was appended before is committed, which it is told, or has failed.
    fn commit(&self, done: Box<dyn FnOnce(bool) + Send>);

    /// Says whether so much waits to be written that those who have something waiting should not bring more.
    fn is_congested(&self) -> bool;

    /// Says how far the journal is.
    fn progress(&self) -> Progress;
}

/// How far a journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// All positions up to here are committed.
    pub committed: u64,
    /// Of those that are not, all up to here have failed.
    pub failed: u64,
}

impl Progress {
    /// Says what became of a position, once that is known.
    #[inline]
    pub fn of(self, position: u64) -> Option<Commit> {
        if position <= self.committed {
            Some(Commit::Done)
        } else if position <= self.failed {
            Some(Commit::Failed)
        } else {
            None
        }
    }
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// It survives the end of the process, and of the machine if that was asked for.
    Done,
    /// It could not be written.
    Failed,
}

/// A session, from one beginning to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// Number of the session.
    pub session: u64,
    /// Grows when the session of the client id starts anew.
    pub incarnation: u32,
}

/// One thing that has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Record<'a> {
    /// A message, and who is owed it.
    Message(Message<'a>),
    /// A session is owed a message that the journal has; only written by a rewrite and for retained messages.
    Owed {
        /// Number of the message.
        message: u64,
        /// Number of the delivery.
        delivery: u64,
        /// Who gets it.
        target: Target<'a>,
    },
    /// Deliveries are over: acknowledged, refused or dropped.
    Done(Cow<'a, [(SessionKey, u64)]>),
    /// A session begins or has changed. Those of earlier incarnations are over.
    Session(Box<SessionRecord<'a>>),
    /// A session is over.
    SessionEnd(SessionKey),
    /// A subscription is made or changed.
    Subscribe {
        /// Whose.
        session: SessionKey,
        /// The filter as the client wrote it.
        filter: &'a str,
        /// As granted.
        options: SubscriptionOptions,
        /// Subscription identifier.
        identifier: Option<u32>,
    },
    /// A subscription is over.
    Unsubscribe {
        /// Whose.
        session: SessionKey,
        /// The filter as the client wrote it.
        filter: &'a str,
    },
    /// A QoS 2 delivery has its packet identifier and goes out.
    Sent {
        /// To whom.
        session: SessionKey,
        /// Number of the delivery.
        delivery: u64,
        /// Its packet identifier.
        packet_id: PacketId,
    },
    /// The client has a QoS 2 delivery: PUBREC came, PUBREL goes out.
    Released {
        /// Whose.
        session: SessionKey,
        /// Its packet identifier.
        packet_id: PacketId,
    },
    /// A QoS 2 delivery is over and its packet identifier free.
    Completed {
        /// Whose.
        session: SessionKey,
        /// The packet identifier.
        packet_id: PacketId,
    },
    /// A QoS 2 message of the client is taken in: sent again it is known until its PUBREL.
    Received {
        /// Whose.
        session: SessionKey,
        /// Its packet identifier.
        packet_id: PacketId,
    },
    /// PUBREL came for a QoS 2 message of the client, or it was refused: its packet identifier is free.
    ReceivedRelease {
        /// Whose.
        session: SessionKey,
        /// The packet identifier.
        packet_id: PacketId,
    },
    /// A topic has no retained message any more.
    RetainRemove {
        /// The topic.
        topic: &'a str,
    },
    /// The will of a session is published or cancelled.
    WillDone(SessionKey),
    /// Nothing: a place to wait for.
    Barrier,
}

impl Record<'_> {
    /// Says whether it makes earlier records useless.
    pub fn ends_something(&self) -> bool {
        match self {
            Self::Done(_)
            | Self::SessionEnd(_)
            | Self::Unsubscribe { .. }
            | Self::Released { .. }
            | Self::Completed { .. }
            | Self::RetainRemove { .. } => true,
            Self::Message(message) => message.retain,
            _ => false,
        }
    }
}

/// A message, and what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Message<'a> {
    /// Number of the message, not 0.
    pub number: u64,
    /// When it was received, Unix milliseconds.
    pub received_at_ms: i64,
    /// When it is no longer worth sending, Unix milliseconds; `i64::MAX` is never.
    pub expires_at_ms: i64,
    /// Topic, payload, properties, QoS and retain flag as published.
    pub publish: Publish,
    /// Client id of the publisher.
    pub client_id: &'a [u8],
    /// Whether it is the retained message of its topic from now on.
    pub retain: bool,
    /// Whether it was written before and is written anew: what it owes may refer to it until the end of the journal.
    pub rewritten: bool,
    /// What it settles of the session that it comes from.
    pub cause: Cause,
    /// Who gets it.
    pub targets: Cow<'a, [Target<'a>]>,
}

/// What a message settles of the session that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nothing that is written down.
    None,
    /// It came with QoS 2 and that packet identifier.
    Received(SessionKey, PacketId),
    /// It was the will.
    Will(SessionKey),
}

/// Who gets a message, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Target<'a> {
    /// The session.
    pub session: SessionKey,
    /// What the number of the delivery is above that of the message: a session may get several.
    pub copy: u16,
    /// QoS of the delivery, 1 or 2.
    pub qos: QoS,
    /// Retain flag of the delivery.
    pub retain: bool,
    /// Identifiers of the subscriptions that matched.
    pub identifiers: Cow<'a, [u32]>,
    /// The shared group that chose the session: its name and filter.
    pub share: Option<(&'a str, &'a str)>,
}

/// What there is to know of a session, beside its subscriptions and messages.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRecord<'a> {
    /// The session.
    pub session: SessionKey,
    /// Client id.
    pub client_id: &'a [u8],
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// Unix milliseconds; `None` while there is a connection.
    pub disconnected_at_ms: Option<i64>,
    /// Seconds; `u32::MAX` is for ever.
    pub expiry_interval_s: u32,
    /// The will and its delay in seconds.
    pub will: Option<(Publish, u32)>,
    /// The present or last connection.
    pub profile: ProfileRecord<'a>,
}

/// A connection, as far as it is of use later.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileRecord<'a> {
    /// User name.
    pub username: Option<&'a [u8]>,
    /// Address of the client.
    pub remote: SocketAddr,
    /// Address that it connected to.
    pub local: SocketAddr,
    /// Name of the listener.
    pub listener: &'a str,
    /// Prefix of the client's topics; empty for none.
    pub mountpoint: &'a str,
    /// Protocol version.
    pub version: Version,
    /// Whether the client says that it is a bridge.
    pub bridge: bool,
    /// Whether the client asked for a new session.
    pub clean_start: bool,
    /// Keep alive in seconds.
    pub keep_alive_s: u16,
    /// Receive Maximum of the client.
    pub receive_maximum: u16,
    /// Largest packet that the client takes.
    pub maximum_packet_size: u32,
    /// Unix milliseconds.
    pub connected_at_ms: i64,
    /// Whether every authorization is allowed.
    pub is_superuser: bool,
    /// Whether nobody vouches for the client.
    pub is_anonymous: bool,
    /// Attributes of the client, as far as they are texts.
    pub attributes: Vec<(&'a [u8], &'a [u8])>,
}

impl fmt::Debug for dyn Journal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Journal")
    }
}
