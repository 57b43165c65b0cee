//! Splitting the text of a SQL statement into tokens, as far as placeholders need it.

use engine_event::Template;

/// A token of a statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// White space or a comment.
    Space(String),
    /// A keyword or a bare name.
    Word(String),
    /// A name in quotes, a text without placeholders, a number or a sign: copied as it is.
    Other(String),
    /// A value to be bound.
    Value(Template),
}

/// Splits a statement. A placeholder becomes a value, and so does a text in single quotes that holds one; in a quoted
/// name it is refused, because names cannot be bound.
pub(crate) fn tokens(sql: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '\0' => return Err("a statement cannot hold the character U+0000".to_owned()),
            '\'' => text_token(rest)?,
            '"' | '`' | '[' => name_token(rest, first)?,
            '$' if rest.starts_with("${") => placeholder_token(rest)?,
            '?' | ':' | '@' | '#' | '$' => {
                return Err(format!("`{first}`: parameters are written `${{name}}`, near `{}`", shown(rest)));
            }
            '-' if rest.starts_with("--") => {
                let length = rest.find('\n').map_or(rest.len(), |at| at + 1);
                // the comment may be followed by repeated text on the same line
                (Token::Space(" ".to_owned()), length)
            }
            '/' if rest.starts_with("/*") => {
                let end = rest.find("*/").ok_or("a comment (`/*`) does not end")?;
                (Token::Space(" ".to_owned()), end + 2)
            }
            c if c.is_whitespace() => {
                let length = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
                (Token::Space(rest[..length].to_owned()), length)
            }
            c if is_word(c) => {
                let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
                (Token::Word(rest[..length].to_owned()), length)
            }
            c => (Token::Other(c.to_string()), c.len_utf8()),
        };
        tokens.push(token);
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || !c.is_ascii()
}

/// The beginning of a text, for messages.
fn shown(text: &str) -> String {
    text.chars().take(24).collect()
}

/// Length of a quoted token with its quotes; a doubled quote is part of the text.
fn quoted_length(rest: &str, close: char) -> Option<usize> {
    let mut from = 1;
    loop {
        let end = from + rest[from..].find(close)?;
        let after = end + close.len_utf8();
        if close == ']' || !rest[after..].starts_with(close) {
            return Some(after);
        }
        from = after + close.len_utf8();
    }
}

fn text_token(rest: &str) -> Result<(Token, usize), String> {
    let length =
        quoted_length(rest, '\'').ok_or_else(|| format!("a text does not end: `{}`", shown(rest)))?;
    let quoted = &rest[..length];
    if !quoted.contains("${") {
        return Ok((Token::Other(quoted.to_owned()), length));
    }
    let inner = quoted[1..length - 1].replace("''", "'");
    Ok((Token::Value(Template::new(&inner)), length))
}

fn name_token(rest: &str, open: char) -> Result<(Token, usize), String> {
    let close = if open == '[' { ']' } else { open };
    let length =
        quoted_length(rest, close).ok_or_else(|| format!("a quoted name does not end: `{}`", shown(rest)))?;
    let quoted = &rest[..length];
    if quoted.contains("${") {
        return Err(format!("names cannot hold a placeholder: `{}`", shown(quoted)));
    }
    Ok((Token::Other(quoted.to_owned()), length))
}

fn placeholder_token(rest: &str) -> Result<(Token, usize), String> {
    let fail = || format!("`{}` is not a placeholder", shown(rest));
    let length = rest.find('}').ok_or_else(fail)? + 1;
    let template = Template::new(&rest[..length]);
    if template.single_path().is_none() {
        return Err(fail());
    }
    Ok((Token::Value(template), length))
}
