//! The records of the journal, byte by byte. Version 1; numbers are little-endian.
//!
//! A record is the payload of one record of the log. Its first byte is the version, its second the kind:
//!
//! | kind | record | fields |
//! |---|---|---|
//! | 1 | Message | number u64, received i64, expires i64, flags u8, cause, client id, targets, publish |
//! | 2 | Owed | message u64, delivery u64, target |
//! | 3 | Done | count u32, then for each: session key, delivery u64 |
//! | 4 | Session | session key, client id, created i64, disconnected i64, expiry u32, profile, will |
//! | 5 | SessionEnd | session key |
//! | 6 | Subscribe | session key, filter, options u8, identifier u32 |
//! | 7 | Unsubscribe | session key, filter |
//! | 8 | Sent | session key, delivery u64, packet id u16 |
//! | 9 | Released | session key, packet id u16 |
//! | 10 | Completed | session key, packet id u16 |
//! | 11 | Received | session key, packet id u16 |
//! | 12 | ReceivedRelease | session key, packet id u16 |
//! | 13 | RetainRemove | topic |
//! | 14 | WillDone | session key |
//! | 15 | Barrier | |
//!
//! | part | bytes |
//! |---|---|
//! | session key | session u64, incarnation u32 |
//! | client id, filter, topic, other texts | length u16, bytes |
//! | times | Unix milliseconds; expires: 2^63 - 1 for never; disconnected: -2^63 while connected |
//! | flags of Message | bit 0: retained from now on; bit 1: written anew; bits 2 and 3: cause 0 none, 1 received, 2 will |
//! | cause | received: session key, packet id u16; will: session key; none: nothing |
//! | targets | count u32, then each target |
//! | target | session key, copy u16, flags u8 (bits 0 and 1: QoS; bit 2: retain; bit 3: has a shared group), number of subscription identifiers u32 and each u32, then of a shared group its name and filter |
//! | options | as in a SUBSCRIBE of MQTT 5.0 |
//! | identifier | 0 for none |
//! | profile | flags u8 (bit 0: has a user name; 1: bridge; 2: clean start; 3: superuser; 4: anonymous), user name if it has one, two addresses (client's, ours), listener, mountpoint, protocol level u8, keep alive u16, receive maximum u16, maximum packet size u32, connected i64, number of attributes u16 and name and value of each |
//! | address | 4 or 6 u8, the 4 or 16 bytes of the address, port u16 |
//! | will | 0 u8 for none; else 1 u8, delay u32, length u32, publish |
//! | publish | a PUBLISH packet of MQTT 5.0 as on the wire, to the end of the record in Message |
//!
//! Packet ids are not 0. A later version keeps kinds and adds to them, or changes the version byte.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use broker_codec::{
    Decoder, MAX_PACKET_SIZE, Packet, PacketId, Publish, QoS, RetainHandling, Step, SubscriptionOptions,
    Version,
};
use broker_core::{Cause, Message, ProfileRecord, Record, SessionKey, SessionRecord, Target};

/// The version that is written, and the highest that is read.
pub const VERSION: u8 = 1;

/// A whole record that means nothing.
pub(crate) const BARRIER: [u8; 2] = [VERSION, 15];

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A later version wrote it.
    #[error("a record has format version {version}, this program knows {VERSION}")]
    Version {
        /// Its version.
        version: u8,
    },
    /// It is not what this version writes.
    #[error("a record of kind {kind} is malformed")]
    Malformed {
        /// Its kind.
        kind: u8,
    },
}

/// Writes a record into `head`, but for the payload of a message, which is returned and comes behind it.
pub fn encode<'a>(record: &'a Record<'_>, head: &mut Vec<u8>) -> &'a [u8] {
    head.clear();
    let mut out = Writer(head);
    out.u8(VERSION);
    match record {
        Record::Message(message) => return out.message(message),
        Record::Owed { message, delivery, target } => {
            out.u8(2);
            out.u64(*message);
            out.u64(*delivery);
            out.target(target);
        }
        Record::Done(done) => {
            out.u8(3);
            out.u32(done.len() as u32);
            for (session, delivery) in done.iter() {
                out.key(*session);
                out.u64(*delivery);
            }
        }
        Record::Session(session) => out.session(session),
        Record::SessionEnd(session) => {
            out.u8(5);
            out.key(*session);
        }
        Record::Subscribe { session, filter, options, identifier } => {
            out.u8(6);
            out.key(*session);
            out.text(filter.as_bytes());
            out.u8(options.as_u8());
            out.u32(identifier.unwrap_or(0));
        }
        Record::Unsubscribe { session, filter } => {
            out.u8(7);
            out.key(*session);
            out.text(filter.as_bytes());
        }
        Record::Sent { session, delivery, packet_id } => {
            out.u8(8);
            out.key(*session);
            out.u64(*delivery);
            out.u16(packet_id.get());
        }
        Record::Released { session, packet_id } => out.packet(9, *session, *packet_id),
        Record::Completed { session, packet_id } => out.packet(10, *session, *packet_id),
        Record::Received { session, packet_id } => out.packet(11, *session, *packet_id),
        Record::ReceivedRelease { session, packet_id } => out.packet(12, *session, *packet_id),
        Record::RetainRemove { topic } => {
            out.u8(13);
            out.text(topic.as_bytes());
        }
        Record::WillDone(session) => {
            out.u8(14);
            out.key(*session);
        }
        Record::Barrier => out.u8(15),
    }
    &[]
}

/// Reads a record.
///
/// # Errors
/// When the bytes are no record of a version that is known.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, FormatError> {
    let (version, kind) = match bytes {
        [version, kind, ..] => (*version, *kind),
        _ => return Err(FormatError::Malformed { kind: 0 }),
    };
    if version != VERSION {
        return Err(FormatError::Version { version });
    }
    let mut reader = Reader(&bytes[2..]);
    let record = reader.record(kind).ok_or(FormatError::Malformed { kind })?;
    if reader.0.is_empty() { Ok(record) } else { Err(FormatError::Malformed { kind }) }
}

const CAUSE_RECEIVED: u8 = 1;
const CAUSE_WILL: u8 = 2;

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Texts of MQTT are shorter than that; of others only the start is of use.
    fn text(&mut self, text: &[u8]) {
        let text = &text[..text.len().min(usize::from(u16::MAX))];
        self.u16(text.len() as u16);
        self.0.extend_from_slice(text);
    }

    fn key(&mut self, key: SessionKey) {
        self.u64(key.session);
        self.u32(key.incarnation);
    }

    fn packet(&mut self, kind: u8, session: SessionKey, packet_id: PacketId) {
        self.u8(kind);
        self.key(session);
        self.u16(packet_id.get());
    }

    fn message<'m>(&mut self, message: &'m Message<'_>) -> &'m [u8] {
        self.u8(1);
        self.u64(message.number);
        self.i64(message.received_at_ms);
        self.i64(message.expires_at_ms);
        let cause = match message.cause {
            Cause::None => 0,
            Cause::Received(..) => CAUSE_RECEIVED,
            Cause::Will(_) => CAUSE_WILL,
        };
        self.u8(u8::from(message.retain) | u8::from(message.rewritten) << 1 | cause << 2);
        match message.cause {
            Cause::None => {}
            Cause::Received(session, packet_id) => {
                self.key(session);
                self.u16(packet_id.get());
            }
            Cause::Will(session) => self.key(session),
        }
        self.text(message.client_id);
        self.u32(message.targets.len() as u32);
        message.targets.iter().for_each(|target| self.target(target));
        self.publish_head(&message.publish);
        message.publish.payload_slice()
    }

    fn target(&mut self, target: &Target<'_>) {
        self.key(target.session);
        self.u16(target.copy);
        let flags = target.qos.as_u8() | u8::from(target.retain) << 2 | u8::from(target.share.is_some()) << 3;
        self.u8(flags);
        self.u32(target.identifiers.len() as u32);
        target.identifiers.iter().for_each(|identifier| self.u32(*identifier));
        if let Some((group, filter)) = target.share {
            self.text(group.as_bytes());
            self.text(filter.as_bytes());
        }
    }

    fn session(&mut self, session: &SessionRecord<'_>) {
        self.u8(4);
        self.key(session.session);
        self.text(session.client_id);
        self.i64(session.created_at_ms);
        self.i64(session.disconnected_at_ms.unwrap_or(i64::MIN));
        self.u32(session.expiry_interval_s);
        self.profile(&session.profile);
        let Some((publish, delay_s)) = &session.will else { return self.u8(0) };
        self.u8(1);
        self.u32(*delay_s);
        let length_at = self.0.len();
        self.u32(0);
        self.publish_head(publish);
        self.0.extend_from_slice(publish.payload_slice());
        let length = (self.0.len() - length_at - 4) as u32; // fits: a packet has less than 256 MiB
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn profile(&mut self, profile: &ProfileRecord<'_>) {
        self.u8(u8::from(profile.username.is_some())
            | u8::from(profile.bridge) << 1
            | u8::from(profile.clean_start) << 2
            | u8::from(profile.is_superuser) << 3
            | u8::from(profile.is_anonymous) << 4);
        if let Some(username) = profile.username {
            self.text(username);
        }
        self.address(profile.remote);
        self.address(profile.local);
        self.text(profile.listener.as_bytes());
        self.text(profile.mountpoint.as_bytes());
        self.u8(profile.version.level());
        self.u16(profile.keep_alive_s);
        self.u16(profile.receive_maximum);
        self.u32(profile.maximum_packet_size);
        self.i64(profile.connected_at_ms);
        let attributes = &profile.attributes[..profile.attributes.len().min(usize::from(u16::MAX))];
        self.u16(attributes.len() as u16);
        for (name, value) in attributes {
            self.text(name);
            self.text(value);
        }
    }

    fn address(&mut self, address: SocketAddr) {
        match address.ip() {
            IpAddr::V4(ip) => {
                self.u8(4);
                self.0.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.u8(6);
                self.0.extend_from_slice(&ip.octets());
            }
        }
        self.u16(address.port());
    }

    /// Writes a PUBLISH up to its payload.
    fn publish_head(&mut self, publish: &Publish) {
        let topic = publish.topic().as_bytes();
        let properties = publish.properties().as_bytes();
        let has_id = publish.qos() != QoS::AtMostOnce;
        let properties_len = variable_int(properties.len() as u32);
        let remaining = 2
            + topic.len()
            + if has_id { 2 } else { 0 }
            + properties_len.len()
            + properties.len()
            + publish.payload_slice().len();
        self.u8(0x30 | publish.qos().as_u8() << 1 | u8::from(publish.retain()));
        self.0.extend_from_slice(&variable_int(remaining as u32));
        self.0.extend_from_slice(&(topic.len() as u16).to_be_bytes());
        self.0.extend_from_slice(topic);
        if has_id {
            let packet_id = publish.packet_id().map_or(1, PacketId::get);
            self.0.extend_from_slice(&packet_id.to_be_bytes());
        }
        self.0.extend_from_slice(&properties_len);
        self.0.extend_from_slice(properties);
    }
}

/// A variable byte integer of MQTT.
fn variable_int(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4);
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// Reads from the front of what is left; nothing when that is too short or makes no sense.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        self.take(LENGTH)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn key(&mut self) -> Option<SessionKey> {
        Some(SessionKey { session: self.u64()?, incarnation: self.u32()? })
    }

    fn packet_id(&mut self) -> Option<PacketId> {
        PacketId::new(self.u16()?)
    }

    fn flag(flags: u8, bit: u8) -> bool {
        flags & (1 << bit) != 0
    }

    /// Reads a count of things that take at least `least` bytes each: nothing is reserved for what cannot be there.
    fn count(&mut self, least: usize) -> Option<usize> {
        let count = self.u32()? as usize;
        (count <= self.0.len() / least).then_some(count)
    }

    fn record(&mut self, kind: u8) -> Option<Record<'a>> {
        Some(match kind {
            1 => Record::Message(self.message()?),
            2 => Record::Owed { message: self.u64()?, delivery: self.u64()?, target: self.target()? },
            3 => {
                let count = self.count(20)?;
                let done: Option<Vec<_>> = (0..count).map(|_| Some((self.key()?, self.u64()?))).collect();
                Record::Done(Cow::Owned(done?))
            }
            4 => Record::Session(Box::new(self.session()?)),
            5 => Record::SessionEnd(self.key()?),
            6 => {
                let (session, filter) = (self.key()?, self.text()?);
                let options = options(self.u8()?)?;
                let identifier = Some(self.u32()?).filter(|identifier| *identifier != 0);
                Record::Subscribe { session, filter, options, identifier }
            }
            7 => Record::Unsubscribe { session: self.key()?, filter: self.text()? },
            8 => Record::Sent { session: self.key()?, delivery: self.u64()?, packet_id: self.packet_id()? },
            9 => Record::Released { session: self.key()?, packet_id: self.packet_id()? },
            10 => Record::Completed { session: self.key()?, packet_id: self.packet_id()? },
            11 => Record::Received { session: self.key()?, packet_id: self.packet_id()? },
            12 => Record::ReceivedRelease { session: self.key()?, packet_id: self.packet_id()? },
            13 => Record::RetainRemove { topic: self.text()? },
            14 => Record::WillDone(self.key()?),
            15 => Record::Barrier,
            _ => return None,
        })
    }

    fn message(&mut self) -> Option<Message<'a>> {
        let (number, received_at_ms, expires_at_ms) = (self.u64()?, self.i64()?, self.i64()?);
        let flags = self.u8()?;
        let cause = match flags >> 2 {
            0 => Cause::None,
            CAUSE_RECEIVED => Cause::Received(self.key()?, self.packet_id()?),
            CAUSE_WILL => Cause::Will(self.key()?),
            _ => return None,
        };
        let client_id = self.bytes()?;
        let count = self.count(19)?;
        let targets: Option<Vec<_>> = (0..count).map(|_| self.target()).collect();
        Some(Message {
            number,
            received_at_ms,
            expires_at_ms,
            client_id,
            retain: Self::flag(flags, 0),
            rewritten: Self::flag(flags, 1),
            cause,
            targets: Cow::Owned(targets?),
            publish: publish(self.take(self.0.len())?)?,
        })
    }

    fn target(&mut self) -> Option<Target<'a>> {
        let (session, copy, flags) = (self.key()?, self.u16()?, self.u8()?);
        let count = self.count(4)?;
        let identifiers: Option<Vec<u32>> = (0..count).map(|_| self.u32()).collect();
        let qos = QoS::from_u8(flags & 0b11).filter(|_| flags < 16)?;
        let share = if Self::flag(flags, 3) { Some((self.text()?, self.text()?)) } else { None };
        let retain = Self::flag(flags, 2);
        Some(Target { session, copy, qos, retain, identifiers: Cow::Owned(identifiers?), share })
    }

    fn session(&mut self) -> Option<SessionRecord<'a>> {
        let (session, client_id, created_at_ms) = (self.key()?, self.bytes()?, self.i64()?);
        let disconnected_at_ms = Some(self.i64()?).filter(|time| *time != i64::MIN);
        let expiry_interval_s = self.u32()?;
        let profile = self.profile()?;
        let will = match self.u8()? {
            0 => None,
            1 => {
                let delay_s = self.u32()?;
                let length = self.u32()? as usize;
                Some((publish(self.take(length)?)?, delay_s))
            }
            _ => return None,
        };
        Some(SessionRecord {
            session,
            client_id,
            created_at_ms,
            disconnected_at_ms,
            expiry_interval_s,
            will,
            profile,
        })
    }

    fn profile(&mut self) -> Option<ProfileRecord<'a>> {
        let flags = self.u8().filter(|flags| *flags < 32)?;
        let username = if Self::flag(flags, 0) { Some(self.bytes()?) } else { None };
        let (remote, local, listener) = (self.address()?, self.address()?, self.text()?);
        let mountpoint = self.text()?;
        let version = version(self.u8()?)?;
        let (keep_alive_s, receive_maximum) = (self.u16()?, self.u16()?);
        let (maximum_packet_size, connected_at_ms) = (self.u32()?, self.i64()?);
        let count = self.u16()?;
        let attributes: Option<Vec<_>> = (0..count).map(|_| Some((self.bytes()?, self.bytes()?))).collect();
        Some(ProfileRecord {
            username,
            remote,
            local,
            listener,
            mountpoint,
            version,
            bridge: Self::flag(flags, 1),
            clean_start: Self::flag(flags, 2),
            keep_alive_s,
            receive_maximum,
            maximum_packet_size,
            connected_at_ms,
            is_superuser: Self::flag(flags, 3),
            is_anonymous: Self::flag(flags, 4),
            attributes: attributes?,
        })
    }

    fn address(&mut self) -> Option<SocketAddr> {
        let ip = match self.u8()? {
            4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return None,
        };
        Some(SocketAddr::new(ip, self.u16()?))
    }
}

/// Reads the options of a SUBSCRIBE of 5.0.
fn options(byte: u8) -> Option<SubscriptionOptions> {
    let retain_handling = match byte >> 4 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => return None,
    };
    Some(SubscriptionOptions {
        qos: QoS::from_u8(byte & 0b11)?,
        no_local: byte & 0b100 != 0,
        retain_as_published: byte & 0b1000 != 0,
        retain_handling,
    })
}

fn version(level: u8) -> Option<Version> {
    [Version::V3, Version::V4, Version::V5].into_iter().find(|version| version.level() == level)
}

/// Reads a PUBLISH that takes all of the bytes.
fn publish(bytes: &[u8]) -> Option<Publish> {
    match Decoder::client(Version::V5, MAX_PACKET_SIZE).decode_slice(bytes) {
        Ok(Step::Packet { packet: Packet::Publish(publish), consumed }) if consumed == bytes.len() => {
            Some(publish)
        }
        _ => None,
    }
}
