//! The address of a request: a fixed base, and a path with values that cannot leave their place.

use connectors_api::Reason;
use engine_event::{
    JsonOptions, Row, Segment, Template, Text, Value, encode_json_into, lookup, write_text_form,
};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use url::Url;

/// Bytes of a value that are written as they are: the unreserved ones of RFC 3986.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// As [`VALUE`], with slashes.
const VALUE_WITH_SLASHES: &AsciiSet = &VALUE.remove(b'/');

/// Bytes of fixed text that a URL cannot hold. A percent sign stays: the text may be encoded already.
const FIXED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Scheme, host and port of the target, and the path that its URL begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// Whether the scheme is `https`.
    pub(crate) https: bool,
    /// Host without brackets.
    pub(crate) host: String,
    /// Port, the scheme's own when none was written.
    pub(crate) port: u16,
    /// Host and port as a URL and the `Host` header have them.
    pub(crate) authority: String,
    /// Path that the URL begins with, a template, without a slash at its end.
    pub(crate) prefix: String,
}

impl Base {
    /// Reads the URL of a connector.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) => {
                (scheme, rest)
            }
            _ => return Err(format!("expected `http://` or `https://`, got `{}`", shown(text))),
        };
        let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        if authority.contains("${") {
            return Err("scheme, host and port cannot hold a placeholder".to_owned());
        }
        if authority.contains('@') {
            return Err("credentials belong into `auth`, not into the URL".to_owned());
        }
        if path.contains('?') {
            return Err("a query string belongs into the action's `path`".to_owned());
        }
        UrlTemplate::new(path, true)?;
        let url = Url::parse(&format!("{scheme}://{authority}/"))
            .map_err(|error| format!("`{}` is not a URL: {error}", shown(text)))?;
        let host = url.host_str().ok_or("the URL has no host")?;
        Ok(Self {
            https: url.scheme() == "https",
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port_or_known_default().ok_or("the URL has no port")?,
            authority: url.authority().to_owned(),
            prefix: path.trim_end_matches('/').to_owned(),
        })
    }

    /// Joins the prefix and an action's path, with one slash between.
    pub(crate) fn join(&self, path: &str) -> String {
        match path {
            "" => self.prefix.clone(),
            query if query.starts_with('?') => format!("{}{query}", self.prefix),
            path => format!("{}/{}", self.prefix, path.trim_start_matches('/')),
        }
    }
}

/// The beginning of a text that may be long.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A path and a query string with placeholders.
///
/// A value is percent-encoded whole: it stays inside its segment or its query value. A path that would hold a `.` or
/// `..` segment is refused, because every client and server resolves those.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UrlTemplate {
    parts: Vec<Part>,
    keep_slashes: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// Encoded text of the path, or of the query string once a question mark came by.
    Fixed(String),
    /// A value.
    Value { path: Vec<Text>, in_query: bool },
}

impl UrlTemplate {
    /// Compiles the text of a path.
    pub(crate) fn new(source: &str, encode_slash: bool) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut in_query = false;
        for segment in Template::new(source).segments() {
            match segment {
                Segment::Literal(text) => {
                    if text.as_bytes().contains(&b'#') {
                        return Err("a fragment (`#…`) is never sent; write `%23` for the sign".to_owned());
                    }
                    in_query |= text.as_bytes().contains(&b'?');
                    parts.push(Part::Fixed(percent_encode(text.as_bytes(), FIXED).to_string()));
                }
                Segment::Path(path) => parts.push(Part::Value { path: path.clone(), in_query }),
            }
        }
        let template = Self { parts, keep_slashes: !encode_slash };
        if template.is_fixed() {
            template.render(&Row::new()).map_err(|reason| reason.message)?;
        }
        Ok(template)
    }

    /// Tells whether there is no placeholder.
    pub(crate) fn is_fixed(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Fixed(_)))
    }

    /// Renders path and query string, percent-encoded.
    pub(crate) fn render(&self, row: &Row) -> Result<String, Reason> {
        let mut out = String::new();
        let mut value = Vec::new();
        for part in &self.parts {
            match part {
                Part::Fixed(text) => out.push_str(text),
                Part::Value { path, in_query } => {
                    value.clear();
                    write_value(row, path, &mut value);
                    let set = if self.keep_slashes && !in_query { VALUE_WITH_SLASHES } else { VALUE };
                    out.extend(percent_encode(&value, set));
                }
            }
        }
        let path = out.split('?').next().unwrap_or_default();
        match path.split('/').find(|segment| is_dot_segment(segment)) {
            Some(segment) => Err(Reason::render(format!("the path cannot hold the segment `{segment}`"))),
            None => Ok(out),
        }
    }
}

fn write_value(row: &Row, path: &[Text], out: &mut Vec<u8>) {
    if path.is_empty() {
        encode_json_into(&Value::Map(row.clone()), JsonOptions::default(), out);
    } else {
        write_text_form(&lookup(row, path), out);
    }
}

fn is_dot_segment(segment: &str) -> bool {
    // the longest one is `%2e%2e`
    segment.len() <= 6 && matches!(&*percent_decode_str(segment).collect::<Vec<u8>>(), b"." | b"..")
}

#[cfg(test)]
mod tests {
    use engine_event::decode_json;

    use super::*;

    #[track_caller]
    fn render(template: &str, row: &str, encode_slash: bool) -> Result<String, String> {
        let Ok(Value::Map(row)) = decode_json(row.as_bytes()) else { panic!("row: {row}") };
        let template = UrlTemplate::new(template, encode_slash).expect(template);
        template.render(&row).map_err(|reason| reason.message)
    }

    #[test]
    fn values_stay_in_their_place() {
        for (template, row, want) in [
            ("/lines/${line}", r#"{"line":"7"}"#, "/lines/7"),
            ("/lines/${line}", r#"{"line":"7/delete?all=1#x"}"#, "/lines/7%2Fdelete%3Fall%3D1%23x"),
            ("/a?x=${x}&y=${y}", r#"{"x":"1&y=2","y":"ü ö/+"}"#, "/a?x=1%26y%3D2&y=%C3%BC%20%C3%B6%2F%2B"),
            ("/a b/ü?q=a b", "{}", "/a%20b/%C3%BC?q=a%20b"),
            ("/a%20b", "{}", "/a%20b"),
            ("/${x}", r#"{"x":"a%2e%2eb\r\nHost: evil"}"#, "/a%252e%252eb%0D%0AHost%3A%20evil"),
            ("/${missing}/${null}", r#"{"null":null}"#, "/undefined/null"),
            ("/${n}/${f}/${b}", r#"{"n":-1,"f":1.50,"b":true}"#, "/-1/1.5/true"),
            ("/${$}{x}", r#"{"x":1}"#, "/$%7Bx%7D"),
            ("/?row=${.}", r#"{"a":1}"#, "/?row=%7B%22a%22%3A1%7D"),
            ("/x/...", "{}", "/x/..."),
            ("/x?p=..", "{}", "/x?p=.."),
        ] {
            assert_eq!(render(template, row, true).as_deref(), Ok(want), "{template} {row}");
        }
        let topic = r#"{"topic":"a/b c"}"#;
        assert_eq!(render("/in/${topic}?t=${topic}", topic, false).as_deref(), Ok("/in/a/b%20c?t=a%2Fb%20c"));
    }

    #[test]
    fn a_value_cannot_climb() {
        for (template, row) in [
            ("/a/${x}", r#"{"x":".."}"#),
            ("/a/${x}/b", r#"{"x":"."}"#),
            ("/a/.${x}/b", r#"{"x":"."}"#),
            ("/a/%2e${x}/b", r#"{"x":"."}"#),
            ("/a/${x}?q", r#"{"x":".."}"#),
        ] {
            assert!(render(template, row, true).is_err(), "{template} {row}");
        }
        assert!(render("/a/${x}", r#"{"x":"b/../../c"}"#, false).is_err());
        for template in ["/a/../b", "/./a", "/a/%2E%2e"] {
            assert!(UrlTemplate::new(template, true).is_err(), "{template}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_encoded_as_they_are() {
        let row: Row = [("x", engine_event::Text::copy_from(b"\xff\x00a"))].into_iter().collect();
        assert_eq!(UrlTemplate::new("/${x}", true).unwrap().render(&row).unwrap(), "/%FF%00a");
    }

    #[test]
    fn a_base_is_read() {
        for (text, https, host, port, authority, prefix) in [
            ("http://h", false, "h", 80, "h", ""),
            ("HTTPS://H.example:8443/a/b/", true, "h.example", 8443, "h.example:8443", "/a/b"),
            ("http://[::1]:81/", false, "::1", 81, "[::1]:81", ""),
            ("https://10.0.0.1/${x}", true, "10.0.0.1", 443, "10.0.0.1", "/${x}"),
        ] {
            let base = Base::read(text).unwrap();
            assert_eq!(
                (base.https, &*base.host, base.port, &*base.authority, &*base.prefix),
                (https, host, port, authority, prefix),
                "{text}"
            );
        }
    }

    #[test]
    fn prefix_and_path_are_joined_with_one_slash() {
        let join = |url: &str, path: &str| Base::read(url).unwrap().join(path);
        assert_eq!(join("http://h", ""), "");
        assert_eq!(join("http://h/", "a"), "/a");
        assert_eq!(join("http://h/p/", "/a"), "/p/a");
        assert_eq!(join("http://h/p", "a?x=1"), "/p/a?x=1");
        assert_eq!(join("http://h/p", "?x=1"), "/p?x=1");
        assert_eq!(join("http://h/p", ""), "/p");
    }
}
