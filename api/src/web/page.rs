//! Lists in pages.

use serde::Serialize;
use utoipa::ToSchema;

use super::{ApiError, Code};

/// Most elements of a page.
pub(crate) const LIMIT_MAX: u32 = 10_000;

/// Elements of a page when the request does not say.
const LIMIT_DEFAULT: u32 = 100;

/// Which page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageRequest {
    page: u32,
    limit: u32,
}

impl PageRequest {
    /// Checks the fields `page` and `limit` of a query.
    pub(crate) fn new(page: Option<u32>, limit: Option<u32>) -> Result<Self, ApiError> {
        let (page, limit) = (page.unwrap_or(1), limit.unwrap_or(LIMIT_DEFAULT));
        if page == 0 || limit == 0 || limit > LIMIT_MAX {
            return Err(ApiError::new(
                Code::InvalidParameter,
                format!(
                    "page_limit_invalid: expected page >= 1 and limit from 1 to {LIMIT_MAX}, got page {page} and limit {limit}"
                ),
            ));
        }
        Ok(Self { page, limit })
    }

    /// Elements before the page.
    pub(crate) fn skip(self) -> usize {
        (self.page as usize - 1).saturating_mul(self.limit as usize)
    }

    /// Most elements of the page.
    pub(crate) fn limit(self) -> usize {
        self.limit as usize
    }

    /// Cuts the page out of everything that matched.
    pub(crate) fn cut<T>(self, all: Vec<T>) -> Page<T> {
        let count = all.len();
        let data = all.into_iter().skip(self.skip()).take(self.limit()).collect();
        self.page(data, Some(count), self.skip().saturating_add(self.limit()) < count)
    }

    /// Makes the answer of a page that is already cut.
    pub(crate) fn page<T>(self, data: Vec<T>, count: Option<usize>, has_next: bool) -> Page<T> {
        Page { data, meta: PageMeta { page: self.page, limit: self.limit, count, hasnext: has_next } }
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The elements.
    data: Vec<T>,
    /// Where the page stands.
    meta: PageMeta,
}

impl<T> Page<T> {
    /// Turns each element into its final form: only those of the page are paid for.
    pub(crate) fn map<U>(self, turn: impl FnMut(T) -> U) -> Page<U> {
        Page { data: self.data.into_iter().map(turn).collect(), meta: self.meta }
    }
}

/// Where a page stands in its list.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct PageMeta {
    /// Number of the page, from 1.
    page: u32,
    /// Most elements of a page.
    limit: u32,
    /// Elements of all pages; missing when counting them would be costly.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    /// Whether there is a page after this one.
    hasnext: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_cut_and_checked() {
        let check = |page, limit, expect: Option<(&[u32], bool)>| {
            let result =
                PageRequest::new(page, limit).map(|request| request.cut((1..=5).collect::<Vec<u32>>()));
            match (result, expect) {
                (Ok(page), Some((data, has_next))) => {
                    assert_eq!(page.data, data);
                    assert_eq!(page.meta.hasnext, has_next);
                    assert_eq!(page.meta.count, Some(5));
                }
                (Err(error), None) => assert_eq!(error.code(), Code::InvalidParameter),
                (result, expect) => panic!("{page:?} {limit:?}: {result:?}, expected {expect:?}"),
            }
        };
        check(None, None, Some((&[1, 2, 3, 4, 5], false)));
        check(Some(1), Some(2), Some((&[1, 2], true)));
        check(Some(3), Some(2), Some((&[5], false)));
        check(Some(1), Some(5), Some((&[1, 2, 3, 4, 5], false)));
        check(Some(9), Some(5), Some((&[], false)));
        check(Some(u32::MAX), Some(10_000), Some((&[], false)));
        check(Some(0), None, None);
        check(None, Some(0), None);
        check(None, Some(10_001), None);
    }
}
