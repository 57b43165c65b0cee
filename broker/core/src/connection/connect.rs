//! CONNECT and its answer.

use std::net::SocketAddr;
use std::sync::Arc;

use broker_codec::{
    ConnAck, Connect, MAX_PACKET_SIZE, Packet, Peer, Properties, PropertiesRef, Property, QoS, ReasonCode,
    Version, Will, topic,
};
use engine_event::Text;

use super::aliases::SentAliases;
use super::{Connection, Endpoints, Flow, Open, Phase};
use crate::access::{Identity, Judgement, Login, Refusal};
use crate::bans::Suspect;
use crate::context::Context;
use crate::lifecycle::{Opening, WillFate};
use crate::metrics::Metric;
use crate::mountpoint::{Mountpoint, Names};
use crate::outgoing::Outgoing;
use crate::reason::CloseReason;
use crate::session::{PendingWill, Profile, Traffic};
use crate::zone::Zone;

/// About what is written down of a new session.
const SESSION_BYTES: usize = 256;

/// Why a CONNECT is refused.
type Refused = (ReasonCode, &'static str);

/// A CONNECT that was checked and is to be judged.
#[derive(Debug)]
pub(super) struct Waiting {
    endpoints: Endpoints,
    zone: Arc<Zone>,
    pub(super) connect: Connect,
    /// Whether the client id is one that we made up.
    assigned: bool,
}

impl Waiting {
    /// Returns the address of the client.
    pub(super) fn remote(&self) -> SocketAddr {
        self.endpoints.remote
    }
}

impl Connection {
    pub(super) fn connect(
        &mut self,
        mut connect: Connect,
        context: &mut Context,
        out: &mut Outgoing,
    ) -> Flow {
        let Phase::New(endpoints) = std::mem::replace(&mut self.phase, Phase::Closed) else {
            return Flow::Close; // the decoder refuses a second one
        };
        context.count(Metric::ClientConnect, 1);
        if context.has_traces() {
            self.broker.trace_connect(&endpoints, &connect, context.now_ms());
        }
        let zone = Arc::clone(self.broker.zones.get(endpoints.zone.as_deref()));
        let renamed = match rename(&mut connect, &endpoints, &zone) {
            Ok(renamed) => renamed,
            Err((code, reason)) => {
                self.broker.tell_refused(&endpoints, &connect, code, context.now_ms());
                return self.refuse(&peer_of(&connect), code, reason, context, out);
            }
        };
        if let Err((code, reason)) = check_connect(&connect, &zone) {
            self.broker.tell_refused(&endpoints, &connect, code, context.now_ms());
            return self.refuse(&peer_of(&connect), code, reason, context, out);
        }
        if self.broker.is_too_much(&connect) {
            let (code, reason) = (ReasonCode::SERVER_BUSY, "memory is short, try again later");
            context.count(Metric::OverloadNewConnection, 1);
            self.broker.tell_refused(&endpoints, &connect, code, context.now_ms());
            return self.refuse(&peer_of(&connect), code, reason, context, out);
        }
        let assigned = renamed || connect.client_id.is_empty();
        if connect.client_id.is_empty() {
            connect.client_id = self.assign_client_id();
        }
        if self.is_banned(&connect, &endpoints, context) {
            return self.refuse_banned(&connect, &endpoints, context, out);
        }
        context.count(Metric::ClientAuthenticate, 1);
        let judgement = self.broker.authenticator().authenticate(&Login {
            client_id: &connect.client_id,
            username: connect.username.as_deref(),
            password: connect.password.as_ref(),
            peer: endpoints.remote,
            listener: &endpoints.listener,
            version: connect.version,
            certificate: endpoints.certificate.as_deref(),
        });
        connect.password = None;
        let waiting = Waiting { endpoints: *endpoints, zone, connect, assigned };
        match judgement {
            Judgement::Now(result) => self.judged(waiting, result, context, out),
            Judgement::Later(future) => {
                self.phase = Phase::Authenticating(Box::new(waiting));
                Flow::Authenticate(future)
            }
        }
    }

    /// Goes on with the CONNECT that waited for its authentication.
    pub fn authenticated(
        &mut self,
        result: Result<Identity, Refusal>,
        context: &mut Context,
        out: &mut Outgoing,
    ) -> Flow {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Authenticating(waiting)
                if self.is_banned(&waiting.connect, &waiting.endpoints, context) =>
            {
                self.refuse_banned(&waiting.connect, &waiting.endpoints, context, out)
            }
            Phase::Authenticating(waiting) => self.judged(*waiting, result, context, out),
            other => {
                self.phase = other;
                Flow::Close
            }
        }
    }

    fn judged(
        &mut self,
        waiting: Waiting,
        result: Result<Identity, Refusal>,
        context: &mut Context,
        out: &mut Outgoing,
    ) -> Flow {
        let Waiting { endpoints, connect, .. } = &waiting;
        self.broker.tell_authenticated(endpoints, connect, result.as_ref(), context.now_ms());
        match result {
            Ok(identity) => {
                context.count(Metric::AuthenticationSuccess, 1);
                if identity.is_anonymous {
                    context.count(Metric::AuthenticationSuccessAnonymous, 1);
                    context.count(Metric::ClientAuthAnonymous, 1);
                }
                self.accept(waiting, identity, context, out)
            }
            Err(refusal) => {
                context.count(Metric::AuthenticationFailure, 1);
                context.count(Metric::ConnAckAuthError, 1);
                self.broker.tell_refused(endpoints, connect, refusal.code, context.now_ms());
                self.broker.note_refusal(waiting.endpoints.remote.ip(), &waiting.zone, context.now_ms());
                self.refuse(&peer_of(&waiting.connect), refusal.code, refusal.reason, context, out)
            }
        }
    }

    fn is_banned(&self, connect: &Connect, endpoints: &Endpoints, context: &Context) -> bool {
        let suspect = Suspect {
            client_id: &connect.client_id,
            username: connect.username.as_deref(),
            address: endpoints.remote.ip(),
        };
        self.broker.bans().finds(&suspect, context.now_ms())
    }

    fn refuse_banned(
        &mut self,
        connect: &Connect,
        endpoints: &Endpoints,
        context: &Context,
        out: &mut Outgoing,
    ) -> Flow {
        self.broker.tell_refused(endpoints, connect, ReasonCode::BANNED, context.now_ms());
        self.refuse(&peer_of(connect), ReasonCode::BANNED, "banned", context, out)
    }

    fn accept(
        &mut self,
        waiting: Waiting,
        identity: Identity,
        context: &mut Context,
        out: &mut Outgoing,
    ) -> Flow {
        let Waiting { endpoints, zone, connect, assigned } = waiting;
        let mountpoint = mountpoint(&endpoints, &zone, &connect, &identity);
        let will = mountpoint.and_then(|mountpoint| {
            let will = connect.will.as_ref();
            let will = will.map(pending_will).transpose()?;
            Ok((mountpoint, will))
        });
        let (mountpoint, will) = match will {
            Ok(found) => found,
            Err((code, reason)) => {
                self.broker.tell_refused(&endpoints, &connect, code, context.now_ms());
                return self.refuse(&peer_of(&connect), code, reason, context, out);
            }
        };
        let requested_expiry_s = connect.properties.as_ref().session_expiry_interval().unwrap_or(0);
        let expiry_interval_s = match connect.version {
            Version::V5 => requested_expiry_s.min(zone.max_session_expiry_interval_s),
            Version::V3 | Version::V4 if connect.clean_start => 0,
            Version::V3 | Version::V4 => zone.session_expiry_interval_s,
        };
        let topic_alias_maximum = connect.properties.as_ref().topic_alias_maximum().unwrap_or(0);
        let imposed_keep_alive_s = imposed_keep_alive_s(&connect, &zone);
        let resumes = !connect.clean_start && self.broker.registry.get(&connect.client_id).is_some();
        let is_kept = expiry_interval_s > 0 && zone.durable;
        if is_kept && !self.broker.durable.admits(if resumes { 0 } else { SESSION_BYTES }) {
            let reason = "the session cannot be stored";
            let now_ms = context.now_ms();
            self.broker.tell_refused(&endpoints, &connect, ReasonCode::QUOTA_EXCEEDED, now_ms);
            return self.refuse(&peer_of(&connect), ReasonCode::QUOTA_EXCEEDED, reason, context, out);
        }
        let mut profile =
            self.profile(endpoints, (Arc::clone(&zone), mountpoint), &connect, identity, context);
        if !connect.properties.is_empty() {
            profile.properties = Some(Box::new(connect.properties));
        }
        let profile = Arc::new(profile);
        let opened = self.broker.open(
            Opening {
                client_id: connect.client_id,
                profile: Arc::clone(&profile),
                outlet: self.outlet,
                // one identifier less than there are, for the table of those in flight
                window: zone.max_inflight.min(profile.receive_maximum).min(u16::MAX - 2),
                expiry_interval_s,
                will,
            },
            context,
        );
        let mut properties = Properties::new();
        if profile.version() == Version::V5 {
            let assigned = assigned.then(|| opened.session.client_id().clone());
            let expiry = (expiry_interval_s != requested_expiry_s).then_some(expiry_interval_s);
            properties = capabilities(&zone, assigned.as_ref(), expiry, imposed_keep_alive_s);
        }
        self.phase = Phase::Open(Box::new(Open {
            session: opened.session,
            durable: opened.durable,
            max_qos: zone.max_qos,
            zone,
            profile,
            allows_everything: self.broker.authorizer().allows_everything(),
            last_routes: None,
            received_aliases: None,
            sent_aliases: SentAliases::up_to(topic_alias_maximum),
            acks: None,
            held: None,
        }));
        let connack = ConnAck { session_present: opened.present, reason: ReasonCode::SUCCESS, properties };
        context.count(Metric::ConnAckSent, 1);
        context.count(Metric::ClientConnAck, 1);
        if let Phase::Open(open) = &mut self.phase
            && !open.push_after(opened.position, Packet::ConnAck(connack), context, out)
        {
            return self.connack_too_large(context);
        }
        self.auto_subscribe(context);
        if let Phase::Open(open) = &self.phase {
            Traffic::add(&open.session.traffic().received_packets, 1);
            // a ban that was made since the list was asked did not find the session yet
            if self.broker.is_unwelcome(open.session.client_id(), &open.profile, context.now_ms()) {
                self.close(CloseReason::Kicked, context, out);
                return Flow::Close;
            }
        }
        Flow::Continue
    }

    /// Ends a connection whose Maximum Packet Size is too small for CONNACK: without it the client would wait for ever.
    pub(super) fn connack_too_large(&mut self, context: &mut Context) -> Flow {
        self.end(CloseReason::ProtocolError, WillFate::Discard, None, PropertiesRef::default(), context);
        Flow::Close
    }

    fn profile(
        &self,
        endpoints: Endpoints,
        (zone, mountpoint): (Arc<Zone>, Option<Mountpoint>),
        connect: &Connect,
        identity: Identity,
        context: &Context,
    ) -> Profile {
        let properties = connect.properties.as_ref();
        let imposed_keep_alive_s = imposed_keep_alive_s(connect, &zone);
        Profile {
            number: self.broker.next_connection_number(),
            zone,
            username: connect.username.as_deref().map(Text::from),
            remote: endpoints.remote,
            local: endpoints.local,
            listener: endpoints.listener,
            mountpoint,
            peer: peer_of(connect),
            bridge: connect.bridge,
            clean_start: connect.clean_start,
            keep_alive_s: imposed_keep_alive_s.unwrap_or(connect.keep_alive_s),
            receive_maximum: properties.receive_maximum().unwrap_or(u16::MAX),
            connected_at_ms: context.now_ms(),
            identity,
            properties: None,
        }
    }

    /// Refuses a CONNECT of that peer, in as many words as the peer takes.
    pub(super) fn refuse(
        &mut self,
        peer: &Peer,
        code: ReasonCode,
        reason: &'static str,
        context: &Context,
        out: &mut Outgoing,
    ) -> Flow {
        context.count(Metric::ConnAckSent, 1);
        context.count(Metric::ConnAckError, 1);
        let properties = match peer.version {
            Version::V5 => Properties::with_reason_string(reason),
            Version::V3 | Version::V4 => Properties::new(),
        };
        let connack = ConnAck { session_present: false, reason: code, properties };
        if out.push_packet(&Packet::ConnAck(connack), peer) {
            context.count(Metric::PacketsSent, 1);
        }
        Flow::Close
    }

    /// Makes up a client id that no session has.
    fn assign_client_id(&self) -> String {
        loop {
            let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(18).collect();
            let client_id = format!("auto-{random}");
            if self.broker.registry.get(&client_id).is_none() {
                return client_id;
            }
        }
    }
}

/// What a CONNECT says of the packets that its client takes.
pub(super) fn peer_of(connect: &Connect) -> Peer {
    let properties = connect.properties.as_ref();
    Peer {
        version: connect.version,
        maximum_packet_size: properties.maximum_packet_size().unwrap_or(MAX_PACKET_SIZE),
        problem_information: properties.request_problem_information().unwrap_or(true),
    }
}

/// Gives the client the names that its certificate says, and tells whether its client id is another one now.
///
/// A client without a certificate keeps its names: whether it needs one is the listener's business.
fn rename(connect: &mut Connect, endpoints: &Endpoints, zone: &Zone) -> Result<bool, Refused> {
    let Some(certificate) = &endpoints.certificate else { return Ok(false) };
    let missing = (ReasonCode::NOT_AUTHORIZED, "the certificate lacks the field that names clients");
    if let Some(field) = zone.peer_cert_as_username {
        connect.username = Some(certificate.field(field).ok_or(missing)?.to_owned());
    }
    let Some(field) = zone.peer_cert_as_client_id else { return Ok(false) };
    let client_id = certificate.field(field).ok_or(missing)?;
    let renamed = connect.client_id != client_id;
    connect.client_id = client_id.to_owned();
    Ok(renamed)
}

fn check_connect(connect: &Connect, zone: &Zone) -> Result<(), Refused> {
    let properties = connect.properties.as_ref();
    if properties.authentication_method().is_some() {
        return Err((ReasonCode::BAD_AUTHENTICATION_METHOD, "authentication method not supported"));
    }
    let empty_allowed = match connect.version {
        Version::V3 => false,
        Version::V4 => connect.clean_start,
        Version::V5 => true,
    };
    if connect.client_id.is_empty() && !empty_allowed {
        return Err((ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, "client id must not be empty"));
    }
    if connect.client_id.len() > zone.max_client_id_len {
        return Err((ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, "client id too long"));
    }
    connect.will.as_ref().map_or(Ok(()), |will| check_will(will, zone))
}

fn check_will(will: &Will, zone: &Zone) -> Result<(), Refused> {
    if will.qos > zone.max_qos {
        return Err((ReasonCode::QOS_NOT_SUPPORTED, "will QoS not supported"));
    }
    if will.retain && !zone.retain_available {
        return Err((ReasonCode::RETAIN_NOT_SUPPORTED, "retain not supported"));
    }
    if topic::level_count(&will.topic) > zone.max_topic_levels {
        return Err((ReasonCode::TOPIC_NAME_INVALID, "will topic has too many levels"));
    }
    Ok(())
}

/// The keep alive that the client is told instead of its own; only 5.0 has a way to tell.
fn imposed_keep_alive_s(connect: &Connect, zone: &Zone) -> Option<u16> {
    (connect.version == Version::V5).then(|| zone.imposed_keep_alive_s(connect.keep_alive_s)).flatten()
}

/// What the CONNACK says about the broker.
fn capabilities(
    zone: &Zone,
    assigned: Option<&Text>,
    expiry_interval_s: Option<u32>,
    keep_alive_s: Option<u16>,
) -> Properties {
    let assigned = assigned.and_then(Text::as_str);
    let list = [
        expiry_interval_s.map(Property::SessionExpiryInterval),
        Some(Property::ReceiveMaximum(zone.receive_maximum)),
        (zone.max_qos < QoS::ExactlyOnce).then_some(Property::MaximumQoS(zone.max_qos)),
        (!zone.retain_available).then_some(Property::RetainAvailable(false)),
        Some(Property::MaximumPacketSize(zone.max_packet_size)),
        assigned.map(Property::AssignedClientIdentifier),
        Some(Property::TopicAliasMaximum(zone.max_topic_alias)),
        (!zone.wildcard_subscription).then_some(Property::WildcardSubscriptionAvailable(false)),
        (!zone.shared_subscription).then_some(Property::SharedSubscriptionAvailable(false)),
        keep_alive_s.map(Property::ServerKeepAlive),
    ];
    let mut properties = Properties::new();
    for property in list.into_iter().flatten() {
        // each is there once and within its range: the configuration was clamped
        let _ = properties.push(property);
    }
    properties
}

/// The prefix of the topics of a client.
fn mountpoint(
    endpoints: &Endpoints,
    zone: &Zone,
    connect: &Connect,
    identity: &Identity,
) -> Result<Option<Mountpoint>, Refused> {
    let Some(template) = &endpoints.mountpoint else { return Ok(None) };
    let who = Names {
        client_id: &connect.client_id,
        username: connect.username.as_deref(),
        zone: zone.name(),
        attributes: &identity.attributes,
    };
    Mountpoint::fill(template, who).map_err(|_| {
        (ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, "a wildcard in a name that becomes part of topics")
    })
}

fn pending_will(will: &Will) -> Result<Box<PendingWill>, Refused> {
    let delay_s = will.properties.as_ref().will_delay_interval().unwrap_or(0);
    let no_message = |_| (ReasonCode::TOPIC_NAME_INVALID, "will is not a message");
    let publish = will.to_publish().map_err(no_message)?;
    Ok(Box::new(PendingWill { publish, delay_s }))
}
