//! What clients see while something of them waits for the journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_codec::{Packet, ReasonCode};
use broker_core::{Broker, BrokerConfig, CloseReason, Flow, Journal, Progress, Record, Recovery};
use engine_event::ManualClock;

use crate::support::{Bench, Client, resume};

/// A journal whose disk is slow: nothing is committed before it is told so.
#[derive(Default)]
struct SlowDisk {
    appended: AtomicU64,
    committed: AtomicU64,
}

impl Journal for SlowDisk {
    fn admits(&self, _bytes: usize) -> bool {
        true
    }

    fn append(&self, _record: &Record<'_>) -> u64 {
        self.appended.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn commit(&self, _done: Box<dyn FnOnce(bool) + Send>) {}

    fn is_congested(&self) -> bool {
        false
    }

    fn progress(&self) -> Progress {
        Progress { committed: self.committed.load(Ordering::Relaxed), failed: 0 }
    }
}

impl SlowDisk {
    fn bench() -> (Bench, Arc<Self>) {
        let clock = Arc::new(ManualClock::at(1_000_000));
        let broker = Broker::new(BrokerConfig::default(), Arc::clone(&clock) as _);
        let disk = Arc::new(Self::default());
        Recovery::new().finish(&broker, Arc::clone(&disk) as _);
        (Bench::of(broker, clock), disk)
    }

    fn commit_all(&self) {
        self.committed.store(self.appended.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Sends a CONNECT whose answer waits for the journal.
fn knock(bench: &mut Bench) -> Client {
    let wish = resume("c");
    let mut client = bench.open(wish.version);
    client.send(bench, &Packet::Connect(Box::new(wish)));
    assert!(client.read(bench).is_empty(), "answered before the session is stored");
    client
}

#[test]
fn a_session_is_stored_before_its_client_is_told() {
    let (mut bench, disk) = SlowDisk::bench();
    let mut client = knock(&mut bench);
    disk.commit_all();
    assert!(matches!(client.committed(&mut bench), Flow::Continue));
    let Packet::ConnAck(connack) = client.read_one(&mut bench) else { panic!("no CONNACK") };
    assert_eq!(connack.reason, ReasonCode::SUCCESS);
}

#[test]
fn nobody_is_sent_a_disconnect_before_a_connack() {
    // [MQTT-3.14.0-1]
    for reason in [CloseReason::TakenOver, CloseReason::Kicked, CloseReason::ServerShutdown] {
        let (mut bench, _disk) = SlowDisk::bench();
        let mut client = knock(&mut bench);
        client.close(&mut bench, reason);
        assert_eq!(client.read(&mut bench), [], "{reason:?}");
    }
}
