//! `sluice pub` and `sluice sub`.

use std::collections::HashMap;
use std::io::{self, BufRead as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use broker_codec::{Packet, PacketId, PublishBuilder, QoS, ReasonCode};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::cli::{Publish, Subscribe};
use crate::mqtt_client::{Client, ack};

/// Packets are gathered up to this many bytes before they are sent.
const SEND_BYTES: usize = 64 * 1024;

/// Longest wait for acknowledgements after the last message.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);

/// Publishes and waits for every acknowledgement; fails when one is missing or negative.
pub(crate) async fn publish(options: Publish) -> anyhow::Result<()> {
    let mut client = Client::connect(&options.client).await?;
    let qos = qos(options.client.qos);
    let mut progress = Progress::default();
    let sent = match &options.message {
        Some(message) => send_counted(&mut client, &options, message, qos, &mut progress).await,
        None => send_lines(&mut client, &options, qos, &mut progress).await,
    };
    let finished = match sent {
        Ok(()) => progress.finish(&mut client).await,
        Err(error) => Err(error),
    };
    if let Err(error) = finished {
        return Err(
            error.context(format!("{} messages sent, {} acknowledged", progress.sent, progress.acknowledged))
        );
    }
    client.disconnect().await.with_context(|| format!("{} messages sent", progress.sent))?;
    if progress.refused > 0 {
        bail!(
            "{} of {} messages were refused, the last with: {}",
            progress.refused,
            progress.sent,
            progress.last_refusal
        );
    }
    Ok(())
}

async fn send_counted(
    client: &mut Client,
    options: &Publish,
    message: &str,
    qos: QoS,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    for number in 1..=options.count {
        let number_text = number.to_string();
        let topic = options.topic.replace("%i", &number_text);
        let payload = message.replace("%i", &number_text);
        progress.send(client, &topic, payload.as_bytes(), qos, options.retain).await?;
        if options.interval > 0 && number < options.count {
            client.flush().await?;
            progress.wait_until(client, Instant::now() + Duration::from_millis(options.interval)).await?;
        }
    }
    Ok(())
}

async fn send_lines(
    client: &mut Client,
    options: &Publish,
    qos: QoS,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let (lines, mut incoming) = mpsc::channel(64);
    let reader = std::thread::spawn(move || -> io::Result<()> {
        for line in io::stdin().lock().split(b'\n') {
            if lines.blocking_send(line?).is_err() {
                break;
            }
        }
        Ok(())
    });
    let mut number = 0_u64;
    loop {
        let line = tokio::select! {
            line = incoming.recv() => line,
            packet = client.packet() => {
                progress.take(client, packet?)?;
                continue;
            }
        };
        let Some(line) = line else { break };
        number += 1;
        let topic = options.topic.replace("%i", &number.to_string());
        progress.send(client, &topic, line.strip_suffix(b"\r").unwrap_or(&line), qos, options.retain).await?;
        if incoming.is_empty() {
            client.flush().await?;
        }
    }
    reader.join().expect("the reader does not panic").context("cannot read standard input")
}

/// Which messages are under way.
#[derive(Default)]
struct Progress {
    sent: u64,
    acknowledged: u64,
    refused: u64,
    last_refusal: String,
    under_way: HashMap<PacketId, QoS>,
    last_id: u16,
}

impl Progress {
    async fn send(
        &mut self,
        client: &mut Client,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
    ) -> anyhow::Result<()> {
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(self.free_id(client).await?) };
        let publish = PublishBuilder { topic, payload, qos, retain, packet_id, ..PublishBuilder::default() }
            .build()
            .with_context(|| format!("cannot publish to `{topic}`"))?;
        client.queue(&Packet::Publish(publish))?;
        self.sent += 1;
        if let Some(packet_id) = packet_id {
            self.under_way.insert(packet_id, qos);
        }
        if client.queued_bytes() >= SEND_BYTES {
            client.flush().await?;
        }
        while let Some(packet) = client.poll_packet()? {
            self.take(client, packet)?;
        }
        Ok(())
    }

    /// Waits for room in the server's window and returns an identifier that is not under way.
    async fn free_id(&mut self, client: &mut Client) -> anyhow::Result<PacketId> {
        while self.under_way.len() >= usize::from(client.receive_maximum.min(1000)) {
            client.flush().await?;
            let packet = client.packet().await?;
            self.take(client, packet)?;
        }
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last_id).filter(|id| !self.under_way.contains_key(id)) {
                return Ok(id);
            }
        }
    }

    fn take(&mut self, client: &mut Client, packet: Packet) -> anyhow::Result<()> {
        match packet {
            Packet::PubAck(answer) | Packet::PubComp(answer) => self.settle(answer.packet_id, answer.reason),
            Packet::PubRec(answer) if answer.reason.is_error() => {
                self.settle(answer.packet_id, answer.reason);
            }
            Packet::PubRec(answer) => client.queue(&Packet::PubRel(ack(answer.packet_id)))?,
            _ => {}
        }
        Ok(())
    }

    fn settle(&mut self, packet_id: PacketId, reason: ReasonCode) {
        if self.under_way.remove(&packet_id).is_none() {
            return;
        }
        self.acknowledged += 1;
        if reason.is_error() {
            self.refused += 1;
            self.last_refusal = reason.to_string();
        }
    }

    async fn wait_until(&mut self, client: &mut Client, until: Instant) -> anyhow::Result<()> {
        while let Ok(packet) = timeout_at(until, client.packet()).await {
            self.take(client, packet?)?;
            client.flush().await?;
        }
        Ok(())
    }

    async fn finish(&mut self, client: &mut Client) -> anyhow::Result<()> {
        client.flush().await?;
        let until = Instant::now() + ACK_TIMEOUT;
        while !self.under_way.is_empty() {
            let packet = timeout_at(until, client.packet())
                .await
                .with_context(|| format!("no acknowledgement within {} s", ACK_TIMEOUT.as_secs()))??;
            self.take(client, packet)?;
            client.flush().await?;
        }
        Ok(())
    }
}

/// Subscribes and prints what comes, a line each, until the connection ends or enough has come.
pub(crate) async fn subscribe(options: Subscribe) -> anyhow::Result<()> {
    let mut client = Client::connect(&options.client).await?;
    let reasons = client.subscribe(&options.topic, qos(options.client.qos)).await?;
    for (filter, reason) in options.topic.iter().zip(reasons) {
        if reason.is_error() {
            bail!("the server refused the subscription to `{filter}`: {reason}");
        }
    }
    let mut ping = tokio::time::interval(ping_period(client.keep_alive));
    let mut seen = 0;
    while options.count.is_none_or(|count| seen < count) {
        tokio::select! {
            packet = client.packet() => match packet? {
                Packet::Publish(message) => {
                    seen += 1;
                    if print_message(&message, options.verbose).is_err() {
                        break; // the reader of our output has gone
                    }
                    client.queue_answer(&message)?;
                }
                Packet::PubRel(release) => client.queue(&Packet::PubComp(ack(release.packet_id)))?,
                _ => {}
            },
            _ = ping.tick() => client.queue(&Packet::PingReq)?,
            _ = tokio::signal::ctrl_c() => break,
        }
        client.flush().await?;
    }
    client.disconnect().await?;
    Ok(())
}

/// Half of the keep alive; a day when the server does not ask for any.
fn ping_period(keep_alive: Duration) -> Duration {
    if keep_alive.is_zero() { Duration::from_secs(24 * 3600) } else { keep_alive / 2 }
}

fn print_message(message: &broker_codec::Publish, verbose: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if verbose {
        write!(out, "{} ", message.topic())?;
    }
    out.write_all(message.payload_slice())?;
    out.write_all(b"\n")?;
    out.flush()
}

fn qos(number: u8) -> QoS {
    QoS::from_u8(number).expect("the command line allows 0, 1 and 2 only")
}
