//! Rates in the configuration: `1000/s`, `1MB/10s`, `infinity`.

use std::str::FromStr;
use std::time::Duration;

use broker_net::{Quota, Quotas, Rate};
use connectors_api::ConfigProblem;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// So many messages in a time, or no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub(crate) struct MessageRate(#[schemars(with = "String")] Option<Rate>);

/// So many bytes in a time, or no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub(crate) struct ByteRate(#[schemars(with = "String")] Option<Rate>);

/// What somebody may publish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rates {
    /// Messages.
    pub(crate) messages_rate: MessageRate,
    /// Messages on top of that now and then.
    pub(crate) messages_burst: MessageRate,
    /// Bytes of PUBLISH packets.
    pub(crate) bytes_rate: ByteRate,
    /// Bytes on top of that now and then.
    pub(crate) bytes_burst: ByteRate,
}

impl Rates {
    /// Returns them as the network part understands them.
    pub(crate) fn quotas(&self) -> Quotas {
        let quota = |rate: Option<Rate>, burst| rate.map(|rate| Quota { rate, burst });
        Quotas {
            messages: quota(self.messages_rate.0, self.messages_burst.0),
            bytes: quota(self.bytes_rate.0, self.bytes_burst.0),
        }
    }

    /// What the types alone do not rule out; `prefix` is where they stand.
    pub(crate) fn problems(&self, prefix: &str) -> Vec<ConfigProblem> {
        let bursts = [
            ("messages_burst", self.messages_rate.0, self.messages_burst.0),
            ("bytes_burst", self.bytes_rate.0, self.bytes_burst.0),
        ];
        let alone = bursts.into_iter().filter(|(_, rate, burst)| rate.is_none() && burst.is_some());
        let expected = "expected a rate beside it, got `a burst alone`";
        alone.map(|(name, ..)| ConfigProblem::new(format!("{prefix}{name}"), expected.to_owned())).collect()
    }
}

/// The largest number of a rate, and its longest time.
const AMOUNT_MAX: u64 = 1 << 50;
const INTERVAL_MS_MAX: u64 = 366 * 24 * 3600 * 1000;

/// Reads a rate; `units` are those that its number may have.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<Option<Rate>> {
    if text == "infinity" {
        return Some(None);
    }
    let (amount, interval) = text.split_once('/')?;
    let (number, unit) = amount.split_at(amount.find(|c: char| !c.is_ascii_digit()).unwrap_or(amount.len()));
    let factor = units.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name))?.1;
    let amount = number.parse::<u64>().ok()?.checked_mul(factor)?;
    let (count, unit) = interval.split_at(interval.find(|c: char| !c.is_ascii_digit())?);
    let count = if count.is_empty() { 1 } else { count.parse::<u64>().ok()? };
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let interval_ms = count.checked_mul(unit_ms)?;
    let is_sound = (1..=AMOUNT_MAX).contains(&amount) && (1..=INTERVAL_MS_MAX).contains(&interval_ms);
    is_sound.then(|| Some(Rate { amount, interval: Duration::from_millis(interval_ms) }))
}

fn print(rate: Option<Rate>) -> String {
    let Some(rate) = rate else { return "infinity".to_owned() };
    match rate.interval.as_millis() {
        1000 => format!("{}/s", rate.amount),
        interval_ms if interval_ms % 1000 == 0 => format!("{}/{}s", rate.amount, interval_ms / 1000),
        interval_ms => format!("{}/{interval_ms}ms", rate.amount),
    }
}

impl FromStr for MessageRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, &[("", 1)])
            .map(Self)
            .ok_or_else(|| format!("expected a rate such as `1000/s` or `infinity`, got `{text}`"))
    }
}

impl FromStr for ByteRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, &[("", 1), ("B", 1), ("KB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30)])
            .map(Self)
            .ok_or_else(|| format!("expected a rate such as `1MB/s` or `infinity`, got `{text}`"))
    }
}

macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
                String::deserialize(reader)?.parse().map_err(D::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
                writer.serialize_str(&print(self.0))
            }
        }
    )*};
}

as_text!(MessageRate ByteRate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_printed() {
        let check = |text: &str, printed: &str| {
            let bytes = text.parse::<ByteRate>().map(|rate| print(rate.0));
            assert_eq!(bytes.as_deref(), Ok(printed), "{text}");
        };
        check("1000/s", "1000/s");
        check("1000/10s", "1000/10s");
        check("1MB/s", "1048576/s");
        check("2kb/1m", "2048/60s");
        check("5B/100ms", "5/100ms");
        check("10000/1h", "10000/3600s");
        check("infinity", "infinity");
        assert!("1000/s".parse::<MessageRate>().is_ok());
        for text in
            ["", "0/s", "10", "10/", "10/y", "-1/s", "1/0s", "x/s", "1.5/s", "1/9999999999d", "9999999GB/s"]
        {
            assert!(text.parse::<ByteRate>().is_err(), "{text}");
        }
        assert!("1MB/s".parse::<MessageRate>().is_err(), "messages are no bytes");
    }
}
