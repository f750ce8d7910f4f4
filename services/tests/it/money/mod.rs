//! Real gateways, played by stand-ins with bad days: money moves once, and the books agree.

mod approvals;
mod failover;
mod outage;
mod paypal;
mod paypal_late;
mod paypal_webhooks;
mod purse;
mod stand;
mod stripe;
mod till;
mod wallet;
mod webhooks;
