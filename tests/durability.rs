//! Durable sessions: what was acknowledged is there after `kill -9`, a restart, and a full disk.

#[path = "support/ledger.rs"]
mod ledger;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use broker_codec::{Disconnect, Packet, Properties, Property, QoS, ReasonCode, Unsubscribe, Will};
use ledger::{Login, Publisher, Subscriber, Wire};
use support::Server;

/// How often the server is killed; more with this variable.
const ROUNDS: u32 = 20;
const ROUNDS_VARIABLE: &str = "SLUICE_KILL_ROUNDS";

/// After so many rounds subscribers may catch up: what waits for them would come to fill the journal.
const ROUNDS_TO_CATCH_UP: u32 = 15;

const LIMIT: Duration = Duration::from_secs(30);

/// Settings without limits that drop messages.
fn settings(folder: &std::path::Path, more: &str) -> String {
    let path = folder.join("sluice.toml");
    let text = format!("[mqtt]\nmax_mqueue_len = 0\nmax_inflight = 50\n{more}");
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

fn rounds() -> u32 {
    std::env::var(ROUNDS_VARIABLE).ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_nothing_acknowledged_and_repeats_no_qos_2() {
    let folder = tempfile::tempdir().expect("a folder");
    // small, so that the journal is written anew every now and then
    let more = "[durable_sessions]\nmax_bytes = '64MB'\n[log]\nlevel = 'info,broker_store=debug'\n";
    let config = settings(folder.path(), more);
    let mut rewrites = 0;
    let mut publishers: Vec<Publisher> = (0..6)
        .map(|number| {
            let qos = if number % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            Publisher::new(&format!("pub-{number}"), &format!("t/{number}"), qos, false)
        })
        .collect();
    publishers.push(Publisher::new("pub-r1", "r/1", QoS::AtLeastOnce, true));
    publishers.push(Publisher::new("pub-r2", "r/2", QoS::ExactlyOnce, true));
    let mut subscribers = vec![
        Subscriber::new("sub-1", "t/#", QoS::AtLeastOnce),
        Subscriber::new("sub-2", "t/#", QoS::ExactlyOnce),
        Subscriber::new("sub-3", "t/+", QoS::ExactlyOnce),
    ];
    let mut server = Server::start_in(folder.path(), &["--config", &config]).await;
    // the sessions are there before anything is published
    for subscriber in &mut subscribers {
        subscriber.run(server.mqtt_port(), Duration::ZERO).await.expect("subscribed");
    }
    for round in 0..rounds() {
        (publishers, subscribers) = load(&server, publishers, subscribers).await;
        server.kill().await;
        rewrites += server.log().matches("wrote durable sessions anew").count();
        server = Server::start_in(folder.path(), &["--config", &config]).await;
        check_retained(&server, &publishers, round).await;
        if round % ROUNDS_TO_CATCH_UP == ROUNDS_TO_CATCH_UP - 1 {
            finish(&server, &mut publishers, &mut subscribers).await;
        }
    }
    finish(&server, &mut publishers, &mut subscribers).await;
    let acknowledged: usize = publishers.iter().map(|publisher| publisher.acknowledged.len()).sum();
    let repeated: u64 = subscribers.iter().flat_map(|one| one.seen.values()).map(|seen| seen.repeated).sum();
    let rounds = rounds();
    println!(
        "{rounds} rounds, {acknowledged} acknowledged, {repeated} repeated with QoS 1, {rewrites} rewrites"
    );
    assert!(rewrites > 0 || rounds < ROUNDS, "the journal was never written anew");
    check_all(&publishers, &subscribers);
}

/// Lets everybody work for a random time; clients come and go meanwhile.
async fn load(
    server: &Server,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
) -> (Vec<Publisher>, Vec<Subscriber>) {
    let port = server.mqtt_port();
    let over = Arc::new(AtomicBool::new(false));
    let publishing: Vec<_> = publishers
        .into_iter()
        .map(|mut publisher| {
            let over = Arc::clone(&over);
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let stay = Duration::from_millis(fastrand::u64(20..400));
                    let _ = tokio::time::timeout(stay, publisher.run(port, || true)).await;
                }
                publisher
            })
        })
        .collect();
    let subscribing: Vec<_> = subscribers
        .into_iter()
        .map(|mut subscriber| {
            let over = Arc::clone(&over);
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let stay = Duration::from_millis(fastrand::u64(20..300));
                    let _ = tokio::time::timeout(stay, subscriber.run(port, LIMIT)).await;
                    let away = Duration::from_millis(fastrand::u64(0..100));
                    tokio::time::sleep(away).await;
                }
                subscriber
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(fastrand::u64(50..900))).await;
    server.signal(libc::SIGKILL);
    over.store(true, Ordering::Relaxed);
    let mut publishers = Vec::new();
    for task in publishing {
        publishers.push(task.await.expect("a publisher keeps its books"));
    }
    let mut subscribers = Vec::new();
    for task in subscribing {
        subscribers.push(task.await.expect("a subscriber keeps its books"));
    }
    (publishers, subscribers)
}

/// What is retained is at least what was acknowledged last, and something that was sent.
async fn check_retained(server: &Server, publishers: &[Publisher], round: u32) {
    let login = Login::passing(&format!("check-{round}"));
    let (mut wire, _) = Wire::connect(server.mqtt_port(), &login).await.expect("connected");
    let mut packets = wire.subscribe("r/#", QoS::AtMostOnce).await.expect("subscribed");
    while let Some(packet) = wire.next_within(Duration::from_millis(50)).await.expect("connected") {
        packets.push(packet);
    }
    for publisher in publishers.iter().filter(|publisher| publisher.retain) {
        let found = packets.iter().find_map(|packet| match packet {
            Packet::Publish(publish) if publish.topic() == publisher.topic => {
                std::str::from_utf8(publish.payload_slice()).ok()?.parse::<u64>().ok()
            }
            _ => None,
        });
        let least = publisher.acknowledged.last().copied().unwrap_or(0);
        let (found, most) = (found.unwrap_or(0), publisher.sent());
        assert!((least..=most).contains(&found), "{}: {found}, not {least} to {most}", publisher.topic);
    }
}

/// Lets publishers finish what they have begun, and subscribers take what is left.
async fn finish(server: &Server, publishers: &mut [Publisher], subscribers: &mut [Subscriber]) {
    let port = server.mqtt_port();
    for publisher in publishers {
        let until = Instant::now() + LIMIT;
        while !publisher.is_done() {
            assert!(
                Instant::now() < until,
                "{} does not finish\n{}",
                publisher.login.client_id,
                server.log()
            );
            let _ = tokio::time::timeout(LIMIT, publisher.run(port, || false)).await;
        }
    }
    for subscriber in subscribers {
        subscriber.run(port, Duration::from_millis(500)).await.expect("connected");
    }
}

fn check_all(publishers: &[Publisher], subscribers: &[Subscriber]) {
    for publisher in publishers.iter().filter(|publisher| !publisher.retain) {
        for subscriber in subscribers {
            let name = &subscriber.login.client_id;
            let seen = subscriber.seen.get(&publisher.topic);
            let missing: Vec<u64> = publisher
                .acknowledged
                .iter()
                .filter(|number| !seen.is_some_and(|seen| seen.numbers.contains(number)))
                .copied()
                .collect();
            assert!(missing.is_empty(), "{name} misses {missing:?} of {}", publisher.topic);
        }
    }
}

fn lasting(client_id: &str, expiry_s: u32) -> Login {
    Login { expiry_s, ..Login::lasting(client_id) }
}

async fn connect(server: &Server, login: &Login) -> (Wire, bool) {
    let (wire, connack) = Wire::connect(server.mqtt_port(), login).await.expect("connected");
    assert_eq!(connack.reason, ReasonCode::SUCCESS);
    (wire, connack.session_present)
}

/// The payloads that come within a moment; they are not acknowledged.
async fn payloads(wire: &mut Wire) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(packet) = wire.next_within(Duration::from_millis(300)).await.expect("connected") {
        if let Packet::Publish(publish) = packet {
            found.push(String::from_utf8_lossy(publish.payload_slice()).into_owned());
        }
    }
    found
}

async fn restart(server: &mut Server) {
    let data_dir = server.data_dir().to_owned();
    server.kill().await;
    *server = Server::start_in(&data_dir, &[]).await;
}

#[tokio::test]
async fn subscriptions_queues_groups_and_retained_messages_survive() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_in(folder.path(), &[]).await;
    let (mut plain, present) = connect(&server, &lasting("plain", 1000)).await;
    assert!(!present);
    plain.subscribe("a/#", QoS::AtLeastOnce).await.expect("subscribed");
    let (mut member, _) = connect(&server, &lasting("member", 1000)).await;
    member.subscribe("$share/g/a/#", QoS::AtLeastOnce).await.expect("subscribed");
    drop((plain, member));
    let (mut publisher, _) = connect(&server, &Login::passing("publisher")).await;
    assert_eq!(publisher.publish("a/1", "one", false).await.expect("acknowledged"), ReasonCode::SUCCESS);
    assert_eq!(publisher.publish("a/2", "two", true).await.expect("acknowledged"), ReasonCode::SUCCESS);
    publisher.publish("b", "kept", true).await.expect("acknowledged");
    publisher.publish("c", "not kept", true).await.expect("acknowledged");
    publisher.publish("c", "", true).await.expect("acknowledged");
    restart(&mut server).await;

    let (_, clients) = server.api("GET", "/clients", None).await;
    let listed: Vec<_> = clients["data"].as_array().expect("a list").iter().collect();
    assert_eq!(listed.len(), 2, "{clients}");
    assert!(
        listed.iter().all(|client| client["connected"] == false && client["mqueue_len"] == 2),
        "{clients}"
    );
    for client_id in ["plain", "member"] {
        let (mut wire, present) = connect(&server, &lasting(client_id, 1000)).await;
        assert!(present);
        assert_eq!(payloads(&mut wire).await, ["one", "two"], "{client_id}");
    }
    let (mut fresh, _) = connect(&server, &Login::passing("fresh")).await;
    fresh.subscribe("+", QoS::AtLeastOnce).await.expect("subscribed");
    assert_eq!(payloads(&mut fresh).await, ["kept"]);
    // the subscription works, not only the queue
    let (mut wire, _) = connect(&server, &lasting("plain", 1000)).await;
    let (mut publisher, _) = connect(&server, &Login::passing("publisher")).await;
    publisher.publish("a/3", "three", false).await.expect("acknowledged");
    assert_eq!(payloads(&mut wire).await, ["one", "two", "three"]);
}

#[tokio::test]
async fn what_has_ended_does_not_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_in(folder.path(), &[]).await;
    for client_id in ["restarted", "kicked", "expired", "said goodbye", "unsubscribed"] {
        let expiry_s = if client_id == "expired" { 1 } else { 1000 };
        let (mut wire, _) = connect(&server, &lasting(client_id, expiry_s)).await;
        wire.subscribe("a", QoS::AtLeastOnce).await.expect("subscribed");
        if client_id == "said goodbye" {
            let properties = Properties::from_list(&[Property::SessionExpiryInterval(0)]).expect("valid");
            wire.put(&Packet::Disconnect(Disconnect {
                reason: ReasonCode::NORMAL_DISCONNECTION,
                properties,
            }));
            assert!(wire.next().await.is_err());
        }
        if client_id == "unsubscribed" {
            let filters = vec!["a".to_owned()];
            wire.put(&Packet::Unsubscribe(Unsubscribe {
                packet_id: ledger::id(2),
                properties: Properties::new(),
                filters,
            }));
            assert!(matches!(wire.next().await, Ok(Packet::UnsubAck(_))));
        }
    }
    let (mut publisher, _) = connect(&server, &Login::passing("publisher")).await;
    publisher.publish("a", "one", false).await.expect("acknowledged");
    let clean = Login { clean_start: true, ..lasting("restarted", 1000) };
    let (_wire, present) = connect(&server, &clean).await;
    assert!(!present);
    let (status, _) = server.api("DELETE", "/clients/kicked", None).await;
    assert_eq!(status, 204);
    server.kill().await;
    tokio::time::sleep(Duration::from_millis(1100)).await; // while the server is down
    let mut server = Server::start_in(folder.path(), &[]).await;

    let (_, clients) = server.api("GET", "/clients", None).await;
    let mut found: Vec<_> =
        clients["data"].as_array().expect("a list").iter().map(|client| client["clientid"].clone()).collect();
    found.sort_by_key(ToString::to_string);
    assert_eq!(found, ["restarted", "unsubscribed"], "{clients}");
    for client_id in ["restarted", "kicked", "expired", "said goodbye", "unsubscribed"] {
        let (mut wire, present) = connect(&server, &lasting(client_id, 1000)).await;
        assert_eq!(present, client_id == "restarted" || client_id == "unsubscribed", "{client_id}");
        assert_eq!(payloads(&mut wire).await, Vec::<String>::new(), "{client_id}");
    }
    server.kill().await;
}

#[tokio::test]
async fn a_will_waits_out_its_delay_over_a_crash_and_a_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_in(folder.path(), &[]).await;
    let will = |topic: &str, delay_s| {
        let properties = Properties::from_list(&[Property::WillDelayInterval(delay_s)]).expect("valid");
        Some(Will {
            topic: topic.to_owned(),
            payload: b"gone".to_vec().into(),
            qos: QoS::AtLeastOnce,
            retain: true,
            properties,
        })
    };
    let login =
        |name: &str, delay_s| Login { will: will(&format!("will/{name}"), delay_s), ..lasting(name, 1000) };
    // one is away already, one is connected when the server ends, one comes back in time
    let (wire, _) = connect(&server, &login("away", 3)).await;
    drop(wire);
    let (_connected, _) = connect(&server, &login("connected", 1)).await;
    let (wire, _) = connect(&server, &login("returns", 3)).await;
    drop(wire);
    tokio::time::sleep(Duration::from_millis(100)).await; // the server sees them go
    restart(&mut server).await;
    let (_returned, present) = connect(&server, &lasting("returns", 1000)).await;
    assert!(present);
    server.terminate().await;
    let server = Server::start_in(folder.path(), &[]).await;
    let due = || async {
        let (_, found) = server.api("GET", "/mqtt/retainer/messages?topic=will/%23", None).await;
        let topics = found["data"].as_array()?.iter().map(|one| one["topic"].clone()).collect::<Vec<_>>();
        (topics.len() == 2).then_some(topics)
    };
    let mut topics = server.wait_for("two wills", LIMIT, due).await;
    topics.sort_by_key(ToString::to_string);
    assert_eq!(topics, ["will/away", "will/connected"]);
}

#[tokio::test]
async fn a_full_journal_refuses_what_it_cannot_keep_and_serves_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = settings(folder.path(), "[durable_sessions]\nmax_bytes = '64MB'\n");
    let mut server = Server::start_in(folder.path(), &["--config", &config]).await;
    let (mut keeper, _) = connect(&server, &lasting("keeper", 1000)).await;
    keeper.subscribe("kept", QoS::AtLeastOnce).await.expect("subscribed");
    drop(keeper);
    let (mut passing, _) = connect(&server, &Login::passing("passing")).await;
    passing.subscribe("live", QoS::AtLeastOnce).await.expect("subscribed");
    let (mut publisher, _) = connect(&server, &Login::passing("publisher")).await;
    let payload = "x".repeat(500_000);
    let mut taken = 0;
    let refused = loop {
        match publisher.publish("kept", &payload, false).await.expect("answered") {
            ReasonCode::SUCCESS => taken += 1,
            refused => break refused,
        }
        assert!(taken < 200, "64 MB hold no more than half of that");
    };
    assert_eq!(refused, ReasonCode::QUOTA_EXCEEDED);
    assert!(taken > 50, "{taken}");
    // what needs no disk goes on
    assert_eq!(publisher.publish("live", "on", false).await.expect("answered"), ReasonCode::SUCCESS);
    assert_eq!(payloads(&mut passing).await, ["on"]);
    // and so does what makes room
    let config = config.clone();
    server.kill().await;
    let server = Server::start_in(folder.path(), &["--config", &config]).await;
    let mut keeper = Subscriber::new("keeper", "kept", QoS::AtLeastOnce);
    keeper.any_payload = true;
    keeper.run(server.mqtt_port(), Duration::from_secs(1)).await.expect("connected");
    assert_eq!(keeper.messages, taken);
    let room = || async {
        let (mut publisher, _) = connect(&server, &Login::passing("publisher")).await;
        let answer = publisher.publish("kept", "again", false).await.expect("answered");
        (answer == ReasonCode::SUCCESS).then_some(())
    };
    server.wait_for("room", LIMIT, room).await;
}
