//! What Stripe lists: the first time backwards from the newest, then forwards from the newest that was looked at.

use std::sync::Arc;

use onrush_proto::Text;
use tokio::runtime::Handle;

use super::{Broken, LOOK_BACK, Reconciler, Report};
use crate::backend::Backend;
use crate::clock::now_us;
use crate::gateway::stripe::Since;
use crate::gateway::{GatewayKind, Gateways};

/// How far Stripe's list was read.
#[derive(Default)]
pub(super) struct Position {
    /// The newest intent that was looked at, with all before it.
    newest: Option<String>,
}

impl Reconciler {
    /// Enters the orders of what Stripe lists and was not looked at.
    pub(super) fn hear_stripe(
        &mut self,
        backend: &Backend,
        gateways: &Arc<Gateways>,
        report: &mut Report,
    ) -> Result<(), Broken> {
        let Some(stripe) = gateways.the_stripe() else { return Ok(()) };
        let from_us = now_us().saturating_sub(LOOK_BACK.as_micros() as u64);
        // Backwards, the newest one counts as looked at when the oldest one was.
        let (first, mut newest, mut oldest) = (self.stripe.newest.is_none(), None, None::<String>);
        loop {
            let since = match &self.stripe.newest {
                Some(newest) if !first => Since::After(newest),
                _ => Since::From { from_us, older_than: oldest.as_deref() },
            };
            let page = Handle::current().block_on(stripe.list(since)).map_err(Broken::Theirs)?;
            // Newest first.
            let (Some(new), Some(old)) = (page.first(), page.last()) else { break };
            let new = new.id.clone();
            oldest = Some(old.id.clone());
            for stranger in page.iter().filter(|entry| entry.order.is_none() && entry.took) {
                report.of(GatewayKind::Stripe).stranger(&stranger.id);
            }
            let named = page.iter().filter_map(|entry| Some((entry.order?, Text::new(&entry.id).ok()?)));
            self.enter_orders(backend, named.collect())?;
            match first {
                true => newest = newest.or(Some(new)),
                false => self.stripe.newest = Some(new),
            }
            if !self.make_room(gateways, report)? {
                return Ok(());
            }
        }
        if first {
            self.stripe.newest = newest;
        }
        Ok(())
    }
}
