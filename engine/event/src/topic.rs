//! Matching topic names against topic filters (MQTT 5.0, section 4.7).

/// Tells whether `filter` matches the topic name `name`.
///
/// `#` also matches its parent level; a filter that begins with a wildcard does not match a name that begins
/// with `$`; one with `#` before its last level matches nothing. Neither side is checked further.
pub fn matches(filter: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'$') && matches!(filter.first(), Some(b'+' | b'#')) {
        return false;
    }
    let mut names = name.split(|byte| *byte == b'/');
    let mut levels = filter.split(|byte| *byte == b'/');
    while let Some(level) = levels.next() {
        match (level, names.next()) {
            // anywhere else it makes a filter that matches nothing
            (b"#", _) => return levels.next().is_none(),
            (_, None) => return false,
            (b"+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

/// Tells whether `filter` is a well-formed topic filter: not empty, at most 65,535 bytes of UTF-8 without U+0000,
/// `#` only as the last level, `+` only as a whole level.
pub fn is_valid_filter(filter: &str) -> bool {
    if filter.is_empty() || filter.len() > usize::from(u16::MAX) || filter.contains('\0') {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let wildcard = level.contains(['+', '#']);
        let last = levels.peek().is_none();
        if wildcard && !(level == "+" || (level == "#" && last)) {
            return false;
        }
    }
    true
}

/// Tells whether `name` is a well-formed topic name: as a filter, but without wildcards.
pub fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= usize::from(u16::MAX) && !name.contains(['\0', '+', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, name, want) in [
            ("a/b", "a/b", true),
            ("a/b", "a", false),
            ("a", "a/b", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#/c", "a/b/c", false),
            ("#/a", "a", false),
            ("#", "a", true),
            ("#", "/", true),
            ("+", "a", true),
            ("+", "a/", false),
            ("+/+", "/a", true),
            ("a/+/c", "a//c", true),
            ("a/+", "a/", true),
            ("a/+/#", "a", false),
            ("a/+/#", "a/b", true),
            ("#", "$SYS/a", false),
            ("+/a", "$SYS/a", false),
            ("$SYS/#", "$SYS/a", true),
            ("a/b", "a/b/", false),
        ] {
            assert_eq!(matches(filter.as_bytes(), name.as_bytes()), want, "{filter} {name}");
        }
    }

    #[test]
    fn filters_are_checked() {
        for good in ["a", "/", "+", "#", "+/#", "a/+/b", "$SYS/#", "a//b"] {
            assert!(is_valid_filter(good), "{good}");
        }
        for bad in ["", "a#", "#/a", "a/#/b", "+a", "a/b+", "a\0"] {
            assert!(!is_valid_filter(bad), "{bad}");
        }
    }
}
