//! Topics that are given another name on their way in.

use broker_codec::topic::{self, validate_topic_filter, validate_topic_name};
use engine_event::topic::matches;
use regex::{Captures, Regex};
use tracing::warn;

/// A rule that renames topics (`rewrite`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRewrite {
    /// What it renames.
    pub action: RewriteAction,
    /// Filter that selects topics.
    pub source_topic: String,
    /// Regular expression whose groups may be used.
    pub pattern: String,
    /// The new name, with `$1`, `${clientid}` and `${username}`.
    pub dest_topic: String,
}

/// What a [`TopicRewrite`] renames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RewriteAction {
    /// Topics of messages.
    Publish,
    /// Filters of subscriptions.
    Subscribe,
    /// Both.
    All,
}

impl TopicRewrite {
    /// Checks the rule.
    ///
    /// # Errors
    /// What is wrong, and in which field.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        validate_topic_filter(&self.source_topic).map_err(|error| ("source_topic", error.to_string()))?;
        Regex::new(&self.pattern).map_err(|error| ("re", error.to_string()))?;
        validate_topic_filter(&self.dest_topic).map_err(|error| ("dest_topic", error.to_string()))
    }
}

/// The rules, ready to be used.
#[derive(Debug, Default)]
pub(crate) struct Rewriter {
    publishes: Vec<Rule>,
    subscribes: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    source: Box<str>,
    pattern: Regex,
    dest: Box<str>,
}

/// Who publishes or subscribes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renaming<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) username: Option<&'a str>,
}

impl Rewriter {
    pub(crate) fn new(rules: &[TopicRewrite]) -> Self {
        let mut rewriter = Self::default();
        // of several rules whose filters match, the last one holds
        for rule in rules.iter().rev() {
            let Ok(pattern) = Regex::new(&rule.pattern) else {
                warn!(pattern = rule.pattern, "rewrite rule left out: not a regular expression");
                continue;
            };
            let source = rule.source_topic.as_str().into();
            let compiled = Rule { source, pattern, dest: rule.dest_topic.as_str().into() };
            if rule.action != RewriteAction::Subscribe {
                rewriter.publishes.push(compiled.clone());
            }
            if rule.action != RewriteAction::Publish {
                rewriter.subscribes.push(compiled);
            }
        }
        rewriter
    }

    /// Says whether topics of messages are renamed at all.
    #[inline]
    pub(crate) fn renames_publishes(&self) -> bool {
        !self.publishes.is_empty()
    }

    /// Returns the new topic of a message, if it has one.
    pub(crate) fn publish(&self, topic: &str, who: Renaming<'_>) -> Option<String> {
        rename(&self.publishes, topic, who).filter(|name| validate_topic_name(name).is_ok())
    }

    /// Returns the new filter of a subscription, if it has one.
    pub(crate) fn subscribe(&self, filter: &str, who: Renaming<'_>) -> Option<String> {
        rename(&self.subscribes, filter, who).filter(|name| topic::validate_topic_filter(name).is_ok())
    }
}

fn rename(rules: &[Rule], topic: &str, who: Renaming<'_>) -> Option<String> {
    let rule = rules.iter().find(|rule| matches(rule.source.as_bytes(), topic.as_bytes()))?;
    let captures = rule.pattern.captures(topic)?;
    expand(&rule.dest, &captures, who)
}

/// Fills in a name; none when the client has no user name and it is asked for.
fn expand(dest: &str, captures: &Captures<'_>, who: Renaming<'_>) -> Option<String> {
    let mut name = String::with_capacity(dest.len() + 32);
    let mut rest = dest;
    while let Some(at) = rest.find('$') {
        name.push_str(&rest[..at]);
        rest = &rest[at..];
        let digits = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
        if let Some(after) = rest.strip_prefix("${clientid}") {
            name.push_str(who.client_id);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${username}") {
            name.push_str(who.username?);
            rest = after;
        } else if digits > 0 {
            let group = rest[1..=digits].parse().ok().and_then(|number: usize| captures.get(number));
            name.push_str(group.map_or("", |group| group.as_str()));
            rest = &rest[1 + digits..];
        } else {
            name.push('$');
            rest = &rest[1..];
        }
    }
    name.push_str(rest);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(source_topic: &str, pattern: &str, dest_topic: &str) -> TopicRewrite {
        TopicRewrite {
            action: RewriteAction::All,
            source_topic: source_topic.to_owned(),
            pattern: pattern.to_owned(),
            dest_topic: dest_topic.to_owned(),
        }
    }

    #[test]
    fn names_are_made_of_groups_and_the_client() {
        let rewriter = Rewriter::new(&[
            rule("y/+/z/#", "^y/(.+)/z/(.+)$", "y/z/$2"),
            rule("x/#", r"^x/y/(\d+)$", "z/y/$1"),
            rule("c/#", "^c/(.*)$", "${clientid}/${username}/$1$"),
            rule("x/y/+/a", "^nothing$", "never"),
            rule("bad/#", "^bad/(.*)$", "a+/$1"),
            rule("none/#", "^none/(x)?", "none$1$9/t"),
        ]);
        let known = Renaming { client_id: "dev", username: Some("u") };
        let unknown = Renaming { client_id: "dev", username: None };
        for (topic, who, want) in [
            ("y/a/z/b", known, Some("y/z/b")),
            ("y/def", known, None),
            ("x/1/2", known, None),
            ("x/y/2", known, Some("z/y/2")),
            ("c/d", known, Some("dev/u/d$")),
            ("c/d", unknown, None),
            // the last filter that matches decides, even if its expression does not match
            ("x/y/1/a", known, None),
            ("bad/a", known, None),
            ("none/y", known, Some("none/t")),
        ] {
            assert_eq!(rewriter.publish(topic, who).as_deref(), want, "{topic}");
        }
        assert_eq!(rewriter.subscribe("y/+/z/#", known).as_deref(), Some("y/z/#"));
    }

    #[test]
    fn rules_are_checked() {
        assert_eq!(rule("a/#", "^a$", "b/$1").check(), Ok(()));
        for (rule, field) in [
            (rule("a/#/b", "a", "b"), "source_topic"),
            (rule("a", "(", "b"), "re"),
            (rule("a", "a", ""), "dest_topic"),
        ] {
            assert_eq!(rule.check().expect_err("wrong").0, field);
        }
    }
}
