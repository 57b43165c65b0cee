//! Clients that connect and disconnect over and over: found here, and banned for a while.

use std::collections::HashMap;
use std::net::IpAddr;

use engine_event::Text;
use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::bans::{Ban, BanSubject};
use crate::broker::Broker;
use crate::zone::Zone;

/// When a client that comes and goes is banned (`flapping_detect`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlappingConfig {
    /// Length of the window in milliseconds. Default 1 minute.
    pub window_ms: u64,
    /// Disconnects within the window that lead to a ban, at least 1. Default 15.
    pub max_count: u32,
    /// How long the ban lasts, in milliseconds. Default 5 minutes.
    pub ban_ms: u64,
    /// Whose disconnects are counted together, and who is banned. Default: the client id.
    pub key: FlappingKey,
}

impl Default for FlappingConfig {
    fn default() -> Self {
        Self { window_ms: 60_000, max_count: 15, ban_ms: 300_000, key: FlappingKey::default() }
    }
}

/// Whose disconnects are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlappingKey {
    /// Those of a client id.
    #[default]
    ClientId,
    /// Those of a user name.
    Username,
    /// Those of an address. Refused CONNECTs count here too: elsewhere a stranger could have a client banned by failing
    /// in its name.
    PeerHost,
}

/// Disconnects of the present window.
#[derive(Debug, Default)]
pub(crate) struct Flapping(Mutex<HashMap<BanSubject, Window, RandomState>>);

#[derive(Debug, Clone, Copy)]
struct Window {
    since_ms: i64,
    count: u32,
}

/// Keys that are watched at a time; beyond it the oldest windows are forgotten, a half at once.
const WATCHED_MAX: usize = 64 * 1024;

impl Flapping {
    /// Counts a disconnect and says whether it is one too many.
    fn count(&self, subject: &BanSubject, config: &FlappingConfig, now_ms: i64) -> bool {
        let window_ms = i64::try_from(config.window_ms).unwrap_or(i64::MAX);
        let is_over = |window: &Window| now_ms.saturating_sub(window.since_ms) >= window_ms;
        let mut windows = self.0.lock();
        if windows.len() >= WATCHED_MAX && !windows.contains_key(subject) {
            make_room(&mut windows, is_over);
        }
        let window = windows.entry(subject.clone()).or_insert(Window { since_ms: now_ms, count: 0 });
        if is_over(window) {
            *window = Window { since_ms: now_ms, count: 0 };
        }
        window.count += 1;
        let is_too_many = window.count >= config.max_count;
        if is_too_many {
            windows.remove(subject);
        }
        is_too_many
    }
}

#[cold]
fn make_room(windows: &mut HashMap<BanSubject, Window, RandomState>, is_over: impl Fn(&Window) -> bool) {
    windows.retain(|_, window| !is_over(window));
    if windows.len() < WATCHED_MAX {
        return;
    }
    let mut starts: Vec<i64> = windows.values().map(|window| window.since_ms).collect();
    let (_, middle, _) = starts.select_nth_unstable(WATCHED_MAX / 2);
    let middle = *middle;
    windows.retain(|_, window| window.since_ms > middle);
}

impl Broker {
    /// Counts a disconnect of a client, and bans it when there were too many.
    pub(crate) fn note_disconnect(
        &self,
        client_id: &Text,
        username: Option<&Text>,
        address: IpAddr,
        zone: &Zone,
        now_ms: i64,
    ) {
        let Some(config) = zone.flapping else { return };
        let subject = match config.key {
            FlappingKey::ClientId => client_id.as_str().map(|who| BanSubject::ClientId(who.to_owned())),
            FlappingKey::Username => {
                username.and_then(Text::as_str).map(|who| BanSubject::Username(who.to_owned()))
            }
            FlappingKey::PeerHost => Some(BanSubject::PeerHost(address.to_canonical())),
        };
        if let Some(subject) = subject {
            self.note_flap(subject, &config, now_ms);
        }
    }

    /// Counts a refused CONNECT from an address.
    pub(crate) fn note_refusal(&self, address: IpAddr, zone: &Zone, now_ms: i64) {
        if let Some(config) = zone.flapping
            && config.key == FlappingKey::PeerHost
        {
            self.note_flap(BanSubject::PeerHost(address.to_canonical()), &config, now_ms);
        }
    }

    fn note_flap(&self, subject: BanSubject, config: &FlappingConfig, now_ms: i64) {
        if !self.flapping.count(&subject, config, now_ms) {
            return;
        }
        tracing::warn!(r#as = subject.kind(), who = subject.who(), "client flaps, banned");
        let ban = Ban {
            subject,
            by: "flapping detector".to_owned(),
            reason: format!("{} disconnects in {} s", config.max_count, config.window_ms.div_ceil(1000)),
            at_ms: now_ms,
            until_ms: Some(now_ms.saturating_add(i64::try_from(config.ban_ms).unwrap_or(i64::MAX))),
        };
        if let Err(error) = self.bans().put_own(ban) {
            tracing::warn!(%error, "client flaps, but cannot be banned");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(number: usize) -> BanSubject {
        BanSubject::ClientId(number.to_string())
    }

    #[test]
    fn only_many_disconnects_within_a_window_are_too_many() {
        let flapping = Flapping::default();
        let config = FlappingConfig { window_ms: 1000, max_count: 3, ..FlappingConfig::default() };
        let count = |at_ms| flapping.count(&subject(1), &config, at_ms);
        assert_eq!([count(0), count(500), count(999)], [false, false, true]);
        assert_eq!([count(1000), count(1100)], [false, false], "after a ban it begins anew");
        assert_eq!(
            [count(2000), count(2100), count(2200)],
            [false, false, true],
            "the first window was over"
        );
    }

    #[test]
    fn a_flood_of_client_ids_takes_bounded_memory() {
        let flapping = Flapping::default();
        let config = FlappingConfig { window_ms: u64::MAX, max_count: 2, ..FlappingConfig::default() };
        for number in 0..3 * WATCHED_MAX {
            assert!(!flapping.count(&subject(number), &config, number as i64));
        }
        assert!(flapping.0.lock().len() <= WATCHED_MAX);
        assert!(flapping.count(&subject(3 * WATCHED_MAX - 1), &config, i64::MAX), "the latest are known");
    }
}
