//! A TOML file as JSON, with the place of every value: problems found later point back into the file.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use connectors_api::{ConfigError, ConfigProblem};
use serde_json::{Map, Value as Json};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, de::DeString};

/// Something that is wrong at a place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The file.
    pub(crate) file: PathBuf,
    /// Line, counted from 1; 0 when the file as a whole is meant.
    pub(crate) line: usize,
    /// Column in characters, counted from 1.
    pub(crate) column: usize,
    /// What was found, what was expected, and a near miss if there is one.
    pub(crate) message: String,
    /// The line itself.
    pub(crate) source_line: String,
}

impl Problem {
    /// Makes a problem of a file as a whole.
    pub(crate) fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            message: message.into(),
            source_line: String::new(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "{}: {}", self.file.display(), self.message);
        }
        write!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.message)?;
        if self.source_line.is_empty() {
            return Ok(());
        }
        let indent: String = self
            .source_line
            .chars()
            .take(self.column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        write!(f, "\n    {}\n    {indent}^", self.source_line)
    }
}

/// A TOML file that was read.
#[derive(Debug)]
pub(crate) struct TomlFile {
    /// Where it was read from.
    pub(crate) path: PathBuf,
    /// Its content.
    pub(crate) json: Json,
    text: String,
    values: HashMap<String, Range<usize>>,
    keys: HashMap<String, Range<usize>>,
}

/// What is wrong at an offset, before the text is at hand to tell line and column.
struct Refused {
    at: usize,
    message: String,
}

impl TomlFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is not TOML.
    pub(crate) fn read(path: &Path) -> Result<Self, Problem> {
        let bytes = std::fs::read(path)
            .map_err(|error| Problem::of_file(path, format!("cannot read the file: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|error| not_utf8(path, error.as_bytes()))?;
        Self::parse(path, text)
    }

    /// Reads a text as if it stood in the file `path`.
    ///
    /// # Errors
    /// When it is not TOML.
    pub(crate) fn parse(path: &Path, text: String) -> Result<Self, Problem> {
        let mut file = Self {
            path: path.to_owned(),
            json: Json::Null,
            text,
            values: HashMap::new(),
            keys: HashMap::new(),
        };
        let text = std::mem::take(&mut file.text);
        let parsed = DeTable::parse(&text)
            .map_err(|error| {
                let span = error.span().unwrap_or_default();
                let message = match (error.message(), text.get(span.clone())) {
                    ("duplicate key", Some(key)) => {
                        format!("duplicate key `{key}`, expected each key and each table once")
                    }
                    (message, _) => message.to_owned(),
                };
                Refused { at: span.start, message }
            })
            .and_then(|table| file.table(table.get_ref(), ""));
        file.text.clone_from(&text);
        match parsed {
            Ok(json) => file.json = json,
            Err(refused) => return Err(file.problem_at(refused.at, refused.message)),
        }
        Ok(file)
    }

    fn table(&mut self, table: &DeTable<'_>, path: &str) -> Result<Json, Refused> {
        let mut json = Map::new();
        for (key, value) in table {
            let inner = join(path, key.get_ref());
            self.note(&inner, key, value.span());
            json.insert(key.get_ref().to_string(), self.value(value.get_ref(), &inner, value.span())?);
        }
        Ok(Json::Object(json))
    }

    fn note(&mut self, path: &str, key: &Spanned<DeString<'_>>, value: Range<usize>) {
        self.keys.insert(path.to_owned(), key.span());
        self.values.insert(path.to_owned(), value);
    }

    fn value(&mut self, value: &DeValue<'_>, path: &str, span: Range<usize>) -> Result<Json, Refused> {
        let refuse = |message: String| Refused { at: span.start, message };
        Ok(match value {
            DeValue::String(text) => Json::String(text.to_string()),
            DeValue::Boolean(value) => Json::Bool(*value),
            DeValue::Integer(number) => {
                let digits = number.as_str();
                i64::from_str_radix(digits, number.radix())
                    .map(Json::from)
                    .map_err(|_| refuse(format!("`{digits}` does not fit 64 bits")))?
            }
            DeValue::Float(number) => number
                .as_str()
                .parse::<f64>()
                .ok()
                .and_then(serde_json::Number::from_f64)
                .map(Json::Number)
                .ok_or_else(|| refuse(format!("`{}` is not a finite number", number.as_str())))?,
            DeValue::Datetime(time) => Json::String(time.to_string()),
            DeValue::Array(items) => {
                let mut array = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let inner = format!("{path}[{index}]");
                    self.values.insert(inner.clone(), item.span());
                    array.push(self.value(item.get_ref(), &inner, item.span())?);
                }
                Json::Array(array)
            }
            DeValue::Table(table) => self.table(table, path)?,
        })
    }

    /// Points at the value with that dotted path (`actions.http.a.parameters.method`, `rules.r.actions[1]`), or at the
    /// nearest thing around it that is in the file.
    pub(crate) fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        let found = self.values.get(path).and_then(|span| self.text.get(span.clone()));
        let message = with_near_miss(in_plain_words(message.into(), found));
        let about_key = message.starts_with("unknown field") || message.starts_with("no such field");
        let indexed = with_brackets(path);
        let path = indexed.as_str();
        let mut at = path;
        loop {
            let exact = at == path;
            // what is missing inside a table is shown at the table's name
            let span = match (exact && !about_key, self.values.get(at), self.keys.get(at)) {
                (true, Some(value), _) => Some(value),
                (_, value, key) => key.or(value),
            };
            if let Some(span) = span {
                return self.problem_at(span.start, labelled(path, &message));
            }
            match at.rfind(['.', '[']) {
                Some(cut) => at = &at[..cut],
                None => return self.problem_at(0, labelled(path, &message)),
            }
        }
    }

    /// Points into a text value, `line` and `column` counted from 1 inside the value as it was read.
    pub(crate) fn problem_in_text(
        &self,
        path: &str,
        line: usize,
        column: usize,
        message: impl Into<String>,
    ) -> Problem {
        let message = message.into();
        let Some(span) = self.values.get(path) else { return self.problem(path, message) };
        self.problem_at(self.offset_in_text(span, line, column), labelled(path, &message))
    }

    /// Where in the file a place of a text value stands. In texts with escapes a character of the value may be several of
    /// the file, or none.
    fn offset_in_text(&self, span: &Range<usize>, line: usize, column: usize) -> usize {
        let raw = &self.text[span.clone()];
        let opening = if raw.starts_with("\"\"\"") || raw.starts_with("'''") { 3 } else { 1 };
        let has_escapes = raw.starts_with('"');
        let end = span.end.saturating_sub(opening).max(span.start);
        let mut at = (span.start + opening).min(end);
        if opening == 3 {
            // a newline right after the opening quotes is not part of the value
            let body = &self.text[at..end];
            at += if body.starts_with("\r\n") { 2 } else { usize::from(body.starts_with('\n')) };
        }
        let mut place = (1, 1);
        while at < end {
            let rest = &self.text[at..end];
            let (len, decoded) = match rest.chars().next() {
                Some('\\') if has_escapes => escape(rest),
                Some(character) => (character.len_utf8(), Some(character)),
                None => break,
            };
            if place >= (line, column) && decoded.is_some() {
                break;
            }
            match decoded {
                Some('\n') => place = (place.0 + 1, 1),
                Some(_) => place.1 += 1,
                None => {}
            }
            at += len;
        }
        at
    }

    /// Points at each problem of a configuration whose paths begin below `base`.
    pub(crate) fn problems(&self, base: &str, error: &ConfigError) -> Vec<Problem> {
        error
            .0
            .iter()
            .map(|ConfigProblem { path, message }| self.problem(&join(base, path), message.clone()))
            .collect()
    }

    fn problem_at(&self, offset: usize, message: String) -> Problem {
        let before = &self.text[..offset.min(self.text.len())];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let source_line = self.text[line_start..].lines().next().unwrap_or_default().to_owned();
        Problem {
            file: self.path.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message,
            source_line,
        }
    }
}

/// The bytes of the escape at the beginning of `text`, and its character; the end of a line that is joined with the next
/// one has none. Of a character that is given by its number only the place matters.
fn escape(text: &str) -> (usize, Option<char>) {
    let (len, character) = match text[1..].chars().next() {
        Some('n') => (2, Some('\n')),
        Some('x') => (4, Some('x')),
        Some('u') => (6, Some('u')),
        Some('U') => (10, Some('U')),
        Some(space) if space.is_ascii_whitespace() => (text.len() - text[1..].trim_ascii_start().len(), None),
        Some(other) => (1 + other.len_utf8(), Some(other)),
        None => (1, None),
    };
    (len.min(text.len()), character)
}

/// Where a file stops being UTF-8.
fn not_utf8(path: &Path, bytes: &[u8]) -> Problem {
    let valid = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let found = bytes.get(valid.len()).copied().unwrap_or_default();
    let line_start = valid.rfind('\n').map_or(0, |at| at + 1);
    Problem {
        file: path.to_owned(),
        line: valid.matches('\n').count() + 1,
        column: valid[line_start..].chars().count() + 1,
        message: format!("found the byte 0x{found:02X}, expected text in UTF-8"),
        source_line: valid[line_start..].to_owned(),
    }
}

fn join(path: &str, key: &str) -> String {
    match (path, key) {
        ("", key) => key.to_owned(),
        (path, "") => path.to_owned(),
        (path, key) if key.starts_with('[') => format!("{path}{key}"),
        (path, key) => format!("{path}.{key}"),
    }
}

/// Writes `actions.0.args` as `actions[0].args`, the way places are kept.
fn with_brackets(path: &str) -> String {
    let mut text = String::with_capacity(path.len() + 2);
    for (number, step) in path.split('.').enumerate() {
        if number > 0 && !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()) {
            text.push_str(&format!("[{step}]"));
        } else {
            if number > 0 {
                text.push('.');
            }
            text.push_str(step);
        }
    }
    text
}

fn labelled(path: &str, message: &str) -> String {
    if path.is_empty() || path == "." { message.to_owned() } else { format!("{path}: {message}") }
}

/// Says what was expected in words of the file's world, not of the program's.
fn in_plain_words(message: String, found: Option<&str>) -> String {
    if message == "invalid socket address syntax" {
        let found = found.unwrap_or_default();
        return format!("expected a socket address such as `127.0.0.1:1883`, got {found}");
    }
    for (of_the_program, of_the_file) in [
        ("expected u8", "expected an integer from 0 to 255"),
        ("expected u16", "expected an integer from 0 to 65535"),
        ("expected u32", "expected an integer from 0 to 4294967295"),
        ("expected u64", "expected an integer of 0 or more"),
        ("expected f64", "expected a number"),
        ("expected path string", "expected the path of a file or folder"),
        ("expected socket address", "expected a socket address such as `127.0.0.1:1883`"),
    ] {
        if let Some(start) = message.strip_suffix(of_the_program) {
            return format!("{start}{of_the_file}");
        }
    }
    message
}

/// Adds the nearest of the names that were expected to an `unknown field`/`unknown variant` message.
fn with_near_miss(message: String) -> String {
    if !message.starts_with("unknown ") || message.contains("did you mean") {
        return message;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(found) = quoted.next() else { return message };
    match nearest(found, quoted) {
        Some(name) => format!("{message}; did you mean `{name}`?"),
        None => message,
    }
}

/// The candidate that is most like `found`, if any is much like it.
pub(crate) fn nearest<'a>(found: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .filter(|(distance, name)| *distance <= name.len().max(found.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> TomlFile {
        TomlFile::parse(Path::new("f.toml"), text.to_owned()).expect("TOML")
    }

    #[test]
    fn problems_point_into_the_file() {
        let file = file("a = 1\n[rules.r]\nsql = \"x\"\nactions = ['one',\n  'two']\n");
        let at = |path: &str| {
            let problem = file.problem(path, "m");
            (problem.line, problem.column)
        };
        assert_eq!(at("a"), (1, 5));
        assert_eq!(at("rules.r.sql"), (3, 7));
        assert_eq!(at("rules.r.actions[1]"), (5, 3));
        assert_eq!(at("rules.r.actions[1].args.topic"), (5, 3));
        assert_eq!(at("rules.r.actions.1.args"), (5, 3));
        assert_eq!(at("rules.r.enable"), (2, 8));
    }

    #[test]
    fn a_place_inside_a_text_is_found() {
        let file = file("[rules.r]\nsql = \"\"\"\nSELECT *\nFROM 't'\nWHER x\"\"\"\nb = 'SELECT'\n");
        let problem = file.problem_in_text("rules.r.sql", 3, 6, "m");
        assert_eq!((problem.line, problem.column), (5, 6));
        let problem = file.problem_in_text("rules.r.b", 1, 3, "m");
        assert_eq!((problem.line, problem.column), (6, 8));
    }

    #[test]
    fn a_place_inside_a_text_with_escapes_is_found() {
        let file = file(
            "a = \"x\\n\\ty FRM\"\nb = \"\"\"\n  one \\\n     two FRM\n\\u00e9 FRM\"\"\"\nc = 'a\\nb'\nd = \"é\\U0001F600z\"\n",
        );
        let at = |path: &str, line, column| {
            let problem = file.problem_in_text(path, line, column, "m");
            (problem.line, problem.column)
        };
        assert_eq!(at("a", 2, 4), (1, 13));
        assert_eq!(at("b", 1, 7), (4, 6), "the value goes on in the next line");
        assert_eq!(at("b", 1, 11), (4, 10));
        assert_eq!(at("b", 2, 3), (5, 8));
        assert_eq!(at("c", 1, 4), (6, 9), "no escapes in single quotes");
        assert_eq!(at("d", 1, 3), (7, 17));
        assert_eq!(at("d", 9, 9), (7, 18), "beyond the end");
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_placed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.toml");
        std::fs::write(&path, b"a = 1\nb = \"\xc3\xa9\xff\"\n").unwrap();
        let problem = TomlFile::read(&path).unwrap_err();
        assert_eq!((problem.line, problem.column), (2, 7));
        assert!(problem.message.contains("0xFF") && problem.to_string().contains("UTF-8"), "{problem}");
    }

    #[test]
    fn unknown_names_get_a_near_miss_and_point_at_the_key() {
        let file = file("[mqtt]\nmax_inflite = 3\n");
        let problem =
            file.problem("mqtt.max_inflite", "unknown field `max_inflite`, expected `max_inflight` or `x`");
        assert_eq!((problem.line, problem.column), (2, 1));
        assert!(problem.message.ends_with("did you mean `max_inflight`?"), "{}", problem.message);
    }

    #[test]
    fn bad_toml_names_its_place() {
        let problem = TomlFile::parse(Path::new("f.toml"), "a = 1\nb = \n".to_owned()).unwrap_err();
        assert_eq!(problem.line, 2);
        let problem = TomlFile::parse(Path::new("f.toml"), "a = 1\nb = nan\n".to_owned()).unwrap_err();
        assert_eq!((problem.line, problem.column), (2, 5), "{problem}");
    }
}
