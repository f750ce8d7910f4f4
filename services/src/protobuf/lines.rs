//! `ValidateProductsRequest` and `GetProductDetailsRequest`, as nearly all of them are.

use onrush_proto::Sku;

use super::{Fields, Odd, Value, once};

/// A `ProductLine`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Line<'a> {
    /// The SKU where it lies.
    pub(crate) text: &'a str,
    pub(crate) sku: Sku,
    pub(crate) quantity: i64,
}

impl<'a> Line<'a> {
    /// Those of a `ValidateProductsRequest`. One whose SKU is none, or whose quantity is negative, is [`Odd`].
    pub(crate) fn all(message: &'a [u8]) -> impl Iterator<Item = Result<Self, Odd>> {
        Fields::of(message).map(|field| {
            let mut line = None;
            once(field?, [&mut line])?;
            Self::read(line.ok_or(Odd)?.bytes()?)
        })
    }

    fn read(message: &'a [u8]) -> Result<Self, Odd> {
        let [mut sku, mut quantity] = [None; 2];
        for field in Fields::of(message) {
            once(field?, [&mut sku, &mut quantity])?;
        }
        let (text, sku) = read_sku(sku)?;
        Ok(Self { text, sku, quantity: quantity.map_or(Ok(0), Value::signed)? })
    }
}

/// The SKU of a `GetProductDetailsRequest`.
pub(crate) fn details_sku(message: &[u8]) -> Result<Sku, Odd> {
    let mut sku = None;
    for field in Fields::of(message) {
        once(field?, [&mut sku])?;
    }
    read_sku(sku).map(|(_, sku)| sku)
}

/// A SKU, and its text where it lies.
fn read_sku(value: Option<Value<'_>>) -> Result<(&str, Sku), Odd> {
    let text = value.ok_or(Odd)?.text()?;
    match Sku::new(text) {
        Ok(sku) if !sku.is_empty() => Ok((text, sku)),
        _ => Err(Odd),
    }
}
