//! Who is followed: clients, addresses and topics of which every step is written down, see [`Tracer`].
//!
//! While nobody is followed this costs what is noted once for each batch of work ([`Context::has_traces`]): packets pay
//! a look at a flag of their thread, messages nothing, as what is told of them is told to rules and traces alike.
//!
//! [`Context::has_traces`]: crate::context::Context::has_traces

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use engine_event::{TraceEvent, TraceSet, Tracer, topic};
use parking_lot::RwLock;

use crate::broker::Broker;
use crate::routes::Watch;
use crate::session::Session;

/// Whom or what a trace follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceSubject {
    /// The client of that id.
    ClientId(String),
    /// The clients at that address.
    Peer(IpAddr),
    /// The messages of a topic, or of all topics that a filter matches. Each filter is valid.
    Topic(String),
}

/// Those who are followed.
#[derive(Default)]
pub(crate) struct Traces {
    on: AtomicBool,
    followed: RwLock<Vec<(u8, TraceSubject)>>,
    tracer: OnceLock<Arc<dyn Tracer>>,
}

impl Traces {
    /// Says whether anybody is followed.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Returns the traces that follow a client.
    pub(crate) fn of_client(&self, client_id: &[u8], address: Option<IpAddr>) -> TraceSet {
        self.of(|subject| match subject {
            TraceSubject::ClientId(followed) => followed.as_bytes() == client_id,
            TraceSubject::Peer(followed) => {
                address.is_some_and(|address| address.to_canonical() == *followed)
            }
            TraceSubject::Topic(_) => false,
        })
    }

    /// Returns the traces that follow a filter, or a topic, of a subscription.
    pub(crate) fn of_filter(&self, filter: &str) -> TraceSet {
        self.of(|subject| match subject {
            TraceSubject::Topic(followed) => {
                followed == filter || topic::matches(followed.as_bytes(), filter.as_bytes())
            }
            TraceSubject::ClientId(_) | TraceSubject::Peer(_) => false,
        })
    }

    fn of(&self, is_followed: impl Fn(&TraceSubject) -> bool) -> TraceSet {
        if !self.is_on() {
            return TraceSet::EMPTY;
        }
        let followed = self.followed.read();
        let numbers = followed.iter().filter(|(_, subject)| is_followed(subject)).map(|(number, _)| *number);
        numbers.fold(TraceSet::EMPTY, |set, number| set.and(TraceSet::of(number)))
    }

    /// Notes at a session which traces follow it: those that begin or end meanwhile do so before or afterwards.
    pub(crate) fn follow(&self, session: &Session, address: IpAddr) {
        let client_id = session.client_id().as_bytes();
        let followed = self.followed.read();
        let set = followed.iter().fold(TraceSet::EMPTY, |set, (number, subject)| match subject {
            TraceSubject::ClientId(followed) if followed.as_bytes() == client_id => {
                set.and(TraceSet::of(*number))
            }
            TraceSubject::Peer(followed) if *followed == address.to_canonical() => {
                set.and(TraceSet::of(*number))
            }
            _ => set,
        });
        session.set_traces(set);
    }

    /// Writes a line into these traces.
    pub(crate) fn emit(&self, to: TraceSet, event: TraceEvent) {
        if let Some(tracer) = self.tracer.get().filter(|_| !to.is_empty()) {
            tracer.trace(to, event);
        }
    }
}

impl std::fmt::Debug for Traces {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Traces").field("followed", &self.followed.read()).finish_non_exhaustive()
    }
}

impl Watch {
    /// Returns the traces that follow the topic.
    pub(crate) fn traces(&self) -> TraceSet {
        self.traces
    }
}

impl Broker {
    /// Sets where lines of traces go. The first call counts.
    pub fn set_tracer(&self, tracer: Arc<dyn Tracer>) {
        let _ = self.traces.tracer.set(tracer);
    }

    /// Follows a client, an address or a topic from now on, under a number that no other trace has now.
    ///
    /// # Panics
    /// When the number is not below [`TraceSet::NUMBERS`].
    pub fn start_trace(&self, number: u8, subject: &TraceSubject) {
        let set = TraceSet::of(number);
        {
            let mut followed = self.traces.followed.write();
            followed.retain(|(other, _)| *other != number);
            followed.push((number, subject.clone()));
            self.traces.on.store(true, Ordering::Relaxed);
        }
        // from here on whoever connects finds it; these were there before
        match subject {
            TraceSubject::ClientId(client_id) => {
                self.registry.get(client_id).into_iter().for_each(|session| session.add_traces(set));
            }
            TraceSubject::Peer(address) => {
                for session in self.registry.all() {
                    let remote = session.state().profile.as_ref().map(|profile| profile.remote.ip());
                    if remote.is_some_and(|remote| remote.to_canonical() == *address) {
                        session.add_traces(set);
                    }
                }
            }
            TraceSubject::Topic(filter) => {
                self.routes().watch(filter, |watchers| watchers.traces = watchers.traces.and(set));
            }
        }
    }

    /// Follows the subject of that trace no longer.
    pub fn stop_trace(&self, number: u8) {
        let found = {
            let mut followed = self.traces.followed.write();
            let place = followed.iter().position(|(other, _)| *other == number);
            let found = place.map(|place| followed.swap_remove(place));
            self.traces.on.store(!followed.is_empty(), Ordering::Relaxed);
            found
        };
        let without = |set: TraceSet| TraceSet::from_bits(set.bits() & !TraceSet::of(number).bits());
        match found {
            Some((_, TraceSubject::Topic(filter))) => {
                self.routes().watch(&filter, |watchers| watchers.traces = without(watchers.traces));
            }
            Some(_) => self.registry.all().iter().for_each(|session| session.remove_traces(number)),
            None => {}
        }
    }
}
