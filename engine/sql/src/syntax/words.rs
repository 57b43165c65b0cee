//! Which words mean something.

/// Words that cannot be names unless they are quoted.
const RESERVED: [&str; 18] = [
    "AND", "AS", "CASE", "DO", "ELSE", "ELSIF", "END", "FOREACH", "FROM", "IF", "IN", "INCASE", "NOT", "OR",
    "SELECT", "THEN", "WHEN", "WHERE",
];

/// Words that mean something in some places only. They are printed in quotes when they are names.
const CONTEXTUAL: [&str; 8] = ["BETWEEN", "DIV", "FALSE", "IS", "LIKE", "MOD", "NULL", "TRUE"];

/// Returns the keyword, in capitals, if the word is one.
pub(super) fn keyword(word: &str) -> Option<&'static str> {
    RESERVED.into_iter().find(|keyword| keyword.eq_ignore_ascii_case(word))
}

/// Tells whether the word can stand for a name without quotes wherever a name is expected.
pub(super) fn is_plain_name(word: &str) -> bool {
    let mut bytes = word.bytes();
    let plain = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'@'));
    plain
        && keyword(word).is_none()
        && !CONTEXTUAL.into_iter().any(|contextual| contextual.eq_ignore_ascii_case(word))
}

/// Reads `true` and `false` in any case.
pub(super) fn boolean(word: &str) -> Option<bool> {
    match word {
        _ if word.eq_ignore_ascii_case("true") => Some(true),
        _ if word.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Tells whether the word is the infix operator or function `div` or `mod`, in any case.
pub(super) fn is_division(word: &str) -> bool {
    word.eq_ignore_ascii_case("div") || word.eq_ignore_ascii_case("mod")
}

/// The keyword nearest to a word that is none of them, if there is one that may have been meant.
pub(super) fn nearest_keyword(word: &str, candidates: &[&'static str]) -> Option<&'static str> {
    let word = word.to_ascii_uppercase();
    candidates.iter().copied().find(|keyword| strsim::damerau_levenshtein(&word, keyword) == 1)
}
