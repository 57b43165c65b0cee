//! SQL text with `${placeholders}`, cut into the parts that are text and those that are values.
//!
//! The scanner knows just enough of PostgreSQL's lexical rules to tell where a placeholder stands: between tokens it
//! is a bound value; in a string it becomes a bound text; in a name, an escape string or a dollar-quoted text it is
//! refused, since a value cannot be bound there.

use engine_event::Template;

/// A part of a statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// Text of the statement.
    Sql(String),
    /// A value to be bound.
    Value(Template),
    /// `VALUES (` of an INSERT.
    Values,
    /// The `)` that closes [`Part::Values`].
    ValuesEnd,
}

/// What was found beside the parts.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// The first word of the statement, in capitals.
    pub(crate) first: String,
    /// SELECT, WITH, RETURNING or a second VALUES stands outside all parentheses.
    pub(crate) has_query: bool,
    /// A comma follows the first tuple of VALUES.
    pub(crate) has_more_tuples: bool,
}

/// Cuts a statement into parts.
///
/// # Errors
/// What was found where, and what was expected.
pub(crate) fn scan(sql: &str) -> Result<(Vec<Part>, Words), String> {
    let mut scanner = Scanner {
        sql,
        at: 0,
        parts: Vec::new(),
        text: String::new(),
        words: Words::default(),
        depth: 0,
        values: Values::Before,
    };
    scanner.run()?;
    scanner.flush();
    Ok((scanner.parts, scanner.words))
}

/// Where the scanner is in an INSERT.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    Before,
    Inside,
    After,
}

struct Scanner<'a> {
    sql: &'a str,
    at: usize,
    parts: Vec<Part>,
    text: String,
    words: Words,
    depth: u32,
    values: Values,
}

impl Scanner<'_> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\'' => self.string()?,
                b'"' => self.quoted_name()?,
                b'$' => self.dollar()?,
                b'-' if self.peek(1) == Some(b'-') => self.line_comment(),
                b'/' if self.peek(1) == Some(b'*') => self.block_comment()?,
                b'(' => self.open(),
                b')' => self.close()?,
                b';' => return self.end(),
                _ if is_word_start(byte) => self.word(),
                b'0'..=b'9' => self.number(),
                b',' => self.comma(),
                _ => self.copy(1),
            }
        }
        if self.depth > 0 { Err(format!("{} `(` without its `)`", self.depth)) } else { Ok(()) }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.sql.as_bytes().get(self.at + ahead).copied()
    }

    fn rest(&self) -> &str {
        &self.sql[self.at..]
    }

    /// Copies the next character, or the next `length` bytes that end at a character.
    fn copy(&mut self, length: usize) {
        let mut end = self.at + length;
        while !self.sql.is_char_boundary(end) {
            end += 1;
        }
        self.text.push_str(&self.sql[self.at..end]);
        self.at = end;
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.parts.push(Part::Sql(std::mem::take(&mut self.text)));
        }
    }

    fn value(&mut self, template: Template) {
        self.flush();
        self.parts.push(Part::Value(template));
    }

    /// `line 2, column 7` of a byte.
    fn place(&self, at: usize) -> String {
        let before = &self.sql[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        format!("line {line}, column {column}")
    }

    fn string(&mut self) -> Result<(), String> {
        let start = self.at;
        let before = self.text.bytes().last();
        let is_escape_string = before.is_some_and(|byte| matches!(byte, b'E' | b'e'));
        let end = self
            .string_end(is_escape_string)
            .ok_or_else(|| format!("{}: `'` without its end", self.place(start)))?;
        let template = Template::new(&self.sql[start + 1..end].replace("''", "'"));
        if !holds_placeholder(&template) {
            self.text.push_str(&self.sql[start..=end].replace("${$}", "$"));
            self.at = end + 1;
            return Ok(());
        }
        if before.is_some_and(|byte| is_word(byte) || byte == b'&') {
            return Err(format!(
                "{}: a placeholder cannot stand in a string with a prefix; write `${{name}}` outside",
                self.place(start)
            ));
        }
        self.at = end + 1;
        self.value(template);
        Ok(())
    }

    /// Position of the quote that ends the string that starts here.
    fn string_end(&self, is_escape_string: bool) -> Option<usize> {
        let bytes = self.sql.as_bytes();
        let mut at = self.at + 1;
        loop {
            match (bytes.get(at)?, bytes.get(at + 1)) {
                (b'\\', Some(_)) if is_escape_string => at += 2,
                (b'\'', Some(b'\'')) => at += 2,
                (b'\'', _) => return Some(at),
                _ => at += 1,
            }
        }
    }

    fn quoted_name(&mut self) -> Result<(), String> {
        let length = self.sql[self.at + 1..]
            .find('"')
            .ok_or_else(|| format!("{}: `\"` without its end", self.place(self.at)))?;
        if holds_placeholder(&Template::new(&self.sql[self.at + 1..self.at + 1 + length])) {
            return Err(format!("{}: a placeholder cannot stand in a name", self.place(self.at)));
        }
        self.copy(length + 2);
        Ok(())
    }

    fn dollar(&mut self) -> Result<(), String> {
        let place = self.place(self.at);
        match self.peek(1) {
            Some(b'{') => self.placeholder(&place),
            Some(b'0'..=b'9') => Err(format!(
                "{place}: expected a placeholder such as `${{name}}`, found a numbered parameter"
            )),
            _ => self.dollar_quoted(&place),
        }
    }

    fn placeholder(&mut self, place: &str) -> Result<(), String> {
        let length = self.rest().find('}').ok_or_else(|| format!("{place}: `${{` without its `}}`"))? + 1;
        let source = &self.rest()[..length];
        let template = Template::new(source);
        if template.single_path().is_none() {
            return Err(format!(
                "{place}: `{source}` is no placeholder: expected a path such as `${{payload.value}}`"
            ));
        }
        let follows_word = self.text.bytes().last().is_some_and(is_word);
        let continues = self.sql.as_bytes().get(self.at + length).copied().is_some_and(is_word);
        if follows_word || continues {
            return Err(format!(
                "{place}: a placeholder cannot be part of a name; for a text write `'prefix-{source}'`"
            ));
        }
        self.at += length;
        self.value(template);
        Ok(())
    }

    /// `$tag$ … $tag$`, or a lone dollar sign.
    fn dollar_quoted(&mut self, place: &str) -> Result<(), String> {
        let tag_length =
            1 + self.rest()[1..].bytes().take_while(|byte| is_word(*byte) && *byte != b'$').count();
        if self.peek(tag_length) != Some(b'$') {
            self.copy(1);
            return Ok(());
        }
        let tag = self.rest()[..=tag_length].to_owned();
        let body = &self.rest()[tag.len()..];
        let length = body.find(&tag).ok_or_else(|| format!("{place}: `{tag}` without its end"))?;
        if holds_placeholder(&Template::new(&body[..length])) {
            return Err(format!("{place}: a placeholder cannot stand in a dollar-quoted text"));
        }
        self.copy(length + 2 * tag.len());
        Ok(())
    }

    fn line_comment(&mut self) {
        let length = self.rest().find('\n').unwrap_or(self.rest().len());
        self.at += length;
        self.text.push(' ');
    }

    fn block_comment(&mut self) -> Result<(), String> {
        let start = self.at;
        let mut depth = 0_u32;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                }
                (Some(_), _) => self.at += 1,
                (None, _) => return Err(format!("{}: `/*` without its `*/`", self.place(start))),
            }
            if depth == 0 {
                self.text.push(' ');
                return Ok(());
            }
        }
    }

    fn number(&mut self) {
        let length = self.rest().bytes().take_while(|byte| is_word(*byte) && *byte != b'$').count();
        self.copy(length);
    }

    fn word(&mut self) {
        let length = self.rest().bytes().take_while(|byte| is_word(*byte)).count();
        // `a$1`-like names aside, a dollar sign that opens a placeholder ends the word
        let length = self.rest()[..length].find("${").unwrap_or(length);
        let length = if self.rest()[..length].ends_with('$') && self.peek(length) == Some(b'{') {
            length - 1
        } else {
            length
        };
        let word = self.rest()[..length].to_ascii_uppercase();
        if self.words.first.is_empty() {
            self.words.first.clone_from(&word);
        }
        let outside = self.depth == 0;
        if outside && word == "VALUES" && self.values == Values::Before && self.words.first == "INSERT" {
            let blanks = self.rest()[length..].bytes().take_while(u8::is_ascii_whitespace).count();
            if self.peek(length + blanks) == Some(b'(') {
                self.at += length + blanks + 1;
                self.depth = 1;
                self.values = Values::Inside;
                self.flush();
                self.parts.push(Part::Values);
                return;
            }
        }
        if outside && matches!(word.as_str(), "SELECT" | "WITH" | "RETURNING" | "VALUES") {
            self.words.has_query = true;
        }
        self.copy(length);
    }

    fn open(&mut self) {
        self.depth += 1;
        self.copy(1);
    }

    fn close(&mut self) -> Result<(), String> {
        self.depth = self
            .depth
            .checked_sub(1)
            .ok_or_else(|| format!("{}: `)` without its `(`", self.place(self.at)))?;
        if self.depth == 0 && self.values == Values::Inside {
            self.values = Values::After;
            self.at += 1;
            self.flush();
            self.parts.push(Part::ValuesEnd);
        } else {
            self.copy(1);
        }
        Ok(())
    }

    fn comma(&mut self) {
        let directly_after = self.text.trim().is_empty() && self.parts.last() == Some(&Part::ValuesEnd);
        self.words.has_more_tuples |= directly_after;
        self.copy(1);
    }

    /// A semicolon: nothing may follow.
    fn end(&mut self) -> Result<(), String> {
        let place = self.place(self.at);
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            match byte {
                b'-' if self.peek(1) == Some(b'-') => self.line_comment(),
                b'/' if self.peek(1) == Some(b'*') => self.block_comment()?,
                b';' => self.at += 1,
                _ if byte.is_ascii_whitespace() => self.at += 1,
                _ => return Err(format!("{place}: expected one statement, found another after `;`")),
            }
        }
        Ok(())
    }
}

fn holds_placeholder(template: &Template) -> bool {
    !template.is_fixed()
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_word(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts as text: values as `<source>`, the tuple as `[` and `]`.
    fn shown(sql: &str) -> Result<String, String> {
        let (parts, _) = scan(sql)?;
        let shown = |part: &Part| match part {
            Part::Sql(text) => text.clone(),
            Part::Value(template) => format!("<{}>", template.source()),
            Part::Values => "[".to_owned(),
            Part::ValuesEnd => "]".to_owned(),
        };
        Ok(parts.iter().map(shown).collect())
    }

    #[track_caller]
    fn check(sql: &str, want: &str) {
        assert_eq!(shown(sql).as_deref(), Ok(want), "{sql}");
    }

    #[test]
    fn placeholders_become_values() {
        check("INSERT INTO t(a, b) VALUES (${a}, ${b.c})", "INSERT INTO t(a, b) [<${a}>, <${b.c}>]");
        check("update t set a = ${a} where b=${b};", "update t set a = <${a}> where b=<${b}>");
        check("select f(${.}, ${a.b}::int)", "select f(<${.}>, <${a.b}>::int)");
        check("values(${x})", "values(<${x}>)");
        check(
            "INSERT INTO t VALUES (to_timestamp((${ts} :: bigint)/1000)) on conflict do nothing ; ",
            "INSERT INTO t [to_timestamp((<${ts}> :: bigint)/1000)] on conflict do nothing ",
        );
    }

    #[test]
    fn quotes_around_a_placeholder_go() {
        check(
            "insert into t values ('${a}', 'x-${b}', 'it''s ${c}')",
            "insert into t [<${a}>, <x-${b}>, <it's ${c}>]",
        );
        check(
            "select 'plain', 'it''s', E'it\\'s', '${$}', 'a;b'",
            "select 'plain', 'it''s', E'it\\'s', '$', 'a;b'",
        );
    }

    #[test]
    fn comments_hold_no_placeholders() {
        check("select 1 -- ${a}\n, /* ${b} /* ; */ */ 2", "select 1  \n,   2");
        check("select $$ ; ' $$, $x$ $$ $x$", "select $$ ; ' $$, $x$ $$ $x$");
        check("select 'ä', \"ö;\" from ünder", "select 'ä', \"ö;\" from ünder");
    }

    #[test]
    fn what_cannot_be_bound_is_refused_with_its_place() {
        for (sql, want) in [
            ("insert into \"t_${x}\" values (1)", "line 1, column 13: a placeholder cannot stand in a name"),
            ("insert into t_${x} values (1)", "line 1, column 15: a placeholder cannot be part of a name"),
            ("select\n  E'${x}'", "line 2, column 4: a placeholder cannot stand in a string with a prefix"),
            ("select $$${x}$$", "line 1, column 8: a placeholder cannot stand in a dollar-quoted text"),
            ("select ${a b}", "line 1, column 8: `${a b}` is no placeholder"),
            ("select $1", "line 1, column 8: expected a placeholder"),
            ("select 'a", "line 1, column 8: `'` without its end"),
            ("select \"a", "line 1, column 8: `\"` without its end"),
            ("select /* a", "line 1, column 8: `/*` without its `*/`"),
            ("select (1", "1 `(` without its `)`"),
            ("select 1)", "line 1, column 9: `)` without its `(`"),
            ("select 1; drop table t", "line 1, column 9: expected one statement"),
            ("select ${a", "line 1, column 8: `${` without its `}`"),
        ] {
            let error = shown(sql).expect_err(sql);
            assert!(error.starts_with(want), "{sql}: {error}");
        }
    }

    #[test]
    fn words_outside_parentheses_are_noted() {
        let words = |sql: &str| scan(sql).expect(sql).1;
        assert_eq!(words(" /* x */ insert into t values (1)").first, "INSERT");
        assert!(!words("insert into t values ((select 1)) on conflict (a) do nothing").has_query);
        assert!(words("insert into t values (1) returning a").has_query);
        assert!(words("insert into t select 1").has_query);
        assert!(words("insert into t values (1), (2)").has_more_tuples);
        assert!(!words("insert into t values (1, 2)").has_more_tuples);
    }
}
