//! Topic names and topic filters: what is valid, and how a shared subscription is written.

/// The longest topic name or filter in bytes.
pub const MAX_TOPIC_LEN: usize = 65_535;

/// Why a text is not a topic name or a topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// There is no character.
    #[error("topic is empty")]
    Empty,
    /// It is longer than a packet can say.
    #[error("topic has {len} bytes, at most 65535 are possible")]
    TooLong {
        /// The length in bytes.
        len: usize,
    },
    /// It contains U+0000.
    #[error("topic contains U+0000 at byte {at}")]
    Nul {
        /// The offset in bytes.
        at: usize,
    },
    /// A topic name contains a wildcard.
    #[error("topic name contains the wildcard `{wildcard}` at byte {at}")]
    WildcardInName {
        /// `+` or `#`.
        wildcard: char,
        /// The offset in bytes.
        at: usize,
    },
    /// A `#` is not the last level of a filter.
    #[error("`#` at byte {at} is not the last level of the filter")]
    HashNotLast {
        /// The offset in bytes.
        at: usize,
    },
    /// A wildcard shares its level with other characters.
    #[error("`{wildcard}` at byte {at} does not fill its level of the filter")]
    WildcardInLevel {
        /// `+` or `#`.
        wildcard: char,
        /// The offset in bytes.
        at: usize,
    },
    /// A shared subscription names no group.
    #[error("shared subscription has an empty group name")]
    GroupEmpty,
    /// The group name of a shared subscription contains a wildcard.
    #[error("group name of a shared subscription contains a wildcard at byte {at}")]
    GroupWildcard {
        /// The offset in bytes in the whole filter.
        at: usize,
    },
    /// A shared subscription has no filter after the group name.
    #[error("shared subscription has no filter")]
    SharedFilterMissing,
    /// A shared subscription in a shared subscription.
    #[error("filter of a shared subscription starts with `$share/` or `$queue/`")]
    SharedTwice,
}

/// Checks a topic name: 1 to 65,535 bytes, no U+0000, no wildcard.
pub fn validate_topic_name(topic: &str) -> Result<(), TopicError> {
    check_length(topic)?;
    match memchr::memchr3(0, b'+', b'#', topic.as_bytes()) {
        None => Ok(()),
        Some(at) => Err(match topic.as_bytes()[at] {
            0 => TopicError::Nul { at },
            wildcard => TopicError::WildcardInName { wildcard: char::from(wildcard), at },
        }),
    }
}

/// Checks a topic filter: 1 to 65,535 bytes, no U+0000, `+` and `#` alone in their level, `#` in the last one.
///
/// For what a client wrote, with `$share/…`, use [`SubscribedFilter::parse`].
pub fn validate_topic_filter(filter: &str) -> Result<(), TopicError> {
    check_length(filter)?;
    let bytes = filter.as_bytes();
    for at in memchr::memchr3_iter(0, b'+', b'#', bytes) {
        let wildcard = bytes[at];
        if wildcard == 0 {
            return Err(TopicError::Nul { at });
        }
        let starts_level = at == 0 || bytes[at - 1] == b'/';
        let next = bytes.get(at + 1);
        if !starts_level || next.is_some_and(|&byte| wildcard == b'+' && byte != b'/') {
            return Err(TopicError::WildcardInLevel { wildcard: char::from(wildcard), at });
        }
        if wildcard == b'#' && next.is_some() {
            return Err(match next {
                Some(b'/') => TopicError::HashNotLast { at },
                _ => TopicError::WildcardInLevel { wildcard: '#', at },
            });
        }
    }
    Ok(())
}

fn check_length(topic: &str) -> Result<(), TopicError> {
    match topic.len() {
        0 => Err(TopicError::Empty),
        1..=MAX_TOPIC_LEN => Ok(()),
        len => Err(TopicError::TooLong { len }),
    }
}

/// Returns the number of levels of a topic name or filter: one more than it has slashes.
pub fn level_count(topic: &str) -> usize {
    1 + memchr::memchr_iter(b'/', topic.as_bytes()).count()
}

/// Says whether a valid topic filter has wildcards.
pub fn has_wildcards(filter: &str) -> bool {
    memchr::memchr2(b'+', b'#', filter.as_bytes()).is_some()
}

/// What a client subscribes to: a filter, and the group if the subscription is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubscribedFilter<'a> {
    /// The group of a shared subscription; `$queue` for `$queue/<filter>`.
    pub group: Option<&'a str>,
    /// The filter that topics are matched with. It is valid.
    pub filter: &'a str,
}

/// Whether `$queue/<filter>` means `$share/$queue/<filter>` or is an ordinary filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueAlias {
    /// It is a shared subscription.
    #[default]
    On,
    /// It is an ordinary filter.
    Off,
}

impl<'a> SubscribedFilter<'a> {
    /// Takes apart what a client wrote in SUBSCRIBE or UNSUBSCRIBE, and checks it.
    pub fn parse(text: &'a str, queue_alias: QueueAlias) -> Result<SubscribedFilter<'a>, TopicError> {
        check_length(text)?;
        if let Some(rest) = text.strip_prefix("$share/") {
            let (group, filter) = rest.split_once('/').unwrap_or((rest, ""));
            return shared(text, group, filter);
        }
        if queue_alias == QueueAlias::On
            && let Some(filter) = text.strip_prefix("$queue/")
        {
            return shared(text, "$queue", filter);
        }
        validate_topic_filter(text)?;
        Ok(SubscribedFilter { group: None, filter: text })
    }

    /// Says whether the subscription is shared.
    pub const fn is_shared(&self) -> bool {
        self.group.is_some()
    }
}

fn shared<'a>(text: &'a str, group: &'a str, filter: &'a str) -> Result<SubscribedFilter<'a>, TopicError> {
    if group.is_empty() {
        return Err(TopicError::GroupEmpty);
    }
    if let Some(at) = memchr::memchr2(b'+', b'#', group.as_bytes()) {
        return Err(TopicError::GroupWildcard { at: at + "$share/".len() });
    }
    if let Some(at) = memchr::memchr(0, text.as_bytes()) {
        return Err(TopicError::Nul { at });
    }
    if filter.is_empty() {
        return Err(TopicError::SharedFilterMissing);
    }
    if filter.starts_with("$share/") || filter.starts_with("$queue/") {
        return Err(TopicError::SharedTwice);
    }
    validate_topic_filter(filter)?;
    Ok(SubscribedFilter { group: Some(group), filter })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "/", "//", "a//b", "/a", "a/", "$SYS/x", "$share/g/t", " ", "ä/ö", "a b"] {
            assert_eq!(validate_topic_name(good), Ok(()), "{good:?}"); // [MQTT-4.7.3-1] and on
        }
        let long = "x".repeat(MAX_TOPIC_LEN);
        assert_eq!(validate_topic_name(&long), Ok(()));
        let too_long = "x".repeat(MAX_TOPIC_LEN + 1);
        for (bad, want) in [
            ("", TopicError::Empty),                                      // [MQTT-4.7.3-1]
            ("a/\0", TopicError::Nul { at: 2 }),                          // [MQTT-4.7.3-2]
            (&too_long, TopicError::TooLong { len: 65_536 }),             // [MQTT-4.7.3-3]
            ("a/+", TopicError::WildcardInName { wildcard: '+', at: 2 }), // [MQTT-4.7.0-1]
            ("a#", TopicError::WildcardInName { wildcard: '#', at: 1 }),  // [MQTT-3.3.2-2]
        ] {
            assert_eq!(validate_topic_name(bad), Err(want), "{bad:?}");
        }
    }

    #[test]
    fn filters() {
        for good in ["#", "+", "a/#", "+/a", "a/+/b", "/+", "+/", "+/+/#", "/#", "a//#", "$SYS/#", "a"] {
            assert_eq!(validate_topic_filter(good), Ok(()), "{good:?}");
        }
        for (bad, want) in [
            ("", TopicError::Empty),
            ("a\0", TopicError::Nul { at: 1 }),
            ("#/a", TopicError::HashNotLast { at: 0 }), // [MQTT-4.7.1-1]
            ("a/#/b", TopicError::HashNotLast { at: 2 }),
            ("a#", TopicError::WildcardInLevel { wildcard: '#', at: 1 }),
            ("#a", TopicError::WildcardInLevel { wildcard: '#', at: 0 }),
            ("##", TopicError::WildcardInLevel { wildcard: '#', at: 0 }),
            ("a+/b", TopicError::WildcardInLevel { wildcard: '+', at: 1 }), // [MQTT-4.7.1-2]
            ("+a/b", TopicError::WildcardInLevel { wildcard: '+', at: 0 }),
            ("++", TopicError::WildcardInLevel { wildcard: '+', at: 0 }),
            ("a/+#", TopicError::WildcardInLevel { wildcard: '+', at: 2 }),
        ] {
            assert_eq!(validate_topic_filter(bad), Err(want), "{bad:?}");
        }
    }

    #[test]
    fn shared_subscriptions() {
        let check = |text, alias, want: Result<(Option<&str>, &str), TopicError>| {
            let got = SubscribedFilter::parse(text, alias).map(|parsed| (parsed.group, parsed.filter));
            assert_eq!(got, want, "{text:?}");
        };
        use QueueAlias::{Off, On};
        check("t/+", On, Ok((None, "t/+")));
        check("$share/g1/t/+", On, Ok((Some("g1"), "t/+"))); // [MQTT-4.8.2-1]
        check("$share/g//t", On, Ok((Some("g"), "/t")));
        check("$share/g/$SYS/brokers/+", On, Ok((Some("g"), "$SYS/brokers/+")));
        check("$queue/t/+", On, Ok((Some("$queue"), "t/+")));
        check("$share/$queue/t/+", On, Ok((Some("$queue"), "t/+")));
        check("$queue/t", Off, Ok((None, "$queue/t")));
        check("$shared/g/t", On, Ok((None, "$shared/g/t")));
        check("$share", On, Ok((None, "$share")));
        check("$share//t", On, Err(TopicError::GroupEmpty));
        check("$share/g", On, Err(TopicError::SharedFilterMissing));
        check("$share/g/", On, Err(TopicError::SharedFilterMissing)); // [MQTT-4.8.2-2]
        check("$queue/", On, Err(TopicError::SharedFilterMissing));
        check("$share/a+/t", On, Err(TopicError::GroupWildcard { at: 8 }));
        check("$share/a#/t", On, Err(TopicError::GroupWildcard { at: 8 }));
        check("$share/g/$share/h/t", On, Err(TopicError::SharedTwice));
        check("$share/g/$queue/t", On, Err(TopicError::SharedTwice));
        check("$share/g/a#", On, Err(TopicError::WildcardInLevel { wildcard: '#', at: 1 }));
        check("", On, Err(TopicError::Empty));
    }

    #[test]
    fn levels() {
        for (topic, want) in [("a", 1), ("/", 2), ("a/b/c", 3), ("", 1)] {
            assert_eq!(level_count(topic), want, "{topic:?}");
        }
    }
}
