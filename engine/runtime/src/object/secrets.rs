//! Secrets come back as `******`, and `******` means "unchanged".

use connectors_api::{ConfigError, ConfigProblem};
use serde_json::Value as Json;

/// What stands in the place of a secret.
pub(crate) const REDACTED: &str = "******";

/// Where headers stand in a connector and in an action.
const HEADERS: [&str; 2] = ["headers", "parameters.headers"];

/// Replaces every secret of `config` that is set: those named in `secrets`, and headers that look like one.
pub(crate) fn redact(config: &mut Json, secrets: &[&str]) {
    for secret in secrets {
        if let Some(value) = find(config, secret) {
            hide(value);
        }
    }
    for place in HEADERS {
        let Some(Json::Object(headers)) = find(config, place) else { continue };
        headers.iter_mut().filter(|(name, _)| is_secret_header(name)).for_each(|(_, value)| hide(value));
    }
}

fn hide(value: &mut Json) {
    if !matches!(value, Json::Null) && value.as_str() != Some("") {
        *value = Json::from(REDACTED);
    }
}

/// Puts the stored secrets back where `config` has `******`.
///
/// # Errors
/// Each that has none stored.
pub(crate) fn restore_all(
    config: &mut Json,
    stored: Option<&Json>,
    secrets: &[&str],
) -> Result<(), ConfigError> {
    let mut problems = Vec::new();
    let mut none_stored = |path: String| {
        let message = format!("`{REDACTED}` keeps the stored secret, but there is none");
        problems.push(ConfigProblem::new(path, message));
    };
    for place in HEADERS {
        let kept = stored.and_then(|stored| look_up(stored, place)).and_then(Json::as_object);
        let Some(Json::Object(headers)) = find(config, place) else { continue };
        for (name, value) in headers.iter_mut().filter(|(_, value)| value.as_str() == Some(REDACTED)) {
            // header names are the same in capitals
            let same = |(other, _): &(&String, &Json)| other.eq_ignore_ascii_case(name);
            match kept.and_then(|kept| kept.get(name).or(kept.iter().find(same).map(|(_, value)| value))) {
                Some(kept) => *value = kept.clone(),
                None => none_stored(format!("{place}.{name}")),
            }
        }
    }
    for secret in secrets.iter().filter(|secret| !secret.starts_with("headers.")) {
        let Some(value) = find(config, secret) else { continue };
        if value.as_str() != Some(REDACTED) {
            continue;
        }
        match stored.and_then(|stored| look_up(stored, secret)) {
            Some(kept) => *value = kept.clone(),
            None => none_stored((*secret).to_owned()),
        }
    }
    ConfigError::unless_empty(problems)
}

/// Tells whether a header of that name holds something that must not be shown.
fn is_secret_header(name: &str) -> bool {
    const WORDS: [&str; 8] =
        ["auth", "cookie", "token", "secret", "password", "credential", "signature", "session"];
    let name = name.to_ascii_lowercase();
    let is_key = name.ends_with("key") && name != "idempotency-key";
    is_key || WORDS.iter().any(|word| name.contains(word))
}

fn look_up<'a>(config: &'a Json, path: &str) -> Option<&'a Json> {
    path.split('.').try_fold(config, |value, step| value.get(step))
}

fn find<'a>(config: &'a mut Json, path: &str) -> Option<&'a mut Json> {
    path.split('.').try_fold(config, |value, step| value.get_mut(step))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_hidden_and_kept() {
        let secrets = ["password", "ssl.password", "token"];
        let stored = json!({"user": "u", "password": "p", "ssl": {"password": "q"}, "token": ""});
        let mut shown = stored.clone();
        redact(&mut shown, &secrets);
        assert_eq!(
            shown,
            json!({"user": "u", "password": "******", "ssl": {"password": "******"}, "token": ""})
        );

        let mut sent = shown.clone();
        sent["password"] = json!("new");
        restore_all(&mut sent, Some(&stored), &secrets).unwrap();
        assert_eq!(sent, json!({"user": "u", "password": "new", "ssl": {"password": "q"}, "token": ""}));

        let mut sent = json!({"password": "******", "headers": {"Cookie": "******"}});
        let ConfigError(problems) = restore_all(&mut sent, None, &secrets).unwrap_err();
        assert_eq!(problems.len(), 2);
    }

    #[test]
    fn headers_that_look_like_a_secret_are_hidden() {
        for (name, secret) in [
            ("authorization", true),
            ("Proxy-Authorization", true),
            ("X-Api-Key", true),
            ("Ocp-Apim-Subscription-Key", true),
            ("X-Auth", true),
            ("SET-COOKIE", true),
            ("x-hub-signature-256", true),
            ("accept", false),
            ("content-type", false),
            ("Idempotency-Key", false),
            ("x-site", false),
        ] {
            assert_eq!(is_secret_header(name), secret, "{name}");
        }
        let stored = json!({"parameters": {"headers": {"Authorization": "a", "x-site": "b"}}});
        let mut shown = stored.clone();
        redact(&mut shown, &[]);
        assert_eq!(shown, json!({"parameters": {"headers": {"Authorization": "******", "x-site": "b"}}}));
        let mut sent = json!({"parameters": {"headers": {"AUTHORIZATION": "******", "x-site": "c"}}});
        restore_all(&mut sent, Some(&stored), &[]).unwrap();
        assert_eq!(sent, json!({"parameters": {"headers": {"AUTHORIZATION": "a", "x-site": "c"}}}));
    }
}
