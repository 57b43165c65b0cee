//! The control packets, except CONNECT and PUBLISH, which have modules of their own.

use crate::connect::Connect;
use crate::property::Properties;
use crate::protocol::{PacketId, PacketType, QoS};
use crate::publish::Publish;
use crate::reason::ReasonCode;

/// A control packet of any version.
///
/// What a version does not have is empty: before 5.0 there are no properties, and the reason code of an
/// acknowledgement is [`ReasonCode::SUCCESS`].
#[derive(Debug, Clone, PartialEq)]
pub enum Packet {
    /// A client opens a connection.
    Connect(Box<Connect>),
    /// The answer to CONNECT.
    ConnAck(ConnAck),
    /// A message.
    Publish(Publish),
    /// The answer to a PUBLISH of QoS 1.
    PubAck(Ack),
    /// The first answer to a PUBLISH of QoS 2.
    PubRec(Ack),
    /// The answer to PUBREC.
    PubRel(Ack),
    /// The answer to PUBREL.
    PubComp(Ack),
    /// A client asks for subscriptions.
    Subscribe(Subscribe),
    /// The answer to SUBSCRIBE.
    SubAck(SubAck),
    /// A client ends subscriptions.
    Unsubscribe(Unsubscribe),
    /// The answer to UNSUBSCRIBE.
    UnsubAck(UnsubAck),
    /// A client shows that it is there.
    PingReq,
    /// The answer to PINGREQ.
    PingResp,
    /// The last packet of a connection.
    Disconnect(Disconnect),
    /// A step of an authentication (5.0).
    Auth(Auth),
}

/// A packet is moved about by value, once per message: keep it within a cache line.
const _: () = assert!(size_of::<Packet>() <= 64);

impl Packet {
    /// Returns the type of the packet.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Packet::Connect(_) => PacketType::Connect,
            Packet::ConnAck(_) => PacketType::ConnAck,
            Packet::Publish(_) => PacketType::Publish,
            Packet::PubAck(_) => PacketType::PubAck,
            Packet::PubRec(_) => PacketType::PubRec,
            Packet::PubRel(_) => PacketType::PubRel,
            Packet::PubComp(_) => PacketType::PubComp,
            Packet::Subscribe(_) => PacketType::Subscribe,
            Packet::SubAck(_) => PacketType::SubAck,
            Packet::Unsubscribe(_) => PacketType::Unsubscribe,
            Packet::UnsubAck(_) => PacketType::UnsubAck,
            Packet::PingReq => PacketType::PingReq,
            Packet::PingResp => PacketType::PingResp,
            Packet::Disconnect(_) => PacketType::Disconnect,
            Packet::Auth(_) => PacketType::Auth,
        }
    }
}

/// The answer to a CONNECT.
///
/// Before 5.0 the reason is one of those of [`ConnectReturnCode`](crate::ConnectReturnCode).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server still has the session of the client id. MQTT 3.1 does not say.
    pub session_present: bool,
    /// [`ReasonCode::SUCCESS`], or why the connection is refused.
    pub reason: ReasonCode,
    /// The properties (5.0).
    pub properties: Properties,
}

/// A PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The packet identifier of the PUBLISH.
    pub packet_id: PacketId,
    /// What became of it (5.0).
    pub reason: ReasonCode,
    /// The properties (5.0).
    pub properties: Properties,
}

impl Ack {
    /// Makes an acknowledgement without properties.
    pub const fn new(packet_id: PacketId, reason: ReasonCode) -> Ack {
        Ack { packet_id, reason, properties: Properties::new() }
    }
}

/// A request for subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The identifier that the SUBACK repeats.
    pub packet_id: PacketId,
    /// The properties (5.0).
    pub properties: Properties,
    /// The subscriptions, at least one.
    pub subscriptions: Vec<Subscription>,
}

/// One wish of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The topic filter as the client wrote it, `$share/…` included.
    ///
    /// It is UTF-8 without U+0000, and nothing more has been checked: a bad filter is answered in the SUBACK.
    pub filter: String,
    /// The options. Before 5.0 only the QoS can differ from the default.
    pub options: SubscriptionOptions,
}

/// How messages are delivered to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SubscriptionOptions {
    /// The highest QoS of deliveries.
    pub qos: QoS,
    /// Do not deliver what this client published itself.
    pub no_local: bool,
    /// Keep the retain flag as it was published.
    pub retain_as_published: bool,
    /// Whether retained messages are sent now.
    pub retain_handling: RetainHandling,
}

impl SubscriptionOptions {
    /// Makes the options of a version before 5.0.
    pub const fn with_qos(qos: QoS) -> SubscriptionOptions {
        SubscriptionOptions {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        }
    }

    /// Returns the options byte of 5.0.
    pub const fn as_u8(self) -> u8 {
        self.qos.as_u8()
            | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | (self.retain_handling as u8) << 4
    }
}

/// When a new subscription is sent the retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// With every SUBSCRIBE.
    #[default]
    Send = 0,
    /// When the subscription did not exist before.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// The answer to a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// The identifier of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// The properties (5.0).
    pub properties: Properties,
    /// One code for each filter of the SUBSCRIBE, in its order.
    ///
    /// Before 5.0 every failure is written as 0x80, and in 3.1, which has no failure, as granted QoS 0.
    pub reasons: Vec<ReasonCode>,
}

/// A request to end subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The identifier that the UNSUBACK repeats.
    pub packet_id: PacketId,
    /// The properties (5.0).
    pub properties: Properties,
    /// The topic filters as the client wrote them, at least one.
    pub filters: Vec<String>,
}

/// The answer to an UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// The identifier of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// The properties (5.0).
    pub properties: Properties,
    /// One code for each filter of the UNSUBSCRIBE, in its order. Before 5.0 there are none on the wire.
    pub reasons: Vec<ReasonCode>,
}

/// The last packet of a connection. Before 5.0 only clients send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// Why the sender goes.
    pub reason: ReasonCode,
    /// The properties (5.0).
    pub properties: Properties,
}

impl Disconnect {
    /// Makes a DISCONNECT without properties.
    pub const fn new(reason: ReasonCode) -> Disconnect {
        Disconnect { reason, properties: Properties::new() }
    }
}

/// A step of an authentication (5.0).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Success, continue authentication or re-authenticate.
    pub reason: ReasonCode,
    /// The properties, among them the authentication method.
    pub properties: Properties,
}
