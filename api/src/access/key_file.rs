//! The file of API keys that is read at each start.

use crate::store::Role;

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyLine {
    pub(super) api_key: String,
    pub(super) secret: String,
    pub(super) role: Role,
}

/// What is wrong with a file of API keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct KeyFileError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What was found and what was expected; never the secret.
    pub problem: String,
}

/// Reads lines `key:secret[:role]`; empty lines and those that begin with `#` are skipped.
pub(super) fn parse_key_file(text: &str) -> Result<Vec<KeyLine>, KeyFileError> {
    let mut keys: Vec<KeyLine> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = |problem: String| KeyFileError { line: index + 1, problem };
        let key = parse_line(line).map_err(fail)?;
        if keys.iter().any(|known| known.api_key == key.api_key) {
            return Err(fail(format!("key `{}` occurs twice", key.api_key)));
        }
        keys.push(key);
    }
    Ok(keys)
}

fn parse_line(line: &str) -> Result<KeyLine, String> {
    let mut parts = line.split(':');
    let (Some(api_key), Some(secret)) = (parts.next(), parts.next()) else {
        return Err("expected `key:secret` or `key:secret:role`".to_owned());
    };
    if api_key.is_empty() || secret.is_empty() {
        return Err("the key and the secret must not be empty".to_owned());
    }
    let role = match parts.next() {
        None => Role::Administrator,
        Some(name) => Role::by_name(name)
            .ok_or_else(|| format!("expected the role administrator, viewer or publisher, got `{name}`"))?,
    };
    if parts.next().is_some() {
        return Err("expected at most three parts, `key:secret:role`".to_owned());
    }
    Ok(KeyLine { api_key: api_key.to_owned(), secret: secret.to_owned(), role })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let keys = parse_key_file("# ours\n\nci:s1\r\ndash:s2:viewer\n").unwrap();
        let key = |api_key: &str, secret: &str, role| KeyLine {
            api_key: api_key.to_owned(),
            secret: secret.to_owned(),
            role,
        };
        assert_eq!(keys, [key("ci", "s1", Role::Administrator), key("dash", "s2", Role::Viewer)]);
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, message) in [
            ("ci", "line 1: expected `key:secret` or `key:secret:role`"),
            ("a:b\n:x", "line 2: the key and the secret must not be empty"),
            ("a:b:root", "line 1: expected the role administrator, viewer or publisher, got `root`"),
            ("a:b:viewer:x", "line 1: expected at most three parts, `key:secret:role`"),
            ("a:b\na:c", "line 2: key `a` occurs twice"),
        ] {
            assert_eq!(parse_key_file(text).unwrap_err().to_string(), message);
        }
    }
}
