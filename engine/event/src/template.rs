//! Text with `${placeholders}`.

use crate::{JsonOptions, Map, Text, UndefinedAs, Value, decode_json, encode_json_into, write_text_form};

/// A compiled template: literal text and placeholders (rule language, section 16).
///
/// `${a.b}` looks up a path in the row, decoding one JSON text on the way; `${.}` and `${}` are the whole row;
/// `${$}` is a dollar sign. Anything else, `${a[1]}` for one, stays as it is written: an element of an array is selected
/// in SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    segments: Vec<Segment>,
}

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Text to be copied.
    Literal(Text),
    /// A value of the row by the keys that lead to it; none means the whole row.
    Path(Vec<Text>),
}

/// What a placeholder without a value prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// The text `undefined`, as EMQX does.
    #[default]
    Undefined,
    /// Nothing.
    Empty,
    /// The text `null`.
    Null,
}

/// A template that cannot be used where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A placeholder stands where only fixed text is allowed.
    #[error("`{source_text}` may not hold a placeholder here")]
    NotFixed {
        /// The template.
        source_text: String,
    },
}

impl Template {
    /// Compiles a template. Every text is a valid template.
    pub fn new(source: &str) -> Self {
        let mut segments = Vec::new();
        let mut literal = Vec::new();
        let mut rest = source;
        while let Some(start) = rest.find("${") {
            literal.extend_from_slice(&rest.as_bytes()[..start]);
            let body = &rest[start + 2..];
            match body.find('}').map(|end| (&body[..end], &body[end + 1..])) {
                Some(("$", after)) => {
                    literal.push(b'$');
                    rest = after;
                }
                Some((inner, after)) if parse_path(inner).is_some() => {
                    if !literal.is_empty() {
                        segments.push(Segment::Literal(std::mem::take(&mut literal).into()));
                    }
                    segments.extend(parse_path(inner).map(Segment::Path));
                    rest = after;
                }
                _ => {
                    literal.extend_from_slice(b"${");
                    rest = body;
                }
            }
        }
        literal.extend_from_slice(rest.as_bytes());
        if !literal.is_empty() {
            segments.push(Segment::Literal(literal.into()));
        }
        Self { source: source.to_owned(), segments }
    }

    /// The text that the template was made from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The parts in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns the path when the template is exactly one placeholder.
    pub fn single_path(&self) -> Option<&[Text]> {
        match self.segments.as_slice() {
            [Segment::Path(path)] => Some(path),
            _ => None,
        }
    }

    /// Tells whether the template has no placeholder.
    pub fn is_fixed(&self) -> bool {
        !self.segments.iter().any(|segment| matches!(segment, Segment::Path(_)))
    }

    /// Refuses a template with placeholders.
    ///
    /// # Errors
    /// [`TemplateError::NotFixed`] when there is one.
    pub fn require_fixed(&self) -> Result<(), TemplateError> {
        if self.is_fixed() {
            Ok(())
        } else {
            Err(TemplateError::NotFixed { source_text: self.source.clone() })
        }
    }

    /// Renders to a text; one that is fixed is not made anew.
    pub fn render_text(&self, row: &Map, missing: Missing) -> Text {
        match self.segments.as_slice() {
            [Segment::Literal(text)] => text.clone(),
            _ => Text::from(self.render(row, missing)),
        }
    }

    /// Renders the template.
    pub fn render(&self, row: &Map, missing: Missing) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.source.len() + 32);
        self.render_into(row, missing, &mut out);
        out
    }

    /// Renders the template to the end of `out`.
    pub fn render_into(&self, row: &Map, missing: Missing, out: &mut Vec<u8>) {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Segment::Path(path) => write_placeholder(row, path, missing, out),
            }
        }
    }

    /// Renders the template to a string; bytes that are not UTF-8 are replaced.
    pub fn render_string(&self, row: &Map, missing: Missing) -> String {
        match String::from_utf8(self.render(row, missing)) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }
    }

    /// Returns the value itself when the template is exactly one placeholder, else the rendered text.
    pub fn value(&self, row: &Map) -> Value {
        match self.single_path() {
            Some(path) => lookup(row, path),
            None => Value::Text(self.render(row, Missing::default()).into()),
        }
    }
}

/// Looks up a path in a row: undefined when something on the way is missing.
pub fn lookup(row: &Map, path: &[Text]) -> Value {
    let mut decoded = false;
    let mut current = Value::Map(row.clone());
    for key in path {
        if let Value::Text(text) = &current {
            if decoded {
                return Value::Undefined;
            }
            decoded = true;
            current = decode_json(text.as_bytes()).unwrap_or_default();
        }
        current = match &current {
            Value::Map(map) => map.get(key).cloned().unwrap_or_default(),
            _ => Value::Undefined,
        };
    }
    current
}

fn write_placeholder(row: &Map, path: &[Text], missing: Missing, out: &mut Vec<u8>) {
    if path.is_empty() {
        let options = JsonOptions { undefined: UndefinedAs::Omitted };
        return encode_json_into(&Value::Map(row.clone()), options, out);
    }
    match (lookup(row, path), missing) {
        (Value::Undefined, Missing::Empty) => {}
        (Value::Undefined, Missing::Null) => out.extend_from_slice(b"null"),
        (value, _) => write_text_form(&value, out),
    }
}

/// Reads what stands between `${` and `}`; `None` when it is not a placeholder.
fn parse_path(inner: &str) -> Option<Vec<Text>> {
    let inner = inner.strip_prefix('.').unwrap_or(inner);
    if inner.is_empty() {
        return Some(Vec::new());
    }
    let is_key =
        |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    inner.split('.').map(|key| is_key(key).then(|| key.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, row: &str, want: &str) {
        let Ok(Value::Map(row)) = decode_json(row.as_bytes()) else { panic!("row: {row}") };
        assert_eq!(
            Template::new(template).render_string(&row, Missing::default()),
            want,
            "template: {template}"
        );
    }

    #[test]
    fn placeholders_are_replaced() {
        check("a${x}b", r#"{"x":1}"#, "a1b");
        check("${.x}", r#"{"x":"t"}"#, "t");
        check("${x.y.z}", r#"{"x":{"y":{"z":true}}}"#, "true");
        check("${.}", r#"{"x":1,"y":null}"#, r#"{"x":1,"y":null}"#);
        check("${}", r#"{"x":1}"#, r#"{"x":1}"#);
        check("${m}", r#"{"m":{"a":[1]}}"#, r#"{"a":[1]}"#);
        check("${no} ${x}", r#"{"x":null}"#, "undefined null");
    }

    #[test]
    fn one_json_text_on_the_way_is_decoded() {
        check("${p.a}", r#"{"p":"{\"a\":5}"}"#, "5");
        check("${p.a.b}", r#"{"p":"{\"a\":\"{\\\"b\\\":1}\"}"}"#, "undefined");
        check("${p.a}", r#"{"p":"not json"}"#, "undefined");
    }

    #[test]
    fn what_is_no_placeholder_stays() {
        for text in ["${a-b}", "${a b}", "${a", "$a", "${a..b}", "${a[1]}", "${a[x]}", "}${", "${ä}"] {
            check(text, "{}", text);
        }
        check("${$}{a}", r#"{"a":1}"#, "${a}");
        check("$${a}", r#"{"a":1}"#, "$1");
        check("cost ${$}5", "{}", "cost $5");
    }

    #[test]
    fn a_single_placeholder_keeps_its_type() {
        let row: Map = [("n", Value::Int(2))].into_iter().collect();
        assert_eq!(Template::new("${n}").value(&row), Value::Int(2));
        assert_eq!(Template::new("n${n}").value(&row), Value::text("n2"));
    }
}
