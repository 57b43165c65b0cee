//! The one place that says `Reject`: what answers and errors mean.

use std::time::Duration;

use chrono::DateTime;
use connectors_api::{Outcome, Reason};
use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use crate::status_set::StatusSet;

/// Longest pause that a target can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// What an action makes of answers.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pub(crate) success: StatusSet,
    pub(crate) retry: StatusSet,
    pub(crate) respect_retry_after: bool,
}

impl Answers {
    /// Classifies an answer. `excerpt` is the beginning of its body, without secrets.
    pub(crate) fn classify(&self, status: u16, headers: &HeaderMap, excerpt: &str) -> Outcome {
        if self.success.contains(status) {
            return Outcome::Ok;
        }
        let message = match excerpt {
            "" => "the target answered without a text".to_owned(),
            text => format!("the target answered `{text}`"),
        };
        let reason = Reason::target(status.to_string(), message);
        if self.retry.contains(status) {
            let after = if self.respect_retry_after { retry_after(headers) } else { None };
            return Outcome::Retry { reason, after };
        }
        Outcome::Reject(reason)
    }
}

/// Reads `Retry-After`: seconds, or a date, which is compared with the answer's own `Date`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = DateTime::parse_from_rfc2822(text).ok()?;
            let now = DateTime::parse_from_rfc2822(headers.get(DATE)?.to_str().ok()?).ok()?;
            (until - now).to_std().unwrap_or_default()
        }
    };
    Some(pause.min(RETRY_AFTER_MAX))
}

/// Classifies an error of the client. Everything that happens on the way is retried; only a request that cannot be
/// built blames the row.
pub(crate) fn classify_error(error: &reqwest::Error) -> Outcome {
    let message = describe(error);
    if error.is_builder() {
        return Outcome::Reject(Reason::render(message));
    }
    Outcome::retry(Reason::transport(message))
}

/// The chain of causes, without the URL: its query may hold secrets.
fn describe(error: &reqwest::Error) -> String {
    let what = match () {
        () if error.is_timeout() => "no answer in time",
        () if error.is_connect() => "cannot connect",
        () if error.is_builder() => "the request cannot be built",
        () if error.is_body() => "the body was not sent or received whole",
        () => "the request failed",
    };
    let mut message = what.to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.ends_with(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        cause = error.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn answers() -> Answers {
        Answers { success: StatusSet::success(), retry: StatusSet::retry(), respect_retry_after: true }
    }

    #[test]
    fn every_status_has_its_class() {
        let success: Vec<u16> = (200..300).collect();
        let retry = [408, 425, 429, 502, 503, 504];
        for status in 200..600 {
            let outcome = answers().classify(status, &HeaderMap::new(), "");
            if success.contains(&status) {
                assert_eq!(outcome, Outcome::Ok, "{status}");
            } else if retry.contains(&status) {
                assert!(
                    matches!(&outcome, Outcome::Retry { reason, after: None }
                    if reason.code.as_deref() == Some(&status.to_string())),
                    "{status}: {outcome:?}"
                );
            } else {
                assert!(
                    matches!(&outcome, Outcome::Reject(reason)
                    if reason.code.as_deref() == Some(&status.to_string())),
                    "{status}: {outcome:?}"
                );
            }
        }
    }

    #[test]
    fn classes_can_be_set() {
        let answers = Answers {
            success: serde_json::from_str("[200, 409]").unwrap(),
            retry: serde_json::from_str(r#"["500-599"]"#).unwrap(),
            respect_retry_after: false,
        };
        let headers: HeaderMap = [(RETRY_AFTER, HeaderValue::from_static("7"))].into_iter().collect();
        assert_eq!(answers.classify(409, &headers, ""), Outcome::Ok);
        assert!(matches!(answers.classify(201, &headers, ""), Outcome::Reject(_)));
        assert!(matches!(answers.classify(500, &headers, ""), Outcome::Retry { after: None, .. }));
    }

    #[test]
    fn retry_after_is_read() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (retry_after, date, want) in [
            ("7", None, Some(7)),
            (" 0 ", None, Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(date), Some(30)),
            ("Sun, 06 Nov 1994 08:40:00 GMT", Some(date), Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", None, None),
            ("soon", Some(date), None),
            ("-1", None, None),
            ("18446744073709551615", None, Some(86_400)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(retry_after).unwrap());
            if let Some(date) = date {
                headers.insert(DATE, HeaderValue::from_static(date));
            }
            let Outcome::Retry { after, .. } = answers().classify(503, &headers, "") else { panic!() };
            assert_eq!(after, want.map(Duration::from_secs), "{retry_after}");
        }
    }
}
