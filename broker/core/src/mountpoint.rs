//! The prefix that a listener gives the topics of its clients.
//!
//! A client of such a listener lives in a part of the topic tree: what it publishes and subscribes to gets the prefix,
//! and what it is sent loses it again. Routes, rules, events and the API know only topics with their prefix; the client
//! and the authorizer only those without.

use std::borrow::Cow;

use broker_codec::{BuildError, Publish};
use engine_event::{Map, Text, Value};

/// A prefix, made for one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mountpoint(Box<str>);

/// What a prefix may be made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) username: Option<&'a str>,
    pub(crate) zone: &'a str,
    pub(crate) attributes: &'a Map,
}

/// What a value in the prefix may not contain: with a wildcard in its client id, a client would see the parts of others.
const FORBIDDEN: [char; 3] = ['+', '#', '\0'];

/// A value of the client does not fit into the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnfitName;

impl Mountpoint {
    /// Makes the prefix of a client that had it before; none of an empty text.
    pub(crate) fn restore(prefix: &str) -> Option<Self> {
        (!prefix.is_empty()).then(|| Self(prefix.into()))
    }

    /// Fills in a template such as `plants/${username}/`. Placeholders that are not known stay as text; those without
    /// a value become empty.
    pub(crate) fn fill(template: &str, who: Names<'_>) -> Result<Option<Self>, UnfitName> {
        let mut prefix = String::with_capacity(template.len() + who.client_id.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("${") {
            prefix.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                prefix.push_str("${");
                rest = after;
                continue;
            };
            match name {
                "clientid" => prefix.push_str(who.client_id),
                "username" => prefix.push_str(who.username.unwrap_or_default()),
                "zone" => prefix.push_str(who.zone),
                name => match name.strip_prefix("client_attrs.") {
                    Some(attribute) => {
                        if let Some(Value::Text(text)) = who.attributes.get(attribute) {
                            prefix.push_str(text.as_str().unwrap_or_default());
                        }
                    }
                    None => {
                        prefix.push_str("${");
                        prefix.push_str(name);
                        prefix.push('}');
                    }
                },
            }
            rest = after;
        }
        prefix.push_str(rest);
        if prefix.contains(FORBIDDEN) {
            return Err(UnfitName);
        }
        Ok((!prefix.is_empty()).then(|| Self(prefix.into_boxed_str())))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Gives a message its topic in the tree.
    pub(crate) fn mount(&self, publish: &Publish) -> Result<Publish, BuildError> {
        publish.with_topic(&format!("{}{}", self.0, publish.topic()))
    }

    /// Gives a message the topic that the client knows.
    pub(crate) fn unmount<'a>(&self, publish: &'a Publish) -> Cow<'a, Publish> {
        match publish.topic().strip_prefix(&*self.0).map(|topic| publish.with_topic(topic)) {
            Some(Ok(unmounted)) => Cow::Owned(unmounted),
            // subscribed to under another prefix, on another listener
            _ => Cow::Borrowed(publish),
        }
    }

    pub(crate) fn text(mountpoint: Option<&Self>) -> Option<Text> {
        mountpoint.map(|mountpoint| Text::from(mountpoint.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn fill(template: &str, client_id: &str) -> Result<String, UnfitName> {
        let mut attributes = Map::new();
        attributes.insert("site", "north");
        let who = Names { client_id, username: Some("ann"), zone: "z", attributes: &attributes };
        Mountpoint::fill(template, who)
            .map(|found| found.map_or_else(String::new, |found| found.as_str().to_owned()))
    }

    #[test]
    fn placeholders_are_filled_in() {
        assert_eq!(fill("", "c").unwrap(), "");
        assert_eq!(fill("a/${clientid}/${username}/${client_attrs.site}/", "c").unwrap(), "a/c/ann/north/");
        assert_eq!(fill("${client_attrs.none}${other}${zone}${", "c").unwrap(), "${other}z${");
        assert_eq!(fill("a/${clientid}/", "x/+/y"), Err(UnfitName));
        assert_eq!(fill("a/${clientid}/", "#"), Err(UnfitName));
    }
}
