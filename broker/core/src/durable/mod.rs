//! What survives the end of the process.
//!
//! The truth is in memory: sessions, routes, retained messages. A [`Journal`] holds records of how it came to be, and a
//! [`Recovery`] makes it again from them. Without a journal nothing here costs more than a flag test.
//!
//! # What is written down
//!
//! Sessions that outlive their connection (*durable* ones), their subscriptions, the messages of QoS 1 and 2 that they
//! are owed, how far each QoS 2 delivery is, their QoS 2 messages that wait for PUBREL, their wills; and retained
//! messages. A message that no durable session wants and that is not retained never touches the journal: `Routes::durable`
//! is the one test on its way. Its body is written once, with all whom it is owed to, under numbers that are never used
//! again.
//!
//! # What waits for the commit
//!
//! | packet | waits for |
//! |---|---|
//! | CONNACK of a durable session, or one that ends one | Session or SessionEnd |
//! | SUBACK, UNSUBACK of a durable session | its Subscribe and Owed, or Unsubscribe |
//! | PUBACK, PUBREC of a message that is written down | Message; with rules that hold it back, them too |
//! | PUBREL | Released |
//! | PUBCOMP | ReceivedRelease |
//! | PUBLISH of QoS 2 to a durable session | Sent |
//!
//! QoS 1 goes out to subscribers at once: what is lost was not acknowledged, and comes again.
//!
//! # The order of records
//!
//! Records are appended while things happen, not at the end of a batch: a message has its record before any session has
//! the message, so that whatever is said of it comes behind it. All else is changed and appended under one lock, that of
//! the session's state or of the retained messages, so that records of one thing are in the order of its changes. Only
//! Done is late, which is harmless: numbers are not used again, and a Done that is lost makes a QoS 1 delivery again.
//!
//! # Why no end of the process loses or repeats what it must not
//!
//! The journal that is read back is a beginning of what was written, with at least all that was committed. Take the
//! first record that is missing, and go through the exchanges:
//!
//! * **A message comes in.** Without Message the publisher has no PUBACK or PUBREC and sends again; nobody who is durable
//!   has it, or has it with QoS 1. With Message every session that it names is owed it. A QoS 2 publisher whose session
//!   is durable is in the same record (`Cause::Received`): sent again, the message is answered and not published. It
//!   could not be in a record of its own: before Message the message would be lost, behind it it would come twice.
//! * **A QoS 2 message goes out.** Sent comes behind Message, so if the client has the PUBLISH, both are there: it goes out
//!   again under the same packet id, and the client knows it. Without Sent the client has nothing. With Released, PUBREL
//!   goes out again; without, the PUBLISH does, and the client answers PUBREC again. Without Completed, PUBREL goes out
//!   once more and is answered. An id is free again when Completed is appended, and the next Sent with it comes behind.
//! * **PUBREL comes in.** The client may use the id again after PUBCOMP, when ReceivedRelease is committed: a new message is
//!   never taken for the old one. Without it the client sends PUBREL again.
//! * **A QoS 1 message goes out.** Nothing is written until Done. What is not done waits in the queue again and goes out
//!   under a new packet id; with DUP if the client was connected, as far as its window went.
//! * **A session begins, ends, subscribes.** Without the record the client has no answer, and asks again. What an ended
//!   session leaves to others of a shared group is written for these first: SessionEnd comes last.
//! * **A message is retained.** Its record is appended under the lock under which it becomes the retained one, so that the
//!   last record of a topic is the last message. Removals are records too; expiry needs none.
//! * **A will is published.** The record of the message also says that the will is done.
//!
//! A rule that holds PUBREC back is the exception: its rows may be lost with the process, so the message has to come
//! again, and then a durable QoS 2 subscriber gets it twice. Received is only written when the rule has settled.
//!
//! # Writing anew
//!
//! [`Broker::rewrite_journal`](crate::Broker::rewrite_journal) says again what is true: each durable session under its lock, then the
//! retained messages. These records take nothing back, so a rewrite that is cut off does no harm; once it is committed,
//! what was written before its beginning is given up. Two things make that safe. First it waits for those who have
//! written a message and are still handing it over (`Durable::publishing`): every older message is in memory, and said
//! again. And a recovery keeps what it hears of a session before the session itself: a message that came after the
//! beginning may be told before the rewrite came to its session.
//!
//! # What is not covered
//!
//! Messages that wait with a shared group because no member has room, and those that went to a member that is not
//! durable, are in memory only. So is what is to be done by rules that do not hold the acknowledgement back.

mod journal;
mod keep;
mod recovery;
mod rewrite;

pub use journal::{
    Cause, Commit, Journal, Message, ProfileRecord, Progress, Record, SessionKey, SessionRecord, Target,
};
pub(crate) use keep::{Durable, Keeper, NotKept};
pub use recovery::{Recovery, RecoveryReport};
