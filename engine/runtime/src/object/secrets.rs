//! Secrets come back as `******`, and `******` means "unchanged".

use connectors_api::ConfigProblem;
use serde_json::Value as Json;

/// What stands in the place of a secret.
pub(crate) const REDACTED: &str = "******";

/// Replaces every secret of `config` that is set.
pub(crate) fn redact(config: &mut Json, secrets: &[&str]) {
    for secret in secrets {
        if let Some(value) = find(config, secret)
            && !matches!(value, Json::Null)
            && value.as_str() != Some("")
        {
            *value = Json::from(REDACTED);
        }
    }
}

/// Puts the stored secrets back where `config` has `******`.
pub(crate) fn restore(
    config: &mut Json,
    stored: Option<&Json>,
    secrets: &[&str],
    problems: &mut Vec<ConfigProblem>,
) {
    for secret in secrets {
        let Some(value) = find(config, secret) else { continue };
        if value.as_str() != Some(REDACTED) {
            continue;
        }
        match stored.and_then(|stored| stored.pointer(&format!("/{}", secret.replace('.', "/")))) {
            Some(kept) => *value = kept.clone(),
            None => problems.push(ConfigProblem::new(
                *secret,
                format!("`{REDACTED}` keeps the stored secret, but there is none"),
            )),
        }
    }
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

        let mut problems = Vec::new();
        let mut sent = shown.clone();
        sent["password"] = json!("new");
        restore(&mut sent, Some(&stored), &secrets, &mut problems);
        assert_eq!(sent, json!({"user": "u", "password": "new", "ssl": {"password": "q"}, "token": ""}));
        assert!(problems.is_empty());

        let mut sent = json!({"password": "******"});
        restore(&mut sent, None, &secrets, &mut problems);
        assert_eq!(problems.len(), 1);
    }
}
