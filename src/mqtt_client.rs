//! A small MQTT 5 client for `sluice pub` and `sluice sub`.

use std::io;
use std::time::Duration;

use broker_codec::{
    Ack, Connect, DecodeError, Decoder, Disconnect, EncodeError, Packet, PacketId, Properties, Publish, QoS,
    ReasonCode, Subscribe, Subscription, SubscriptionOptions, Version,
};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cli::ClientOptions;

/// Longest wait for a connection or for an answer to CONNECT and SUBSCRIBE.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the server to close after a goodbye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// Largest packet that the client takes, in bytes.
const PACKET_SIZE_MAX: u32 = broker_codec::MAX_PACKET_SIZE;

/// Why a client gave up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The server cannot be reached.
    #[error("cannot connect to {address}")]
    Connect {
        /// Host and port.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server said no to CONNECT.
    #[error("the server refused the connection: {0}")]
    Refused(ReasonCode),
    /// The server ended the connection.
    #[error("the server closed the connection{}", .0.map(|reason| format!(": {reason}")).unwrap_or_default())]
    Closed(Option<ReasonCode>),
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[from] io::Error),
    /// The server sent what is not MQTT.
    #[error("the server sent a malformed packet")]
    Malformed(#[from] DecodeError),
    /// A packet cannot be written.
    #[error("cannot build the packet")]
    Build(#[from] EncodeError),
    /// The server sent something that has no place here.
    #[error("the server sent {0:?} instead of an answer")]
    Unexpected(broker_codec::PacketType),
    /// Nothing came in time.
    #[error("no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout,
}

/// A connection to an MQTT server.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    decoder: Decoder,
    input: BytesMut,
    output: Vec<u8>,
    /// Messages of QoS 1 and 2 that the server takes at a time.
    pub(crate) receive_maximum: u16,
    /// Keep alive in force.
    pub(crate) keep_alive: Duration,
}

impl Client {
    /// Connects with a clean session.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub(crate) async fn connect(options: &ClientOptions) -> Result<Self, ClientError> {
        let address = format!("{}:{}", options.host, options.port);
        let connecting =
            tokio::time::timeout(ANSWER_TIMEOUT, TcpStream::connect((&*options.host, options.port)));
        let stream = connecting
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| ClientError::Connect { address, source })?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream,
            decoder: Decoder::client(Version::V5, PACKET_SIZE_MAX),
            input: BytesMut::with_capacity(16 * 1024),
            output: Vec::new(),
            receive_maximum: u16::MAX,
            keep_alive: Duration::from_secs(options.keepalive.into()),
        };
        client.queue(&Packet::Connect(Box::new(Connect {
            version: Version::V5,
            bridge: false,
            clean_start: true,
            keep_alive_s: options.keepalive,
            client_id: options.id.clone().unwrap_or_default(),
            will: None,
            username: options.username.clone(),
            password: options.password.clone().map(Into::into),
            properties: Properties::default(),
        })))?;
        client.flush().await?;
        match client.answer().await? {
            Packet::ConnAck(answer) if !answer.reason.is_error() => client.accepted(&answer.properties),
            Packet::ConnAck(answer) => return Err(ClientError::Refused(answer.reason)),
            other => return Err(ClientError::Unexpected(other.packet_type())),
        }
        Ok(client)
    }

    fn accepted(&mut self, properties: &Properties) {
        let properties = properties.as_ref();
        self.receive_maximum = properties.receive_maximum().unwrap_or(u16::MAX);
        if let Some(seconds) = properties.server_keep_alive() {
            self.keep_alive = Duration::from_secs(seconds.into());
        }
    }

    /// Subscribes and waits for the answer: one reason for each filter.
    ///
    /// # Errors
    /// When the connection ends first.
    pub(crate) async fn subscribe(
        &mut self,
        filters: &[String],
        qos: QoS,
    ) -> Result<Vec<ReasonCode>, ClientError> {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let subscriptions =
            filters.iter().map(|filter| Subscription { filter: filter.clone(), options }).collect();
        self.queue(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            properties: Properties::default(),
            subscriptions,
        }))?;
        self.flush().await?;
        match self.answer().await? {
            Packet::SubAck(answer) => Ok(answer.reasons),
            other => Err(ClientError::Unexpected(other.packet_type())),
        }
    }

    /// Writes a packet behind those that wait to be sent.
    ///
    /// # Errors
    /// When the packet is too large.
    pub(crate) fn queue(&mut self, packet: &Packet) -> Result<(), ClientError> {
        packet.encode(Version::V5, &mut self.output)?;
        Ok(())
    }

    /// Queues the answer that a message of the server asks for.
    ///
    /// # Errors
    /// As [`Client::queue`].
    pub(crate) fn queue_answer(&mut self, message: &Publish) -> Result<(), ClientError> {
        let Some(packet_id) = message.packet_id() else { return Ok(()) };
        match message.qos() {
            QoS::AtMostOnce => Ok(()),
            QoS::AtLeastOnce => self.queue(&Packet::PubAck(ack(packet_id))),
            QoS::ExactlyOnce => self.queue(&Packet::PubRec(ack(packet_id))),
        }
    }

    /// Bytes that wait to be sent.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.output.len()
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// When the connection broke.
    pub(crate) async fn flush(&mut self) -> Result<(), ClientError> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    /// Returns the next packet that has come already.
    ///
    /// # Errors
    /// When the server sent what is not MQTT.
    pub(crate) fn poll_packet(&mut self) -> Result<Option<Packet>, ClientError> {
        Ok(self.decoder.decode(&mut self.input)?)
    }

    /// Waits for the next packet. Cancel-safe.
    ///
    /// # Errors
    /// When the server sent what is not MQTT, or the connection ended.
    pub(crate) async fn packet(&mut self) -> Result<Packet, ClientError> {
        loop {
            if let Some(packet) = self.poll_packet()? {
                return match packet {
                    Packet::Disconnect(end) => Err(ClientError::Closed(Some(end.reason))),
                    packet => Ok(packet),
                };
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(ClientError::Closed(None));
            }
        }
    }

    async fn answer(&mut self) -> Result<Packet, ClientError> {
        tokio::time::timeout(ANSWER_TIMEOUT, self.packet()).await.map_err(|_| ClientError::Timeout)?
    }

    /// Says goodbye and waits for the server to close.
    ///
    /// # Errors
    /// When the connection broke first, or the server ended it with a reason: nothing else tells that a message of
    /// QoS 0 was refused.
    pub(crate) async fn disconnect(mut self) -> Result<(), ClientError> {
        self.queue(&Packet::Disconnect(Disconnect {
            reason: ReasonCode::SUCCESS,
            properties: Properties::default(),
        }))?;
        self.flush().await?;
        self.stream.shutdown().await?;
        match tokio::time::timeout(GOODBYE_TIMEOUT, self.last_word()).await {
            Ok(Some(reason)) if reason.is_error() => Err(ClientError::Closed(Some(reason))),
            _ => Ok(()),
        }
    }

    /// The reason with which the server closes, if it gives one.
    async fn last_word(&mut self) -> Option<ReasonCode> {
        loop {
            match self.packet().await {
                Ok(_) => {}
                Err(ClientError::Closed(reason)) => return reason,
                Err(_) => return None,
            }
        }
    }
}

/// A positive acknowledgement.
pub(crate) fn ack(packet_id: PacketId) -> Ack {
    Ack { packet_id, reason: ReasonCode::SUCCESS, properties: Properties::default() }
}
