//! Reading the packets other than CONNECT and PUBLISH.

use super::Decoder;
use super::connect::decode_connect;
use super::header::Header;
use crate::error::{Fault, Malformed, Violation};
use crate::packet::{
    Ack, Auth, ConnAck, Disconnect, Packet, RetainHandling, SubAck, Subscribe, Subscription,
    SubscriptionOptions, UnsubAck, Unsubscribe,
};
use crate::property::{Properties, PropertyId, Section};
use crate::protocol::{PacketType, QoS, Role, Version};
use crate::reader::Reader;
use crate::reason::{ConnectReturnCode, ReasonCode};

impl Decoder {
    /// Decodes a packet that is not a PUBLISH.
    pub(super) fn decode_control(&mut self, header: Header, frame: &[u8]) -> Result<Packet, Fault> {
        let Some(version) = self.version else {
            return decode_connect(header, frame, &mut self.version)
                .map(|connect| Packet::Connect(Box::new(connect)));
        };
        let packet_type = PacketType::from_u8(frame[0] >> 4).expect("the first byte has been checked");
        let reader = Reader::new(packet_type, frame, header.len);
        Body { reader, version, role: self.role }.decode(packet_type)
    }
}

/// The content of a packet after its fixed header.
struct Body<'a> {
    reader: Reader<'a>,
    version: Version,
    role: Role,
}

impl Body<'_> {
    fn decode(mut self, packet_type: PacketType) -> Result<Packet, Fault> {
        let packet = match packet_type {
            PacketType::ConnAck => Packet::ConnAck(self.connack()?),
            PacketType::PubAck => Packet::PubAck(self.ack(packet_type)?),
            PacketType::PubRec => Packet::PubRec(self.ack(packet_type)?),
            PacketType::PubRel => Packet::PubRel(self.ack(packet_type)?),
            PacketType::PubComp => Packet::PubComp(self.ack(packet_type)?),
            PacketType::Subscribe => Packet::Subscribe(self.subscribe()?),
            PacketType::SubAck => Packet::SubAck(self.suback()?),
            PacketType::Unsubscribe => Packet::Unsubscribe(self.unsubscribe()?),
            PacketType::UnsubAck => Packet::UnsubAck(self.unsuback()?),
            PacketType::PingReq => Packet::PingReq,
            PacketType::PingResp => Packet::PingResp,
            PacketType::Disconnect => Packet::Disconnect(self.disconnect()?),
            PacketType::Auth => Packet::Auth(self.auth()?),
            PacketType::Connect | PacketType::Publish => {
                unreachable!("decoded by the caller, and a second CONNECT is refused by its first byte")
            }
        };
        self.reader.finish()?;
        Ok(packet)
    }

    fn connack(&mut self) -> Result<ConnAck, Fault> {
        const FLAGS: &str = "connect acknowledge flags";
        let start = self.reader.at();
        let flags = self.reader.byte(FLAGS)?;
        let (flags_max, expected) = if self.version == Version::V3 { (0, "0") } else { (1, "0 or 1") };
        if flags > flags_max {
            let reason = Malformed::ConnAckFlags { found: flags, expected };
            return Err(self.reader.malformed(FLAGS, start, reason));
        }
        let session_present = flags != 0;
        let (reason, properties) = self.connack_reason()?;
        if session_present && reason != ReasonCode::SUCCESS {
            return Err(self.reader.violation(FLAGS, start, Violation::SessionPresentInRefusal));
        }
        Ok(ConnAck { session_present, reason, properties })
    }

    fn connack_reason(&mut self) -> Result<(ReasonCode, Properties), Fault> {
        const CODE: &str = "connect return code";
        // A server that does not know 5.0 answers in the form of 3.1.1.
        let old_form = self.version != Version::V5 || self.reader.rest() == [1];
        if !old_form {
            let reason = self.reason(PacketType::ConnAck)?;
            return Ok((reason, self.properties(&Section::CONNACK)?));
        }
        let start = self.reader.at();
        let found = self.reader.byte(CODE)?;
        match ConnectReturnCode::from_u8(found) {
            Some(code) => Ok((code.reason_code(), Properties::new())),
            None => Err(self.reader.violation(CODE, start, Violation::ReasonCode { found })),
        }
    }

    fn ack(&mut self, packet: PacketType) -> Result<Ack, Fault> {
        let packet_id = self.reader.packet_id()?;
        if self.version != Version::V5 || self.reader.left() == 0 {
            return Ok(Ack::new(packet_id, ReasonCode::SUCCESS));
        }
        let reason = self.reason(packet)?;
        let properties = match self.reader.left() {
            0 => Properties::new(),
            _ => self.properties(&Section::acknowledgement(packet))?,
        };
        Ok(Ack { packet_id, reason, properties })
    }

    fn subscribe(&mut self) -> Result<Subscribe, Fault> {
        let packet_id = self.reader.packet_id()?;
        let properties = self.properties(&Section::SUBSCRIBE)?;
        let mut subscriptions = Vec::with_capacity(1);
        while self.reader.left() > 0 {
            let filter = self.reader.text("topic filter")?.to_owned();
            let options = self.subscription_options(&filter)?;
            subscriptions.push(Subscription { filter, options });
        }
        self.require_filter(subscriptions.is_empty())?;
        Ok(Subscribe { packet_id, properties, subscriptions })
    }

    fn subscription_options(&mut self, filter: &str) -> Result<SubscriptionOptions, Fault> {
        const FIELD: &str = "subscription options";
        let start = self.reader.at();
        let found = self.reader.byte(FIELD)?;
        let reserved = if self.version == Version::V5 { 0b1100_0000 } else { 0b1111_1100 };
        if found & reserved != 0 || (self.version != Version::V5 && found == 3) {
            return Err(self.reader.malformed(FIELD, start, Malformed::SubscriptionOptions { found }));
        }
        let Some(qos) = QoS::from_u8(found & 0b11) else {
            return Err(self.reader.violation(FIELD, start, Violation::SubscriptionQosThree));
        };
        let retain_handling = match found >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(self.reader.violation(FIELD, start, Violation::RetainHandlingThree)),
        };
        let no_local = found & 0b0100 != 0;
        if no_local && (filter.starts_with("$share/") || filter.starts_with("$queue/")) {
            return Err(self.reader.violation(FIELD, start, Violation::NoLocalOnSharedSubscription));
        }
        Ok(SubscriptionOptions { qos, no_local, retain_as_published: found & 0b1000 != 0, retain_handling })
    }

    fn suback(&mut self) -> Result<SubAck, Fault> {
        let packet_id = self.reader.packet_id()?;
        let properties = self.properties(&const { Section::acknowledgement(PacketType::SubAck) })?;
        let mut reasons = Vec::with_capacity(self.reader.left());
        while self.reader.left() > 0 {
            let start = self.reader.at();
            let reason = self.reason(PacketType::SubAck)?;
            let defined = match self.version {
                Version::V3 => !reason.is_error(),
                Version::V4 => !reason.is_error() || reason == ReasonCode::UNSPECIFIED_ERROR,
                Version::V5 => true,
            };
            if !defined {
                let found = reason.as_u8();
                return Err(self.reader.violation("return code", start, Violation::ReasonCode { found }));
            }
            reasons.push(reason);
        }
        self.require_reason(reasons.is_empty())?;
        Ok(SubAck { packet_id, properties, reasons })
    }

    fn unsubscribe(&mut self) -> Result<Unsubscribe, Fault> {
        let packet_id = self.reader.packet_id()?;
        let properties = self.properties(&Section::UNSUBSCRIBE)?;
        let mut filters = Vec::with_capacity(1);
        while self.reader.left() > 0 {
            filters.push(self.reader.text("topic filter")?.to_owned());
        }
        self.require_filter(filters.is_empty())?;
        Ok(Unsubscribe { packet_id, properties, filters })
    }

    fn unsuback(&mut self) -> Result<UnsubAck, Fault> {
        let packet_id = self.reader.packet_id()?;
        if self.version != Version::V5 {
            return Ok(UnsubAck { packet_id, properties: Properties::new(), reasons: Vec::new() });
        }
        let properties = self.properties(&const { Section::acknowledgement(PacketType::UnsubAck) })?;
        let mut reasons = Vec::with_capacity(self.reader.left());
        while self.reader.left() > 0 {
            reasons.push(self.reason(PacketType::UnsubAck)?);
        }
        self.require_reason(reasons.is_empty())?;
        Ok(UnsubAck { packet_id, properties, reasons })
    }

    fn disconnect(&mut self) -> Result<Disconnect, Fault> {
        if self.version != Version::V5 || self.reader.left() == 0 {
            return Ok(Disconnect::new(ReasonCode::NORMAL_DISCONNECTION));
        }
        let reason = self.reason(PacketType::Disconnect)?;
        let properties = match (self.reader.left(), self.role) {
            (0, _) => Properties::new(),
            (_, Role::Server) => self.properties(&Section::DISCONNECT)?,
            (_, Role::Client) => self.properties(&Section::DISCONNECT_FROM_SERVER)?,
        };
        Ok(Disconnect { reason, properties })
    }

    fn auth(&mut self) -> Result<Auth, Fault> {
        let start = self.reader.at();
        if self.reader.left() == 0 {
            self.check_auth_direction(start, ReasonCode::SUCCESS)?;
            return Ok(Auth { reason: ReasonCode::SUCCESS, properties: Properties::new() });
        }
        let reason = self.reason(PacketType::Auth)?;
        self.check_auth_direction(start, reason)?;
        let start = self.reader.at();
        let (encoded, seen) = self.reader.properties(&Section::AUTH)?;
        if !seen.contains(PropertyId::AuthenticationMethod) {
            return Err(self.reader.violation("properties", start, Violation::AuthenticationMethodMissing));
        }
        Ok(Auth { reason, properties: Properties::trusted(encoded) })
    }

    /// Checks that the other side may give this reason: success comes from a server, re-authenticate from a client.
    fn check_auth_direction(&self, start: usize, reason: ReasonCode) -> Result<(), Fault> {
        let forbidden = match self.role {
            Role::Server => ReasonCode::SUCCESS,
            Role::Client => ReasonCode::REAUTHENTICATE,
        };
        if reason == forbidden {
            return Err(self.reader.violation("reason code", start, Violation::WrongDirection));
        }
        Ok(())
    }

    /// Reads a reason code that the standard lists for the packet.
    fn reason(&mut self, packet: PacketType) -> Result<ReasonCode, Fault> {
        let start = self.reader.at();
        let found = self.reader.byte("reason code")?;
        match ReasonCode::from_u8_in(found, packet) {
            Some(reason) => Ok(reason),
            None => Err(self.reader.violation("reason code", start, Violation::ReasonCode { found })),
        }
    }

    /// Reads the properties; before 5.0 there are none.
    fn properties(&mut self, section: &Section) -> Result<Properties, Fault> {
        match self.version {
            Version::V5 => Ok(Properties::trusted(self.reader.properties(section)?.0)),
            Version::V3 | Version::V4 => Ok(Properties::new()),
        }
    }

    fn require_filter(&self, missing: bool) -> Result<(), Fault> {
        match missing {
            true => Err(self.reader.violation("payload", self.reader.at(), Violation::NoTopicFilter)),
            false => Ok(()),
        }
    }

    fn require_reason(&self, missing: bool) -> Result<(), Fault> {
        match missing {
            true => Err(self.reader.violation("payload", self.reader.at(), Violation::NoReasonCode)),
            false => Ok(()),
        }
    }
}
