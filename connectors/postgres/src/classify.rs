//! Who is at fault when the server says no: the one place that decides between trying again and rejecting.

use connectors_api::Reason;

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The data of a row: sending it again cannot help.
    Row,
    /// Two rows of one statement touch the same row of the table: each alone is fine.
    Company,
    /// The statement or its table: no row can be written until someone mends that.
    Statement,
    /// Nobody, or the server's state: try again.
    Nobody,
}

/// SQLSTATE classes and codes with their blame; the longest match counts, what is not listed is nobody's fault.
const BLAMES: &[(&str, Blame)] = &[
    ("21000", Blame::Company), // ON CONFLICT DO UPDATE cannot affect a row a second time
    ("22", Blame::Row),        // data exception: out of range, invalid text, division by zero
    ("23", Blame::Row),        // constraint violation: null, unique, foreign key, check, exclusion
    ("27", Blame::Row),        // triggered data change violation
    ("2F", Blame::Row),        // a routine of the database refused
    ("38", Blame::Row),        // a routine of the database refused
    ("39", Blame::Row),        // a routine of the database refused
    ("42", Blame::Statement),  // syntax, missing table or column, no privilege, wrong type
    ("3F", Blame::Statement),  // no such schema
    ("0A", Blame::Statement),  // feature not supported
    ("44", Blame::Row),        // a view's check option refused
    ("54000", Blame::Row),     // a value too long for its index
    ("P0", Blame::Row),        // a trigger raised an exception
];

/// Tells who is at fault by the SQLSTATE.
pub(crate) fn blame_of(sqlstate: &str) -> Blame {
    BLAMES
        .iter()
        .filter(|(start, _)| sqlstate.starts_with(start))
        .max_by_key(|(start, _)| start.len())
        .map_or(Blame::Nobody, |(_, blame)| *blame)
}

/// Tells who is at fault for an error of the library, and why, without secrets.
pub(crate) fn classify(error: &sqlx::Error) -> (Blame, Reason) {
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default().into_owned();
            let mut message = database.message().to_owned();
            if let Some(detail) = database
                .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
                .and_then(sqlx::postgres::PgDatabaseError::detail)
            {
                message = format!("{message} ({detail})");
            }
            (blame_of(&code), Reason::target(code, message))
        }
        sqlx::Error::Encode(source) => (Blame::Row, Reason::render(source.to_string())),
        other => (Blame::Nobody, Reason::transport(message_of(other))),
    }
}

/// A connection after this error is of no use.
pub(crate) fn is_broken(error: &sqlx::Error) -> bool {
    match error {
        // the server says good-bye, or a pooler has given us a session that lacks our statements
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            ["08", "57P", "26", "0A000"].iter().any(|start| code.starts_with(start))
        }
        sqlx::Error::Encode(_) => false,
        _ => true,
    }
}

fn message_of(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(source) => source.to_string(),
        sqlx::Error::Tls(source) => format!("TLS: {source}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_blamed_on_the_right_one() {
        let cases: &[(Blame, &[&str])] = &[
            (
                Blame::Row,
                &[
                    "22001", "22003", "22007", "22008", "22012", "22021", "22023", "22P02", "22P05", "23502",
                    "23503", "23505", "23514", "23P01", "27000", "38000", "44000", "54000", "P0001",
                ],
            ),
            (Blame::Company, &["21000"]),
            (Blame::Statement, &["42501", "42601", "42703", "42P01", "42804", "42883", "3F000"]),
            (
                Blame::Nobody,
                &[
                    "08000", "08006", "25006", "28P01", "3D000", "40001", "40P01", "53100", "53200", "53300",
                    "55P03", "57014", "57P01", "57P02", "57P03", "58030", "XX000", "XX001", "", "99999",
                ],
            ),
        ];
        for (blame, codes) in cases {
            for code in *codes {
                assert_eq!(blame_of(code), *blame, "{code}");
            }
        }
    }

    #[test]
    fn transport_is_nobodys_fault_and_breaks_the_connection() {
        let reset = sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert_eq!(classify(&reset).0, Blame::Nobody);
        assert!(is_broken(&reset));
    }
}
