//! How many connections may come in a time.

use std::str::FromStr;
use std::time::{Duration, Instant};

/// Connections in a time: `1000/s`, `500/10s`, `60000/m`. As many may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionRate {
    count: u32,
    interval: Duration,
}

/// Why a text is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `infinity` or a rate such as `1000/s`, got `{0}`")]
pub struct RateError(String);

impl FromStr for ConnectionRate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || RateError(text.to_owned());
        let (count, per) = text.split_once('/').ok_or_else(error)?;
        let count: u32 = count.trim().parse().map_err(|_| error())?;
        let per = per.trim();
        let digits = per.len() - per.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let (number, unit) = per.split_at(digits);
        let number: u64 = if number.is_empty() { 1 } else { number.parse().map_err(|_| error())? };
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(error()),
        };
        let interval = number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(error)?;
        if count == 0 || interval.is_zero() {
            return Err(error());
        }
        Ok(Self { count, interval })
    }
}

impl std::fmt::Display for ConnectionRate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.interval.as_millis() {
            1000 => write!(formatter, "{}/s", self.count),
            interval_ms if interval_ms % 1000 == 0 => {
                write!(formatter, "{}/{}s", self.count, interval_ms / 1000)
            }
            interval_ms => write!(formatter, "{}/{interval_ms}ms", self.count),
        }
    }
}

/// A bucket that fills at a rate, and that each connection takes one token from.
#[derive(Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    /// Makes a full bucket.
    pub(crate) fn new(now: Instant) -> Self {
        Self { tokens: f64::INFINITY, filled_at: now }
    }

    /// Takes a token, or says how long it is until there is one.
    pub(crate) fn take(&mut self, rate: ConnectionRate, now: Instant) -> Result<(), Duration> {
        let token = rate.interval.as_secs_f64() / f64::from(rate.count);
        let grown = now.saturating_duration_since(self.filled_at).as_secs_f64() / token;
        self.tokens = (self.tokens + grown).min(f64::from(rate.count));
        self.filled_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) * token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for (text, written) in
            [("1000/s", "1000/s"), ("500/10s", "500/10s"), ("6/m", "6/60s"), ("5/100ms", "5/100ms")]
        {
            assert_eq!(text.parse::<ConnectionRate>().unwrap().to_string(), written);
        }
        for text in ["", "0/s", "10", "10/", "10/y", "-1/s", "1/0s", "x/s", "1/99999999999999999999s"] {
            assert!(text.parse::<ConnectionRate>().is_err(), "{text}");
        }
    }

    #[test]
    fn tokens_come_back() {
        let rate: ConnectionRate = "10/s".parse().unwrap();
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        for _ in 0..10 {
            assert_eq!(bucket.take(rate, start), Ok(()));
        }
        let wait = bucket.take(rate, start).unwrap_err();
        assert!((90..=100).contains(&wait.as_millis()), "{wait:?}");
        assert_eq!(bucket.take(rate, start + wait + Duration::from_millis(1)), Ok(()));
        assert!(bucket.take(rate, start + wait + Duration::from_millis(1)).is_err());
        let later = start + Duration::from_secs(100);
        assert_eq!((0..100).take_while(|_| bucket.take(rate, later).is_ok()).count(), 10);
    }
}
