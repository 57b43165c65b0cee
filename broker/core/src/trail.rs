//! What a message takes along while somebody wants to hear what becomes of it.
//!
//! Whether anybody does is one look for each message ([`Context::keeps_trails`] and the watch of its routes); if nobody
//! does, a message carries nothing for it.

use std::sync::Arc;

use broker_codec::QoS;
use engine_event::Text;

use crate::broker::Broker;
use crate::context::Context;
use crate::publishing::Origin;
use crate::retained::Retained;
use crate::routes::{Routes, Watch};

/// Where a message came from, and who looks at it.
#[derive(Debug)]
pub(crate) struct Trail {
    /// The message id; of a retained message it is not kept.
    pub(crate) id: Option<u128>,
    pub(crate) client_id: Text,
    pub(crate) username: Option<Text>,
    pub(crate) received_at_ms: i64,
    pub(crate) hops: u8,
    /// Who looks at the messages of its topic.
    pub(crate) watch: Option<Arc<Watch>>,
}

impl Trail {
    /// Counts the message as published.
    #[cold]
    pub(crate) fn note_published(&self, qos: QoS) {
        if let Some(watch) = &self.watch {
            watch.count_in(qos);
        }
    }

    /// Counts the message as sent to a subscriber.
    pub(crate) fn note_sent(&self, qos: QoS) {
        if let Some(watch) = &self.watch {
            watch.count_out(qos);
        }
    }
}

impl Broker {
    /// Makes the trail of a message that is published, and says where it comes from with its id; nothing while nobody
    /// wants to hear of it.
    #[inline]
    pub(crate) fn trail_of<'a>(
        &self,
        routes: &Routes,
        origin: &Origin<'a>,
        context: &Context,
    ) -> Option<(Origin<'a>, Arc<Trail>)> {
        (context.keeps_trails() | routes.watch.is_some()).then(|| self.lay_trail(routes, origin, context))
    }

    #[cold]
    fn lay_trail<'a>(
        &self,
        routes: &Routes,
        origin: &Origin<'a>,
        context: &Context,
    ) -> (Origin<'a>, Arc<Trail>) {
        let id = origin.message_id.unwrap_or_else(|| self.next_message_id(context.now_ms()));
        if context.has_traces() {
            self.trace_routed(id, routes, origin, context.now_ms());
        }
        let trail = Trail {
            id: Some(id),
            client_id: origin.client_id.clone(),
            username: origin.username.cloned(),
            received_at_ms: context.now_ms(),
            hops: origin.hops,
            watch: routes.watch.clone(),
        };
        (Origin { message_id: Some(id), ..*origin }, Arc::new(trail))
    }

    /// Makes the trail of a retained message that goes to a new subscription, as far as its past is kept.
    pub(crate) fn trail_of_retained(&self, retained: &Retained, context: &Context) -> Option<Arc<Trail>> {
        let watch = self.routes().watch_of(retained.publish.topic());
        (context.keeps_trails() | watch.is_some()).then(|| {
            Arc::new(Trail {
                id: None,
                client_id: retained.client_id.clone(),
                username: None,
                received_at_ms: retained.received_at_ms,
                hops: 0,
                watch,
            })
        })
    }
}
