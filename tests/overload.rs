//! Clients that take less than others send cost what was set, and nobody else anything.

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker_codec::{Connect, Packet, Properties, Property, Publish, QoS, ReasonCode, Version};
use support::Server;
use support::mqtt::{Client, connect};

/// Starts a server with this configuration.
async fn start(config: &str) -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sluice.toml");
    std::fs::write(&path, config).expect("written");
    let server = Server::start(&["--config", path.to_str().expect("UTF-8")]).await;
    (server, folder)
}

async fn metric(server: &Server, name: &str) -> u64 {
    let metrics = server.api("GET", "/metrics?aggregate=true", None).await.1;
    metrics[name].as_u64().unwrap_or_else(|| panic!("no {name} in {metrics}"))
}

/// Memory that the server uses, or the most that it has used, in bytes.
fn memory(server: &Server, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("its memory");
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Sends one message after the other from one client to another that reads, until it is told to stop; returns how many
/// came, all of them and in order.
async fn round_trips(port: u16, stop: Arc<AtomicBool>) -> u64 {
    let mut publisher = Client::connect(port, "pinger").await;
    let mut reader = Client::connect(port, "reader").await;
    reader.subscribe("ping", QoS::AtMostOnce).await;
    let mut count: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        publisher.publish("ping", &count.to_be_bytes(), QoS::AtMostOnce, 0).await;
        assert_eq!(reader.message().await.payload_slice(), count.to_be_bytes(), "the next one");
        count += 1;
    }
    count
}

const PUBLISHERS: u32 = 200;
const EACH: u32 = 150;
const PAYLOAD_BYTES: usize = 4000;

/// Publishes with QoS 1, fifty at a time, and waits for the acknowledgements.
async fn flood(port: u16, number: u32) {
    let mut publisher = Client::connect(port, &format!("publisher{number}")).await;
    let mut payload = vec![0; PAYLOAD_BYTES];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    for first in (0..EACH).step_by(50) {
        for index in first..first + 50 {
            payload[4..8].copy_from_slice(&index.to_be_bytes());
            publisher.publish("flood/x", &payload, QoS::AtLeastOnce, (index - first + 1) as u16).await;
        }
        for _ in 0..50 {
            let packet = publisher.next().await;
            assert!(matches!(packet, Packet::PubAck(_)), "{packet:?}");
        }
    }
}

/// Reads what is left for a client that had stopped, and checks that no publisher's messages are out of order.
async fn catch_up(client: &mut Client, count: u64) {
    let mut last: HashMap<u32, u32> = HashMap::new();
    let number = |publish: &Publish, at: usize| {
        u32::from_be_bytes(publish.payload_slice()[at..at + 4].try_into().expect("four bytes"))
    };
    for _ in 0..count {
        let publish = client.message().await;
        let (publisher, index) = (number(&publish, 0), number(&publish, 4));
        let before = last.insert(publisher, index);
        assert!(before.is_none_or(|before| before < index), "{index} of {publisher} after {before:?}");
    }
    client.send(&Packet::PingReq).await;
    assert_eq!(client.next().await, Packet::PingResp, "and nothing more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_that_stop_reading_cost_their_bound_and_each_drop_is_counted() {
    // issue 3: 200 publishers against a subscriber that stops reading
    let config = "[mqtt]\nmax_mqueue_len = 'infinity'\nmax_mqueue_bytes = '2MB'\n\
                  [listeners.tcp.default.tcp_options]\nsend_timeout = 'infinity'\n";
    let (server, _folder) = start(config).await;
    let port = server.mqtt_port();
    let mut slow_0 = Client::connect(port, "slow0").await;
    slow_0.subscribe("flood/#", QoS::AtMostOnce).await;
    let mut slow_1 = Client::connect(port, "slow1").await;
    slow_1.subscribe("flood/#", QoS::AtLeastOnce).await;
    let before = memory(&server, "VmRSS");
    let stop = Arc::new(AtomicBool::new(false));
    let pinging = tokio::spawn(round_trips(port, Arc::clone(&stop)));
    let mut flooding = tokio::task::JoinSet::new();
    for number in 0..PUBLISHERS {
        flooding.spawn(flood(port, number));
    }
    while let Some(done) = flooding.join_next().await {
        done.expect("every message is acknowledged");
    }
    stop.store(true, Ordering::Relaxed);
    let pings = pinging.await.expect("every round trip ends");
    assert!(pings > 0);
    // 120 MB went to each of the two, of which each may have 2 MB waiting, and 32 messages or 64 KB on their way
    let grown = memory(&server, "VmHWM").saturating_sub(before);
    assert!(grown < 40 << 20, "{grown} bytes");

    let published = u64::from(PUBLISHERS * EACH);
    let mut dropped = 0;
    for (client_id, client) in [("slow0", &mut slow_0), ("slow1", &mut slow_1)] {
        let info = server.api("GET", &format!("/clients/{client_id}"), None).await.1;
        let lost = info["send_msg.dropped.queue_full"].as_u64().unwrap_or_else(|| panic!("{info}"));
        assert!(lost > 0 && info["send_msg.dropped"] == lost, "{info}");
        catch_up(client, published - lost).await;
        dropped += lost;
    }
    assert_eq!(metric(&server, "messages.received").await, published + pings);
    assert_eq!(metric(&server, "messages.sent").await, 2 * published - dropped + pings);
    assert_eq!(metric(&server, "delivery.dropped.queue_full").await, dropped);
    assert_eq!(metric(&server, "delivery.dropped").await, dropped);
    assert_eq!(metric(&server, "messages.dropped").await, 0);
}

/// What the tests of the watermark have in common: nothing limits queues, and nothing is on disk.
const UNLIMITED: &str = "[mqtt]\nmax_mqueue_len = 'infinity'\nmax_mqueue_bytes = '1GB'\n\
                         [durable_sessions]\nenable = false\n\
                         [listeners.tcp.default.tcp_options]\nsend_timeout = 'infinity'\n";

const LONG: Duration = Duration::from_secs(60);

fn hoarder() -> Connect {
    let forever = Properties::from_list(&[Property::SessionExpiryInterval(3600)]).expect("valid");
    Connect { clean_start: false, properties: forever, ..connect(Version::V5, "hoarder") }
}

/// Waits until a new client is answered like that.
async fn until_answered(server: &Server, code: ReasonCode) {
    let answered = || async {
        let (_, answer) = Client::try_connect(server.mqtt_port(), connect(Version::V5, "new")).await;
        (answer == code).then_some(())
    };
    server.wait_for("another answer to CONNECT", LONG, answered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_memory_is_short_who_fills_it_waits_and_nobody_new_is_let_in() {
    const COUNT: u16 = 1200;
    let config = format!("{UNLIMITED}[overload_protection]\nmemory_high_watermark = '160MB'\n");
    let (server, _folder) = start(&config).await;
    let port = server.mqtt_port();
    let mut client = Client::connect_with(port, hoarder()).await;
    client.subscribe("flood", QoS::AtLeastOnce).await;
    drop(client); // its session takes all that comes
    let stop = Arc::new(AtomicBool::new(false));
    let pinging = tokio::spawn(round_trips(port, Arc::clone(&stop)));
    let publishing = tokio::spawn(async move {
        let mut publisher = Client::connect(port, "publisher").await;
        for number in 1..=COUNT {
            let mut payload = vec![0; 250_000];
            payload[..2].copy_from_slice(&number.to_be_bytes());
            publisher.publish("flood", &payload, QoS::AtLeastOnce, number).await;
            let packet = publisher.next_within(LONG).await;
            assert!(matches!(packet, Some(Packet::PubAck(_))), "{packet:?}");
        }
    });
    until_answered(&server, ReasonCode::SERVER_BUSY).await;
    assert!(server.log().contains("memory is short"), "{}", server.log());
    assert!(server.log().contains("hoarder ("), "whose it is: {}", server.log());
    assert!(!publishing.is_finished(), "300 MB do not fit");
    let used = memory(&server, "VmRSS");
    assert!(used < 240 << 20, "{used} bytes");
    assert!(metric(&server, "overload_protection.new_conn").await > 0);

    // who has a session comes and fetches what waits, which makes room for the rest
    let mut client = Client::connect_with(port, hoarder()).await;
    for number in 1..=COUNT {
        assert_eq!(client.message().await.payload_slice()[..2], number.to_be_bytes());
    }
    publishing.await.expect("each is acknowledged");
    until_answered(&server, ReasonCode::SUCCESS).await;
    assert!(server.log().contains("memory is no longer short"), "{}", server.log());
    stop.store(true, Ordering::Relaxed);
    assert!(pinging.await.expect("others go on all the time") > 0);
    assert_eq!(metric(&server, "delivery.dropped").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_memory_is_very_short_the_largest_connection_ends() {
    let config = format!("{UNLIMITED}[overload_protection]\nmemory_high_watermark = '160MB'\n");
    let (server, _folder) = start(&config).await;
    let port = server.mqtt_port();
    let mut stuck = Client::connect(port, "stuck").await;
    stuck.subscribe("flood", QoS::AtMostOnce).await;
    let mut modest = Client::connect(port, "modest").await;
    modest.subscribe("quiet", QoS::AtMostOnce).await;
    let mut publishers = Vec::new();
    for number in 0..100 {
        publishers.push(Client::connect(port, &format!("publisher{number}")).await);
    }
    let mut publishing = tokio::task::JoinSet::new();
    for mut publisher in publishers {
        publishing.spawn(async move {
            // each is paused with its next message once memory is short: all of them together are too many
            for _ in 0..3 {
                publisher.publish("flood", &[0; 900_000], QoS::AtMostOnce, 0).await;
            }
            publisher.send(&Packet::PingReq).await;
            assert_eq!(publisher.next_within(LONG).await, Some(Packet::PingResp), "it is there");
        });
    }
    let gone = || async {
        let (status, _) = server.api("GET", "/clients/stuck", None).await;
        (status == 404).then_some(())
    };
    server.wait_for("the end of the largest", LONG, gone).await;
    assert!(server.log().contains("the largest connections are ended"), "{}", server.log());
    assert!(server.log().contains("stuck ("), "{}", server.log());
    until_answered(&server, ReasonCode::SUCCESS).await;
    while let Some(done) = publishing.join_next().await {
        done.expect("no publisher is lost");
    }
    let mut publisher = Client::connect(port, "last").await;
    publisher.publish("quiet", b"x", QoS::AtMostOnce, 0).await;
    assert_eq!(modest.message().await.payload_slice(), b"x");
    assert!(metric(&server, "delivery.dropped.session_ended").await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_does_not_have_others_wait_for_ever() {
    let config = format!("{UNLIMITED}[overload_protection]\nmemory_high_watermark = '160MB'\n");
    let (server, _folder) = start(&config).await;
    let port = server.mqtt_port();
    let mut stuck = Client::connect(port, "stuck").await;
    stuck.subscribe("flood", QoS::AtMostOnce).await;
    let mut publisher = Client::connect(port, "publisher").await;
    for _ in 0..400 {
        publisher.publish("flood", &[0; 500_000], QoS::AtMostOnce, 0).await;
    }
    publisher.send(&Packet::PingReq).await;
    assert_eq!(
        publisher.next_within(LONG).await,
        Some(Packet::PingResp),
        "200 MB do not fit, and it goes on"
    );
    assert_eq!(server.api("GET", "/clients/stuck", None).await.0, 404);
    until_answered(&server, ReasonCode::SUCCESS).await;
}

#[tokio::test]
async fn a_connection_for_which_too_much_is_kept_ends_if_that_is_wanted() {
    let config = format!("{UNLIMITED}[force_shutdown]\nenable = true\nmax_heap_size = '1MB'\n");
    let (server, _folder) = start(&config).await;
    let port = server.mqtt_port();
    let mut stuck = Client::connect(port, "stuck").await;
    stuck.subscribe("flood", QoS::AtMostOnce).await;
    let mut publisher = Client::connect(port, "publisher").await;
    let stays = || async { server.api("GET", "/clients/stuck", None).await.0 == 200 };
    while stays().await {
        publisher.publish("flood", &[0; 500_000], QoS::AtMostOnce, 0).await;
    }
    assert_eq!(server.api("GET", "/clients/publisher", None).await.0, 200);
}
