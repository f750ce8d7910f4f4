//! Page tokens: opaque to callers, bound to the list and the filters they were made for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use xxhash_rust::xxh3::xxh3_64;

use crate::field::{FieldError, shown};

/// Entries of a page if the caller does not say.
pub const PAGE_SIZE_DEFAULT: usize = 50;
/// Most entries of a page.
pub const PAGE_SIZE_MAX: usize = 1_000;

const CHECK_BYTES: usize = 8;

/// Which list a token belongs to: its name and its filters.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    /// The list, e.g. `orders`.
    pub name: &'a str,
    /// What the caller filters by, in order.
    pub filters: &'a [&'a str],
}

impl Listing<'_> {
    /// The token of a page that starts after `cursor`.
    pub fn token(self, cursor: &[u8]) -> String {
        let mut bytes = self.check(cursor).to_le_bytes().to_vec();
        bytes.extend_from_slice(cursor);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The cursor in a token of this list; `None` for the first page.
    pub fn cursor(self, token: &str) -> Result<Option<Vec<u8>>, FieldError> {
        if token.is_empty() {
            return Ok(None);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad_token(token))?;
        let (check, cursor) = bytes.split_first_chunk::<CHECK_BYTES>().ok_or_else(|| bad_token(token))?;
        if u64::from_le_bytes(*check) != self.check(cursor) {
            return Err(bad_token(token));
        }
        Ok(Some(cursor.to_vec()))
    }

    fn check(self, cursor: &[u8]) -> u64 {
        let mut bytes = Vec::with_capacity(64 + cursor.len());
        for part in std::iter::once(&self.name).chain(self.filters) {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(cursor);
        xxh3_64(&bytes)
    }
}

/// A token that is not one of ours, or one of another list.
pub fn bad_token(token: &str) -> FieldError {
    FieldError::invalid("page_token", "the next_page_token of the same list and filters", shown(token))
        .because("INVALID_PAGE_TOKEN")
}

/// Entries the caller wants on a page.
pub fn size(page_size: i32) -> Result<usize, FieldError> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(size) if size <= PAGE_SIZE_MAX => Ok(size),
        _ => Err(FieldError::invalid("page_size", format!("0 to {PAGE_SIZE_MAX}"), page_size.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_bound_to_list_and_filters() {
        let mine = Listing { name: "orders", filters: &["ada"] };
        let token = mine.token(b"cursor");
        assert_eq!(mine.cursor(&token).unwrap().unwrap(), b"cursor");
        assert_eq!(mine.cursor("").unwrap(), None);
        for foreign in
            [Listing { name: "orders", filters: &["bob"] }, Listing { name: "products", filters: &["ada"] }]
        {
            assert_eq!(foreign.cursor(&token).unwrap_err().reason, "INVALID_PAGE_TOKEN");
        }
        for damaged in ["!", "AAAA", &token[1..]] {
            assert_eq!(mine.cursor(damaged).unwrap_err().path, "page_token");
        }
        assert!(size(-1).is_err() && size(1_001).is_err());
        assert_eq!(size(0).unwrap(), PAGE_SIZE_DEFAULT);
    }
}
