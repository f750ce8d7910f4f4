//! Real gateways, played by stand-ins with bad days: money moves once, and the books agree.

mod outage;
mod stripe;
mod till;
mod webhooks;
mod wire;
