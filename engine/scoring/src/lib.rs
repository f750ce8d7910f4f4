//! Learns who buys what next of what was bought, and says it.
//!
//! [`Counters`](counters::Counters) are counted basket by basket. A [`Base`](base::Base) is learned of all users at
//! once: factors, and which products the same users buy. Both together say which products come into question for a
//! user ([`candidates`]) and what speaks for each ([`features`]); a small network ([`mlp`]) puts them in order.
//! [`training`] makes a [`Model`](model::Model) of [`Sales`](sales::Sales), [`evaluation`] says how well one foretells.
//! [`scan`] looks through the factors of all products at the speed of memory.
//!
//! There is no clock, no file but the model's, and no randomness but a seed's. Users, products, categories and brands
//! are numbers without gaps; who calls gives them.

pub mod base;
pub mod baselines;
mod best;
pub mod candidates;
pub mod copy_on_write;
pub mod counters;
pub mod decayed;
pub mod evaluation;
pub mod factors;
pub mod features;
mod kept;
pub mod mlp;
pub mod model;
pub mod neighbours;
#[cfg(test)]
mod plain;
pub mod profile;
pub mod sales;
pub mod scan;
pub mod sealed;
pub mod section;
pub mod similar;
pub mod training;
mod wide;
