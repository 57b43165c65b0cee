//! A statement with places for values.

use engine_event::Template;

use crate::sql_text::{Token, tokens};

/// Most values that one statement can have: SQLite's own limit.
pub(crate) const VALUES_LIMIT: usize = 32_766;

/// First words of statements that write rows.
const VERBS: [&str; 4] = ["INSERT", "REPLACE", "UPDATE", "DELETE"];

/// A statement whose values are bound, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statement {
    /// Text before the values of the first row.
    head: String,
    /// The values of one row, `(?, ?)`; empty when the statement takes one row.
    tuple: String,
    /// Text behind the values of the last row.
    tail: String,
    /// Templates of the values, in the order of their places.
    pub(crate) values: Vec<Template>,
}

impl Statement {
    /// Compiles a statement with `${placeholders}`.
    pub(crate) fn from_sql(sql: &str) -> Result<Self, String> {
        let tokens = tokens(sql)?;
        check_kind(&tokens)?;
        let values: Vec<Template> = tokens
            .iter()
            .filter_map(|token| match token {
                Token::Value(template) => Some(template.clone()),
                _ => None,
            })
            .collect();
        if values.len() > VALUES_LIMIT {
            return Err(format!("{} values are more than the limit of {VALUES_LIMIT}", values.len()));
        }
        let end = tokens.iter().position(|token| is_sign(token, ";")).unwrap_or(tokens.len());
        let end =
            tokens[..end].iter().rposition(|token| !matches!(token, Token::Space(_))).map_or(0, |at| at + 1);
        let tokens = &tokens[..end];
        Ok(match find_tuple(tokens) {
            Some((from, to)) => Self {
                head: text_of(&tokens[..from]),
                tuple: text_of(&tokens[from..to]),
                tail: text_of(&tokens[to..]),
                values,
            },
            None => Self { head: text_of(tokens), tuple: String::new(), tail: String::new(), values },
        })
    }

    /// Makes a statement of its parts.
    pub(crate) fn from_parts(head: String, tail: String, values: Vec<Template>) -> Self {
        let tuple = format!("({})", vec!["?"; values.len()].join(", "));
        Self { head, tuple, tail, values }
    }

    /// Rows that one execution can take at most.
    pub(crate) fn rows_limit(&self) -> usize {
        if self.tuple.is_empty() { 1 } else { (VALUES_LIMIT / self.values.len().max(1)).max(1) }
    }

    /// The text for `rows` rows; more than one only up to [`Statement::rows_limit`].
    pub(crate) fn text(&self, rows: usize) -> String {
        let mut text =
            String::with_capacity(self.head.len() + (self.tuple.len() + 1) * rows + self.tail.len());
        text.push_str(&self.head);
        for row in 0..rows {
            if row > 0 {
                text.push(',');
            }
            text.push_str(&self.tuple);
        }
        text.push_str(&self.tail);
        text
    }
}

fn text_of(tokens: &[Token]) -> String {
    let mut text = String::new();
    for token in tokens {
        match token {
            Token::Space(part) | Token::Word(part) | Token::Other(part) => text.push_str(part),
            Token::Value(_) => text.push('?'),
        }
    }
    text
}

fn is_sign(token: &Token, sign: &str) -> bool {
    matches!(token, Token::Other(text) if text == sign)
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(text) if text.eq_ignore_ascii_case(word))
}

/// Each token that is not space, with the number of parentheses that are open around it.
fn with_depth(tokens: &[Token]) -> impl Iterator<Item = (usize, &Token, usize)> {
    let mut depth = 0_usize;
    tokens.iter().enumerate().filter(|(_, token)| !matches!(token, Token::Space(_))).map(
        move |(at, token)| {
            if is_sign(token, ")") {
                depth = depth.saturating_sub(1);
            }
            let here = depth;
            if is_sign(token, "(") {
                depth += 1;
            }
            (at, token, here)
        },
    )
}

/// One statement, and one that writes rows.
fn check_kind(tokens: &[Token]) -> Result<(), String> {
    let expected = "expected one INSERT, REPLACE, UPDATE or DELETE statement";
    let mut significant = with_depth(tokens);
    let verb = match significant.next() {
        Some((_, Token::Word(word), _)) if word.eq_ignore_ascii_case("WITH") => significant
            .find(|(_, token, depth)| {
                *depth == 0 && VERBS.iter().chain(&["SELECT", "VALUES"]).any(|verb| is_word(token, verb))
            })
            .map(|(_, token, _)| token.clone()),
        Some((_, token, _)) => Some(token.clone()),
        None => return Err(format!("{expected}, got nothing")),
    };
    match verb {
        Some(Token::Word(word)) if VERBS.iter().any(|verb| word.eq_ignore_ascii_case(verb)) => {}
        Some(Token::Word(word)) => return Err(format!("{expected}, got `{word}`")),
        _ => return Err(expected.to_owned()),
    }
    let semicolon = tokens.iter().position(|token| is_sign(token, ";"));
    let more = semicolon.map_or(&tokens[..0], |at| &tokens[at..]);
    if more.iter().any(|token| !matches!(token, Token::Space(_)) && !is_sign(token, ";")) {
        return Err(format!("{expected}, got several"));
    }
    Ok(())
}

/// Finds the parentheses behind VALUES of an INSERT when repeating them inserts several rows: there is one pair, and
/// no value stands outside.
fn find_tuple(tokens: &[Token]) -> Option<(usize, usize)> {
    let mut significant = with_depth(tokens);
    let (_, first, _) = significant.next()?;
    if !is_word(first, "INSERT") && !is_word(first, "REPLACE") {
        return None;
    }
    significant.find(|(_, token, depth)| *depth == 0 && is_word(token, "VALUES"))?;
    let (from, open, _) = significant.next()?;
    if !is_sign(open, "(") {
        return None;
    }
    let (close, _, _) = significant.find(|(_, token, depth)| *depth == 0 && is_sign(token, ")"))?;
    let more_rows = significant.next().is_some_and(|(_, token, _)| is_sign(token, ","));
    let is_value = |token: &Token| matches!(token, Token::Value(_));
    let outside = tokens[..from].iter().any(is_value) || tokens[close..].iter().any(is_value);
    if more_rows || outside { None } else { Some((from, close + 1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sql: &str, rows: usize, text: &str, values: &[&str]) {
        let statement = Statement::from_sql(sql).expect(sql);
        let found: Vec<&str> = statement.values.iter().map(Template::source).collect();
        assert_eq!((statement.text(rows).as_str(), found.as_slice()), (text, values), "{sql}");
    }

    #[test]
    fn placeholders_become_bound_values() {
        check("INSERT INTO t VALUES (${a}, ${b.c})", 1, "INSERT INTO t VALUES (?, ?)", &["${a}", "${b.c}"]);
        check(
            "UPDATE t SET a = ${a} WHERE b = '${b}';",
            1,
            "UPDATE t SET a = ? WHERE b = ?",
            &["${a}", "${b}"],
        );
        check("DELETE FROM t WHERE a = 'x: ${a}''s'", 1, "DELETE FROM t WHERE a = ?", &["x: ${a}'s"]);
        check(
            "INSERT INTO t VALUES ('it''s', \"a\"\"b\", [c], `d`)",
            1,
            "INSERT INTO t VALUES ('it''s', \"a\"\"b\", [c], `d`)",
            &[],
        );
        check(
            "delete from t -- where a = ${a}\nwhere b = ${b} /* ${c} */",
            1,
            "delete from t  where b = ?",
            &["${b}"],
        );
        check(
            "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x WHERE ${a}",
            1,
            "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x WHERE ?",
            &["${a}"],
        );
    }

    #[test]
    fn an_insert_takes_several_rows() {
        check(
            "INSERT INTO t (a) VALUES (${a}, abs(${b}))",
            2,
            "INSERT INTO t (a) VALUES (?, abs(?)),(?, abs(?))",
            &["${a}", "${b}"],
        );
        check(
            "replace into t values (${a}) on conflict (a) do nothing",
            3,
            "replace into t values (?),(?),(?) on conflict (a) do nothing",
            &["${a}"],
        );
        let limit = |sql: &str| Statement::from_sql(sql).unwrap().rows_limit();
        assert_eq!(limit("INSERT INTO t VALUES (${a}, ${b})"), 16_383);
        for sql in [
            "INSERT INTO t VALUES (${a}), (${b})",
            "INSERT INTO t SELECT ${a}",
            "INSERT INTO t (a) VALUES (${a}) ON CONFLICT (a) DO UPDATE SET b = ${b}",
            "UPDATE t SET a = ${a}",
            "WITH x AS (VALUES (1)) INSERT INTO t VALUES (${a})",
        ] {
            assert_eq!(limit(sql), 1, "{sql}");
        }
    }

    #[test]
    fn other_statements_are_refused() {
        for (sql, want) in [
            ("", "got nothing"),
            ("SELECT 1", "got `SELECT`"),
            ("DROP TABLE t", "got `DROP`"),
            ("ATTACH 'x' AS y", "got `ATTACH`"),
            ("WITH x AS (SELECT 1) SELECT * FROM x", "got `SELECT`"),
            ("DELETE FROM t; DROP TABLE t", "got several"),
            ("DELETE FROM ${t}x WHERE a = ?", "`?`: parameters are written"),
            ("DELETE FROM t WHERE a = :a", "`:`: parameters are written"),
            ("DELETE FROM \"${t}\"", "names cannot hold a placeholder"),
            ("DELETE FROM [${t}]", "names cannot hold a placeholder"),
            ("DELETE FROM t WHERE a = 'x", "a text does not end"),
            ("DELETE FROM \"t", "a quoted name does not end"),
            ("DELETE FROM t /* x", "a comment (`/*`) does not end"),
            ("DELETE FROM t WHERE a = ${a b}", "is not a placeholder"),
            ("DELETE FROM t WHERE a = ${a", "is not a placeholder"),
            ("DELETE FROM t WHERE a = ${$}", "is not a placeholder"),
            ("DELETE FROM t\0", "U+0000"),
        ] {
            let error = Statement::from_sql(sql).expect_err(sql);
            assert!(error.contains(want), "{sql}: {error}");
        }
    }
}
