//! Shared subscriptions of a whole server.

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker_codec::{Packet, QoS, Version};
use support::Server;
use support::mqtt::{Client, connect};

const MESSAGES: usize = 10_000;

/// The numbers of the messages that came.
type Seen = Arc<Mutex<BTreeSet<usize>>>;

async fn member(port: u16, version: Version, client_id: &str) -> Client {
    let mut member = Client::connect_with(port, connect(version, client_id)).await;
    assert!(!member.subscribe("$share/g/work/#", QoS::AtLeastOnce).await.is_error());
    member
}

/// Takes what comes and acknowledges it.
async fn work(mut member: Client, seen: Seen) {
    loop {
        let publish = member.message().await;
        let number = std::str::from_utf8(publish.payload_slice()).expect("digits").parse().expect("digits");
        seen.lock().expect("not poisoned").insert(number);
    }
}

/// Publishes everything, with at most 50 messages on their way.
async fn publish_all(port: u16, half_way: tokio::sync::oneshot::Sender<()>) {
    let mut publisher = Client::connect(port, "publisher").await;
    let mut half_way = Some(half_way);
    let mut acknowledged = 0;
    for number in 0..MESSAGES {
        if number - acknowledged == 50 {
            assert!(matches!(publisher.next().await, Packet::PubAck(_)));
            acknowledged += 1;
        }
        let packet_id = (number % 60_000 + 1) as u16;
        publisher.publish("work/a", number.to_string().as_bytes(), QoS::AtLeastOnce, packet_id).await;
        if number == MESSAGES / 2 {
            let _ = half_way.take().map(|sender| sender.send(()));
        }
    }
    while acknowledged < MESSAGES {
        assert!(matches!(publisher.next().await, Packet::PubAck(_)));
        acknowledged += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_member_had_arrives_at_the_others() {
    for strategy in ["round_robin", "sticky", "hash_topic", "least_inflight"] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("sluice.toml");
        let text = format!("[mqtt]\nshared_subscription_strategy = '{strategy}'\n[listeners]\nworkers = 2\n");
        std::fs::write(&file, text).expect("written");
        let server = Server::start(&["--config", file.to_str().expect("UTF-8")]).await;
        let port = server.mqtt_port();
        let seen = Seen::default();
        // reads, and acknowledges nothing: all it ever gets must go to somebody else
        let mut victim = member(port, Version::V5, "victim").await;
        let victims = Arc::new(Mutex::new(0));
        let count = Arc::clone(&victims);
        let dies = tokio::spawn(async move {
            while victim.read().await.is_some() {
                *count.lock().expect("not poisoned") += 1;
            }
        });
        let workers: Vec<_> = [("w1", Version::V5), ("w2", Version::V4), ("w3", Version::V3)]
            .map(|(name, version)| {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move { work(member(port, version, name).await, seen).await })
            })
            .into();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (half_way, at_half_way) = tokio::sync::oneshot::channel();
        let publishing = tokio::spawn(publish_all(port, half_way));
        at_half_way.await.expect("half of it is published");
        dies.abort(); // closes its socket
        publishing.await.expect("all is published");
        let all = || async { (seen.lock().expect("not poisoned").len() == MESSAGES).then_some(()) };
        server.wait_for(&format!("every message with {strategy}"), Duration::from_secs(30), all).await;
        if strategy == "round_robin" {
            assert!(*victims.lock().expect("not poisoned") > 0, "it was a member");
        }
        for worker in workers {
            assert!(!worker.is_finished(), "a worker has failed");
            worker.abort();
        }
    }
}
