//! The one place that says `Reject`: what SQLite's result codes mean.

use connectors_api::Reason;

/// What an error says about the rows of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// SQLite understood a row and refused it.
    Row(Reason),
    /// The statement failed for a reason that may be the row's or the schema's: blames the row only if the statement
    /// compiles.
    RowIfCompiles(Reason),
    /// Not settled.
    Retry(Reason),
}

/// A value is too long.
const TOOBIG: i32 = 18;
/// A constraint of the table.
const CONSTRAINT: i32 = 19;
/// A value of the wrong type for its column.
const MISMATCH: i32 = 20;
/// Everything that has no code of its own: a missing table, but also `integer overflow`.
const ERROR: i32 = 1;

/// Classifies an error. Locked, busy, full, not readable, not writable, damaged, out of memory: all of that may heal.
pub(crate) fn classify(error: &sqlx::Error) -> Verdict {
    let Some(error) = error.as_database_error() else {
        return Verdict::Retry(Reason::transport(error.to_string()));
    };
    let code = error.code().unwrap_or_default().into_owned();
    // the low byte of an extended code is the primary one
    let primary = code.parse::<i32>().unwrap_or_default() & 0xff;
    let reason = Reason::target(code, error.message());
    match primary {
        CONSTRAINT | MISMATCH | TOOBIG => Verdict::Row(reason),
        ERROR => Verdict::RowIfCompiles(reason),
        _ => Verdict::Retry(reason),
    }
}

/// The reason of an error, whatever it blames.
pub(crate) fn reason(error: &sqlx::Error) -> Reason {
    match classify(error) {
        Verdict::Row(reason) | Verdict::RowIfCompiles(reason) | Verdict::Retry(reason) => reason,
    }
}

/// Tells whether the error is SQLite's about the statement itself: syntax, or names that do not exist.
pub(crate) fn blames_statement(error: &sqlx::Error) -> bool {
    matches!(classify(error), Verdict::RowIfCompiles(_))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error as StdError;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("message")]
    struct Code(i32);

    impl DatabaseError for Code {
        fn message(&self) -> &str {
            "message"
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.to_string().into())
        }

        fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    #[test]
    fn every_code_has_its_class() {
        // primary codes and some extended ones: constraint unique, not null, check, primary key, datatype, foreign key,
        // trigger; busy snapshot, recovery; ioerr write, fsync; readonly dbmoved; cantopen directory; full has none
        let rejects = [18, 19, 20, 2067, 1299, 275, 1555, 3091, 787, 1811];
        let retries = [
            2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 21, 22, 23, 24, 25, 26, 27, 28, 517, 261,
            778, 1034, 1032, 526,
        ];
        for code in rejects {
            let verdict = classify(&sqlx::Error::Database(Box::new(Code(code))));
            assert_eq!(verdict, Verdict::Row(Reason::target(code.to_string(), "message")), "{code}");
        }
        for code in retries {
            let verdict = classify(&sqlx::Error::Database(Box::new(Code(code))));
            assert_eq!(verdict, Verdict::Retry(Reason::target(code.to_string(), "message")), "{code}");
        }
        for code in [1, 257] {
            let verdict = classify(&sqlx::Error::Database(Box::new(Code(code))));
            assert!(matches!(verdict, Verdict::RowIfCompiles(_)), "{code}");
        }
    }

    #[test]
    fn errors_without_a_code_are_retried() {
        for error in [sqlx::Error::WorkerCrashed, sqlx::Error::PoolClosed, sqlx::Error::RowNotFound] {
            assert!(matches!(classify(&error), Verdict::Retry(_)), "{error}");
        }
    }
}
