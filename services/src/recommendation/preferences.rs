//! What customers want to be shown: a document each, changed by compare-and-set.

use onrush_grpc::recommendation::v1 as wire;
use onrush_proto::{BrandName, CategoryName, CustomerId, DocKey, Refusal, Sku, Text};
use serde::{Deserialize, Serialize};

use super::board::Board;
use crate::backend::{Backend, ProductFilter};
use crate::documents::{self, Versioned};
use crate::field::{self, FieldError, shown};
use crate::status::Rejection;

/// Most categories, and most brands.
pub(super) const NAMES_MAX: usize = 32;
/// Most products that are left out.
pub(super) const EXCLUDED_MAX: usize = 1_000;
/// Products looked at in one step of a search.
const PAGE: usize = 1_000;

/// What a customer wants to be shown.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Preferences {
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    brands: Vec<String>,
    #[serde(default)]
    excluded_skus: Vec<String>,
    /// True if the customer's history is not looked at.
    #[serde(default)]
    pub(super) opted_out: bool,
}

impl Preferences {
    /// Reads a message; categories and brands are looked for later.
    pub(super) fn read(message: Option<wire::Preferences>) -> Result<Self, FieldError> {
        let message = message.ok_or_else(|| {
            FieldError::invalid("preferences", "preferences", "none").because("MISSING_FIELD")
        })?;
        names::<63>("preferences.categories", &message.categories, NAMES_MAX)?;
        names::<63>("preferences.brands", &message.brands, NAMES_MAX)?;
        names::<39>("preferences.excluded_skus", &message.excluded_skus, EXCLUDED_MAX)?;
        let wire::Preferences { mut categories, mut brands, mut excluded_skus, opted_out } = message;
        for list in [&mut categories, &mut brands, &mut excluded_skus] {
            list.sort_unstable();
            list.dedup();
        }
        Ok(Self { categories, brands, excluded_skus, opted_out })
    }

    /// As a message.
    pub(super) fn message(self) -> wire::Preferences {
        let Self { categories, brands, excluded_skus, opted_out } = self;
        wire::Preferences { categories, brands, excluded_skus, opted_out }
    }

    /// What the customer never wants to see.
    pub(super) fn excluded(&self) -> impl Iterator<Item = Sku> {
        self.excluded_skus.iter().filter_map(|sku| sku.parse().ok())
    }

    /// True if the customer wants to see more of its category.
    pub(super) fn like_category(&self, name: &CategoryName) -> bool {
        self.categories.iter().any(|category| category == name.as_str())
    }

    /// True if the customer wants to see more of its brand.
    pub(super) fn like_brand(&self, name: &BrandName) -> bool {
        self.brands.iter().any(|brand| brand == name.as_str())
    }

    /// The categories that the customer wants to see more of.
    pub(super) fn categories(&self) -> impl Iterator<Item = CategoryName> {
        self.categories.iter().filter_map(|category| category.parse().ok())
    }

    /// Refused if there is no product of a category or a brand. What is known is found at once; only what
    /// is not, or was put a moment ago, is looked for in the catalogue, and one such name ends the search.
    pub(super) async fn check(&self, board: &Board, backend: &Backend) -> Result<(), Rejection> {
        for (index, category) in self.categories.iter().enumerate() {
            let known = category.parse::<CategoryName>().is_ok_and(|name| board.has_category(&name));
            let filter = ProductFilter { query: String::new(), category: category.clone() };
            if !known && backend.products(None, 1, filter).await?.is_empty() {
                return Err(unknown("categories", index, "the category of a product", category).into());
            }
        }
        for (index, brand) in self.brands.iter().enumerate() {
            let known = brand.parse::<BrandName>().is_ok_and(|name| board.has_brand(&name));
            if !known && !has_brand(backend, brand).await? {
                return Err(unknown("brands", index, "the brand of a product", brand).into());
            }
        }
        Ok(())
    }

    /// A customer's; those of nobody if nothing was said.
    pub(super) async fn of(backend: &Backend, customer: &CustomerId) -> Result<Versioned<Self>, Rejection> {
        let found = backend.document(key(customer)?).await?;
        Ok(found.unwrap_or(Versioned { value: Self::default(), version: 0 }))
    }

    /// Puts them in place of what a customer said before, if that has the expected version; the new
    /// version. The same again changes nothing.
    pub(super) async fn put(
        &self,
        backend: &Backend,
        customer: &CustomerId,
        expected: Option<u64>,
    ) -> Result<u64, Rejection> {
        loop {
            let found = Self::of(backend, customer).await?;
            if let Some(expected) = expected.filter(|expected| *expected != found.version) {
                return Err(Refusal::VersionMismatch { expected, found: found.version }.into());
            }
            if found.version > 0 && found.value == *self {
                return Ok(found.version);
            }
            match backend.put_document(key(customer)?, self, found.version, None).await {
                // Somebody was faster.
                Err(Rejection::Refused(Refusal::VersionMismatch { .. })) if expected.is_none() => {}
                put => return put,
            }
        }
    }
}

/// The key of a customer's preferences.
fn key(customer: &CustomerId) -> Result<DocKey, Rejection> {
    documents::key("preferences", customer.as_str())
}

/// At most so many names, each of 1 to `N` bytes.
pub(super) fn names<const N: usize>(
    path: &str,
    values: &[String],
    max: usize,
) -> Result<Vec<Text<N>>, FieldError> {
    if values.len() > max {
        return Err(FieldError::invalid(path, format!("at most {max} of them"), values.len().to_string()));
    }
    let name = |(index, value): (usize, &String)| field::name(&format!("{path}[{index}]"), value);
    values.iter().enumerate().map(name).collect()
}

fn unknown(list: &str, index: usize, expected: &str, found: &str) -> FieldError {
    FieldError::invalid(&format!("preferences.{list}[{index}]"), expected, shown(found))
}

async fn has_brand(backend: &Backend, brand: &str) -> Result<bool, Rejection> {
    let filter = || ProductFilter { query: brand.to_lowercase(), category: String::new() };
    let mut after = None;
    loop {
        let rows = backend.products(after, PAGE, filter()).await?;
        if rows.iter().any(|row| row.brand.as_str() == brand) {
            return Ok(true);
        }
        let Some(last) = rows.last() else { return Ok(false) };
        after = Some(last.sku);
    }
}
