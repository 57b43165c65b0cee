//! The protocol of one network connection.

mod acknowledge;
mod aliases;
mod connect;
mod deliver;
mod publish;
mod subscribe;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use broker_codec::{
    DecodeError, Disconnect, Packet, Peer, Properties, PropertiesRef, QoS, ReasonCode, Version, Violation,
    encode_unsupported_version,
};
use engine_event::EventKind;
use tracing::debug;

use crate::access::{Identity, Refusal};
use crate::broker::Broker;
use crate::certificate::PeerCertificate;
use crate::config::ForceShutdown;
use crate::context::{ConnectionKey, Context};
use crate::lifecycle::{Ending, WillFate};
use crate::metrics::Metric;
use crate::outgoing::Outgoing;
use crate::reason::CloseReason;
use crate::routes::Routes;
use crate::session::{Profile, Session, Traffic};
use crate::zone::Zone;
use acknowledge::{HeldPackets, PendingAcks};
use aliases::{ReceivedAliases, SentAliases};
use connect::{Waiting, peer_of};

/// One network connection, from its first packet to its last.
///
/// It belongs to one thread. What the client is to be sent is put into an [`Outgoing`]; messages wait in the session
/// until [`Connection::fill`] is called, which is due whenever the connection's key comes out of a [`Context`] or
/// through [`Outlets::flush`](crate::Outlets::flush).
#[derive(Debug)]
pub struct Connection {
    broker: Arc<Broker>,
    outlet: ConnectionKey,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Nothing came yet.
    New(Box<Endpoints>),
    /// A CONNECT waits for the judgement of the authenticator.
    Authenticating(Box<Waiting>),
    Open(Box<Open>),
    Closed,
}

/// A connection that has a session.
#[derive(Debug)]
struct Open {
    session: Arc<Session>,
    /// What holds for the client.
    zone: Arc<Zone>,
    /// Highest QoS of what it publishes: that of the zone.
    max_qos: QoS,
    /// What happens to the session is written down.
    durable: bool,
    profile: Arc<Profile>,
    /// Whether no authorizer has to be asked.
    allows_everything: bool,
    /// Routes of the last topic published to.
    last_routes: Option<Arc<Routes>>,
    received_aliases: Option<Box<ReceivedAliases>>,
    sent_aliases: Option<Box<SentAliases>>,
    acks: Option<Box<PendingAcks>>,
    /// Packets that wait for the journal.
    held: Option<Box<HeldPackets>>,
}

/// The two ends of a network connection, and the listener that took it.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// Address of the client.
    pub remote: SocketAddr,
    /// Address that the client connected to.
    pub local: SocketAddr,
    /// Name of the listener, `tcp:default`.
    pub listener: Arc<str>,
    /// Template of the prefix that the listener gives topics, if it gives one.
    pub mountpoint: Option<Arc<str>>,
    /// The zone that the listener names, if it names one.
    pub zone: Option<Arc<str>>,
    /// The certificate that the client has shown.
    pub certificate: Option<Box<PeerCertificate>>,
}

impl Endpoints {
    /// Names the two ends and the listener; there is no prefix, no zone and no certificate.
    pub fn new(remote: SocketAddr, local: SocketAddr, listener: Arc<str>) -> Self {
        Self { remote, local, listener, mountpoint: None, zone: None, certificate: None }
    }
}

/// How a connection goes on after a packet.
pub enum Flow {
    /// Read on.
    Continue,
    /// Send what is to be sent, then close.
    Close,
    /// Read nothing until the future is done, then call [`Connection::authenticated`].
    Authenticate(Pin<Box<dyn Future<Output = Result<Identity, Refusal>> + Send>>),
}

impl Connection {
    /// Starts with a new network connection.
    pub fn new(broker: Arc<Broker>, outlet: ConnectionKey, endpoints: Endpoints) -> Self {
        Self { broker, outlet, phase: Phase::New(Box::new(endpoints)) }
    }

    /// Returns after how many milliseconds without a packet the connection ends; `None` for never.
    ///
    /// Meaningful once a CONNECT was accepted.
    pub fn silence_limit_ms(&self) -> Option<u64> {
        let Phase::Open(open) = &self.phase else { return None };
        let keep_alive_s = u64::from(open.profile.keep_alive_s);
        let multiplier = u64::from(open.zone.keep_alive_multiplier_permille);
        (keep_alive_s > 0).then_some(keep_alive_s * multiplier)
    }

    /// Says whether a CONNECT was accepted and the connection has not ended.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// Takes a packet from the client.
    #[inline]
    pub fn handle(&mut self, packet: Packet, context: &mut Context, out: &mut Outgoing) -> Flow {
        match packet {
            Packet::Publish(publish) => self.publish(publish, context, out),
            other => self.handle_other(other, context, out),
        }
    }

    fn handle_other(&mut self, packet: Packet, context: &mut Context, out: &mut Outgoing) -> Flow {
        count_received(&packet, context);
        if let Packet::Connect(connect) = packet {
            return self.connect(*connect, context, out);
        }
        let Phase::Open(open) = &self.phase else {
            return Flow::Close; // the decoder lets nothing else be first
        };
        if context.has_traces() {
            let now_ms = context.now_ms();
            self.broker.trace_packet(&open.session, &open.profile, &packet, now_ms);
        }
        match packet {
            Packet::PubAck(ack) => self.puback(&ack, context),
            Packet::PubRec(ack) => self.pubrec(&ack, context, out),
            Packet::PubRel(ack) => self.pubrel(&ack, context, out),
            Packet::PubComp(ack) => self.pubcomp(&ack, context),
            Packet::Subscribe(subscribe) => return self.subscribe(&subscribe, context, out),
            Packet::Unsubscribe(unsubscribe) => return self.unsubscribe(&unsubscribe, context, out),
            Packet::PingReq => {
                context.count(Metric::PingRespSent, 1);
                self.send(&Packet::PingResp, context, out);
                self.tell_ping(context);
            }
            Packet::Disconnect(disconnect) => return self.client_disconnect(&disconnect, context, out),
            Packet::Auth(_) => {
                return self.fail(
                    ReasonCode::PROTOCOL_ERROR,
                    "no authentication method was agreed on",
                    context,
                    out,
                );
            }
            _ => {
                return self.fail(
                    ReasonCode::PROTOCOL_ERROR,
                    "only a server sends this packet",
                    context,
                    out,
                );
            }
        }
        Flow::Continue
    }

    fn tell_ping(&self, context: &Context) {
        if context.wants(EventKind::ClientPing)
            && let Phase::Open(open) = &self.phase
        {
            let expiry_interval_s = open.session.state().expiry_interval_s;
            let (client_id, now_ms) = (open.session.client_id(), context.now_ms());
            self.broker.tell_ping(client_id, &open.profile, expiry_interval_s, now_ms);
        }
    }

    /// Ends the connection because of bytes that are no packet. `version` is what the decoder knows of the client.
    pub fn decode_failed(
        &mut self,
        error: &DecodeError,
        version: Option<Version>,
        context: &mut Context,
        out: &mut Outgoing,
    ) {
        debug!(%error, "packet not understood");
        if let DecodeError::UnsupportedVersion { level } = error {
            encode_unsupported_version(*level, out.buffer());
            self.phase = Phase::Closed;
            return;
        }
        if error.closes_silently() {
            self.phase = Phase::Closed;
            return;
        }
        let code = error.reason_code();
        let reason = reason_string(error);
        if context.has_traces() {
            self.trace_malformed(error, context);
        }
        match &self.phase {
            Phase::Open(_) => {
                self.fail(code, reason, context, out);
            }
            Phase::New(_) | Phase::Authenticating(_) => {
                if version == Some(Version::V5) {
                    let peer = match &self.phase {
                        Phase::Authenticating(waiting) => peer_of(&waiting.connect),
                        _ => Peer::new(Version::V5),
                    };
                    self.refuse(&peer, code, reason, context, out);
                }
                self.phase = Phase::Closed;
            }
            Phase::Closed => {}
        }
    }

    #[cold]
    fn trace_malformed(&self, error: &DecodeError, context: &Context) {
        let (remote, session) = match &self.phase {
            Phase::New(endpoints) => (endpoints.remote, None),
            Phase::Authenticating(waiting) => (waiting.remote(), None),
            Phase::Open(open) => (open.profile.remote, Some(&*open.session)),
            Phase::Closed => return,
        };
        self.broker.trace_malformed(remote, session, error, context.now_ms());
    }

    /// Ends the connection for a reason of the broker or the network, and tells the client what it may be told.
    ///
    /// Does nothing when the connection has ended already; when it has lost its session, only the client is told.
    pub fn close(&mut self, reason: CloseReason, context: &mut Context, out: &mut Outgoing) {
        if let Some((code, text)) = reason.farewell() {
            self.say_goodbye(code, text, context, out);
        }
        let will = match &self.phase {
            // a stop of the server is not the end of its clients, and 5.0 lets a will wait for their return; one with
            // a delay goes on waiting if the session does
            Phase::Open(open)
                if reason == CloseReason::ServerShutdown
                    && open.profile.version() == Version::V5
                    && !(open.durable && open.will_waits()) =>
            {
                WillFate::Discard
            }
            _ => WillFate::Publish,
        };
        self.end(reason, will, None, PropertiesRef::default(), context);
    }

    /// Answers a breach of the protocol, and ends the connection.
    fn fail(
        &mut self,
        code: ReasonCode,
        reason: &'static str,
        context: &mut Context,
        out: &mut Outgoing,
    ) -> Flow {
        if context.has_traces()
            && let Phase::Open(open) = &self.phase
        {
            self.broker.trace_failed(&open.session, &open.profile, (code, reason), context.now_ms());
        }
        self.say_goodbye(code, reason, context, out);
        let why = match code {
            ReasonCode::NOT_AUTHORIZED => CloseReason::NotAuthorized,
            ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR => CloseReason::InternalError,
            _ => CloseReason::ProtocolError,
        };
        self.end(why, WillFate::Publish, None, PropertiesRef::default(), context);
        Flow::Close
    }

    /// Sends a DISCONNECT to a client that knows it and has been sent its CONNACK.
    fn say_goodbye(&self, code: ReasonCode, reason: &'static str, context: &Context, out: &mut Outgoing) {
        let Phase::Open(open) = &self.phase else { return };
        if open.profile.version() == Version::V5 && !open.holds_connack() {
            let untold =
                open.session.state_for(self.outlet).map_or(0, |mut state| state.dropped.take_untold());
            let properties = match untold {
                0 => Properties::with_reason_string(reason),
                dropped => {
                    let more = format!("{reason}; {dropped} messages were dropped because too many waited");
                    Properties::with_reason_string(&more)
                }
            };
            context.count(Metric::DisconnectSent, 1);
            self.send(&Packet::Disconnect(Disconnect { reason: code, properties }), context, out);
        }
    }

    fn end(
        &mut self,
        reason: CloseReason,
        will: WillFate,
        expiry_interval_s: Option<u32>,
        properties: PropertiesRef<'_>,
        context: &mut Context,
    ) {
        let Phase::Open(open) = std::mem::replace(&mut self.phase, Phase::Closed) else { return };
        let ending = Ending { reason, will, expiry_interval_s, properties };
        self.broker.detach(&open.session, self.outlet, &ending, context);
    }

    fn client_disconnect(
        &mut self,
        disconnect: &Disconnect,
        context: &mut Context,
        out: &mut Outgoing,
    ) -> Flow {
        let Phase::Open(open) = &self.phase else { return Flow::Close };
        let expiry_interval_s = disconnect.properties.as_ref().session_expiry_interval();
        if expiry_interval_s.is_some_and(|expiry_s| expiry_s > 0) {
            let had_none =
                open.session.state_for(self.outlet).is_some_and(|state| state.expiry_interval_s == 0);
            if had_none {
                let reason = "a session that ends with its connection cannot be given an expiry interval";
                return self.fail(ReasonCode::PROTOCOL_ERROR, reason, context, out);
            }
        }
        let will = match disconnect.reason {
            ReasonCode::NORMAL_DISCONNECTION => WillFate::Discard,
            _ => WillFate::Publish,
        };
        self.end(CloseReason::Normal, will, expiry_interval_s, disconnect.properties.as_ref(), context);
        Flow::Close
    }

    /// Puts a packet for the client into `out`, and says whether the client takes it.
    fn send(&self, packet: &Packet, context: &Context, out: &mut Outgoing) -> bool {
        let Phase::Open(open) = &self.phase else { return false };
        open.push(packet, context, out)
    }

    /// Notes how much came in and went out, once for each batch.
    pub fn count_traffic(&self, received_bytes: u64, received_packets: u64, context: &Context) {
        context.count(Metric::BytesReceived, received_bytes);
        context.count(Metric::PacketsReceived, received_packets);
        if let Phase::Open(open) = &self.phase {
            let traffic = open.session.traffic();
            Traffic::add(&traffic.received_bytes, received_bytes);
            Traffic::add(&traffic.received_packets, received_packets);
        }
    }

    /// Notes how much waits at the connection, in both directions.
    pub fn note_buffered(&self, bytes: usize) {
        if let Phase::Open(open) = &self.phase {
            open.session.traffic().buffered_bytes.store(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Returns how much may be kept for the client, if that is limited.
    pub fn force_shutdown(&self) -> Option<ForceShutdown> {
        let Phase::Open(open) = &self.phase else { return None };
        open.zone.force_shutdown
    }

    /// Returns how many messages wait for the client, and the bytes of those and of those under way.
    pub fn weight(&self) -> (usize, usize) {
        let Phase::Open(open) = &self.phase else { return (0, 0) };
        let state = open.session.state();
        (state.waiting_len(), state.queue.bytes() + state.inflight.bytes())
    }

    /// Notes how much was written to the socket.
    pub fn count_sent_bytes(&self, sent_bytes: u64, context: &Context) {
        context.count(Metric::BytesSent, sent_bytes);
        if let Phase::Open(open) = &self.phase {
            Traffic::add(&open.session.traffic().sent_bytes, sent_bytes);
        }
    }
}

fn count_received(packet: &Packet, context: &Context) {
    let metric = match packet {
        Packet::Connect(_) => Metric::ConnectReceived,
        Packet::PubAck(_) => Metric::PubAckReceived,
        Packet::PubRec(_) => Metric::PubRecReceived,
        Packet::PubRel(_) => Metric::PubRelReceived,
        Packet::PubComp(_) => Metric::PubCompReceived,
        Packet::Subscribe(_) => Metric::SubscribeReceived,
        Packet::Unsubscribe(_) => Metric::UnsubscribeReceived,
        Packet::PingReq => Metric::PingReqReceived,
        Packet::Disconnect(_) => Metric::DisconnectReceived,
        Packet::Auth(_) => Metric::AuthReceived,
        _ => return,
    };
    context.count(metric, 1);
}

/// A short fixed text for what is wrong with a packet.
fn reason_string(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::Malformed { .. } => "malformed packet",
        DecodeError::Protocol { reason: Violation::SecondConnect, .. } => "second CONNECT",
        DecodeError::Protocol { .. } => "protocol error",
        DecodeError::TooLarge { .. } => "packet too large",
        DecodeError::UnsupportedVersion { .. } | DecodeError::BadProtocolName { .. } => {
            "unsupported protocol"
        }
    }
}
