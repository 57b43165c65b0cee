//! A waiting message as the client would get it.

use std::borrow::Cow;

use broker_codec::{Delivery, MAX_PACKET_SIZE, PacketId, Publish};

use super::{NEVER_MS, Profile, Queued};

impl Profile {
    /// Returns a message with the topic that the client knows.
    #[inline]
    pub(crate) fn unmounted<'a>(&self, publish: &'a Publish) -> Cow<'a, Publish> {
        match &self.mountpoint {
            None => Cow::Borrowed(publish),
            Some(mountpoint) => mountpoint.unmount(publish),
        }
    }

    /// Describes the PUBLISH of a message, without its packet identifier.
    #[inline]
    pub(crate) fn delivery<'a>(&self, queued: &'a Queued, now_ms: i64) -> Delivery<'a> {
        let mut delivery = Delivery::new(self.version());
        delivery.qos = queued.qos;
        delivery.retain = queued.retain;
        if let Some(extras) = &queued.extras {
            delivery.subscription_identifiers = &extras.identifiers;
        }
        if queued.expires_at_ms != NEVER_MS {
            delivery.message_expiry_interval = Some(seconds_left(queued, now_ms));
        }
        delivery
    }

    /// Says whether a message is larger than the client's Maximum Packet Size.
    #[inline]
    pub(crate) fn is_too_large(&self, queued: &Queued, now_ms: i64) -> bool {
        let limit = self.peer.maximum_packet_size;
        if limit >= MAX_PACKET_SIZE {
            return false;
        }
        let mut delivery = self.delivery(queued, now_ms);
        delivery.packet_id = Some(PacketId::MIN);
        delivery.encoded_len(&self.unmounted(&queued.publish)) > limit as usize
    }
}

/// What is left of a message's life, rounded up; no more than it had.
fn seconds_left(queued: &Queued, now_ms: i64) -> u32 {
    let left_s = (queued.expires_at_ms - now_ms + 999) / 1000;
    let left_s = u32::try_from(left_s.max(0)).unwrap_or(u32::MAX);
    queued.publish.message_expiry_interval().map_or(left_s, |original_s| left_s.min(original_s))
}
