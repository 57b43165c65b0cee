//! MQTT 3.1, 3.1.1 and 5.0 packets, from bytes and to bytes.
//!
//! The crate is a plain function of its input: no sockets, no async, no clock, no global state. It works in both
//! directions, so a server and a client (a bridge, a load tool) use the same code:
//!
//! * [`Decoder`] cuts one packet after the other from what was read and checks it strictly. It keeps no buffer.
//! * [`Packet::encode`] writes any packet; [`Packet::encode_for`] leaves out what a peer with a small Maximum
//!   Packet Size must not get.
//! * [`Publish`] is one frame and offsets into it, so that a copy is one reference count; [`Delivery`] writes it for
//!   one receiver without touching the payload.
//! * [`Properties`] stay encoded; [`PropertiesRef`] reads them.
//!
//! What belongs to the state of a connection is not checked here: topic aliases, packet identifiers in use, receive
//! maximum, keep alive, authorization, and the topic rules whose violation is answered in an acknowledgement
//! (a PUBLISH to a name with wildcards, a bad filter in a SUBSCRIBE). The functions for the latter are in [`topic`].

mod connect;
mod decode;
mod encode;
mod error;
mod packet;
mod property;
mod protocol;
mod publish;
mod reader;
mod reason;
mod text;
pub mod topic;
mod variable_int;

pub use connect::{Connect, Will};
pub use decode::{COPY_LIMIT_BYTES, Decoder, Step};
pub use encode::{Peer, encode_unsupported_version};
pub use error::{DecodeError, EncodeError, Malformed, Place, Violation};
pub use packet::{
    Ack, Auth, ConnAck, Disconnect, Packet, RetainHandling, SubAck, Subscribe, Subscription,
    SubscriptionOptions, UnsubAck, Unsubscribe,
};
pub use property::{Properties, PropertiesRef, Property, PropertyError, PropertyId, PropertyIter};
pub use protocol::{MAX_PACKET_SIZE, PacketId, PacketType, QoS, Role, Version};
pub use publish::{BuildError, Delivery, Encoded, Publish, PublishBuilder, TopicAlias, patch_packet_id};
pub use reason::{ConnectReturnCode, ReasonCode};
pub use topic::{QueueAlias, SubscribedFilter, TopicError, validate_topic_filter, validate_topic_name};
