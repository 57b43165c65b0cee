//! What a run gives.

use engine_event::Row;
use smallvec::SmallVec;

/// The rows of a run: one of SELECT, any number of FOREACH, none when WHERE is false.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    rows: SmallVec<[Row; 1]>,
    filtered: bool,
}

impl Rows {
    /// The result of a run that WHERE ended.
    pub(super) fn filtered() -> Self {
        Self { rows: SmallVec::new(), filtered: true }
    }

    /// The result of SELECT.
    pub(super) fn one(row: Row) -> Self {
        Self { rows: smallvec::smallvec![row], filtered: false }
    }

    /// The result of FOREACH.
    pub(super) fn many(rows: SmallVec<[Row; 1]>) -> Self {
        Self { rows, filtered: false }
    }

    /// Tells whether WHERE was false. FOREACH may also give no rows without it.
    pub fn is_filtered(&self) -> bool {
        self.filtered
    }
}

impl std::ops::Deref for Rows {
    type Target = [Row];

    fn deref(&self) -> &[Row] {
        &self.rows
    }
}

impl IntoIterator for Rows {
    type Item = Row;
    type IntoIter = smallvec::IntoIter<[Row; 1]>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = &'a Row;
    type IntoIter = std::slice::Iter<'a, Row>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.iter()
    }
}
