//! What protects the server from its clients, wired.

use std::sync::Arc;
use std::time::Duration;

use api::Api;
use broker_core::{Broker, FlappingConfig};
use broker_net::PublishQuotas;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, FlappingDetect, FlappingKey, ForceShutdown};

/// When flapping clients are banned; nothing when nobody looks for them.
pub(crate) fn flapping(config: &FlappingDetect) -> Option<FlappingConfig> {
    let millis =
        |period: connectors_api::Period| u64::try_from(period.duration().as_millis()).unwrap_or(u64::MAX);
    config.enable.then(|| FlappingConfig {
        window_ms: millis(config.window_time),
        max_count: config.max_count,
        ban_ms: millis(config.ban_time),
        key: match config.key {
            FlappingKey::ClientId => broker_core::FlappingKey::ClientId,
            FlappingKey::Username => broker_core::FlappingKey::Username,
            FlappingKey::PeerHost => broker_core::FlappingKey::PeerHost,
        },
    })
}

/// When connections are ended because of what is kept for them; nothing when nobody looks.
pub(crate) fn force_shutdown(config: &ForceShutdown) -> Option<broker_core::ForceShutdown> {
    let or_any =
        |limit: u64| if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
    config.enable.then(|| broker_core::ForceShutdown {
        max_messages: or_any(config.max_mailbox_size.0.into()),
        max_bytes: or_any(config.max_heap_size.get()),
    })
}

/// What clients may publish.
pub(crate) fn publish_quotas(config: &Config) -> PublishQuotas {
    let limiter = &config.mqtt.limiter;
    PublishQuotas { node: limiter.all().quotas(), each: limiter.client.quotas() }
}

/// Stores the bans that the broker makes, and takes out those that have ended.
#[derive(Debug)]
pub(crate) struct BanKeeper {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// How often the ban list is looked through.
const KEEP_EVERY: Duration = Duration::from_secs(1);

impl BanKeeper {
    pub(crate) fn start(api: Api, broker: &Arc<Broker>) -> Self {
        let stop = CancellationToken::new();
        let (stopped, broker) = (stop.clone(), Arc::clone(broker));
        let task = tokio::spawn(async move {
            let mut interval = tokio::time::interval(KEEP_EVERY);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while stopped.run_until_cancelled(interval.tick()).await.is_some() {
                api.bans().keep(broker.now_ms()).await;
            }
            api.bans().keep(broker.now_ms()).await; // what was banned last
        });
        Self { stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await; // a panic has been printed
    }
}
