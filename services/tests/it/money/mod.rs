//! Real gateways, played by stand-ins with bad days: money moves once, and the books agree.

mod failover;
mod outage;
mod paypal;
mod purse;
mod stripe;
mod till;
mod webhooks;
