//! The load generator: scenarios of a flash sale, an open-loop schedule, histograms, the audit
//! and the report.
//!
//! A [scenario](scenario) comes down to a plan: items, wishes, times and habits. The driver sends
//! what is due and takes what is answered; latency counts from the intended time. Afterwards the
//! audit holds the client's journal against the engine's books, and the report tells both.

mod asking;
mod audit;
mod catalogue;
mod cli;
mod cluster;
mod compare;
mod conduct;
mod crash;
mod demand;
mod driver;
mod figures;
mod gateway;
mod group;
mod journal;
mod machine;
mod meter;
mod number;
mod operation;
mod plan;
mod progress;
mod random;
mod recorder;
mod report;
mod run;
mod scenario;
mod schedule;
mod target;
mod watch;
mod webhooks;
mod zipf;

pub use run::main;
