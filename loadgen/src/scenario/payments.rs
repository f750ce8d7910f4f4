//! `payments`: the gateway misbehaves.

use super::{PLENTY, PlanError, hold_us};
use crate::cli::PaymentsArgs;
use crate::demand::{Demand, Hot};
use crate::gateway::{GatewayDays, Spell};
use crate::plan::{Item, Payer, Plan, Special, Times};
use crate::schedule::Curve;

/// Offered orders per second.
const RATE: u32 = 300;
const DURATION_S: f64 = 8.0;
const SKUS: u32 = 100;
/// Share of attempts declined, and of calls that get no answer.
const DECLINE: f64 = 0.12;
const UNKNOWN: f64 = 0.02;
/// Where the bad spells begin, in parts of the run.
const BROWNOUT_AT: f64 = 0.25;
const OUTAGE_AT: f64 = 0.6;
/// Share of calls that a brown-out takes.
const BROWNOUT: f64 = 0.5;

/// An even crowd that pays at once.
pub(super) fn plan(args: &PaymentsArgs) -> Result<Plan, PlanError> {
    let common = &args.common;
    if let Some(elsewhere) = common.target.as_ref().filter(|target| target.is_elsewhere()) {
        return Err(PlanError::Gateway { scenario: "payments", found: elsewhere.name() });
    }
    if args.gateway_p99 < args.gateway_p50 {
        return Err(PlanError::Percentiles { p50: args.gateway_p50, p99: args.gateway_p99 });
    }
    let duration_s = common.duration.unwrap_or(DURATION_S);
    let curve = Curve::flat(f64::from(common.rate.unwrap_or(RATE)), duration_s);
    let (skus, stock) = (common.skus.unwrap_or(SKUS), common.stock.unwrap_or(PLENTY));
    let demand = Demand::Hot(Hot {
        hot: skus,
        items: skus,
        share: 1.0,
        customers: (curve.expected() as u32).max(100),
        eager: 1,
        eager_share: 0.0,
        quantity_max: 2,
    });
    let gateway = GatewayDays {
        seed: common.seed,
        decline: DECLINE,
        unknown: UNKNOWN,
        p50_s: f64::from(args.gateway_p50) / 1e3,
        p99_s: f64::from(args.gateway_p99) / 1e3,
        brownout: Spell { at_s: BROWNOUT_AT * duration_s, length_s: args.brownout_s, share: BROWNOUT },
        outage: Spell { at_s: OUTAGE_AT * duration_s, length_s: args.outage_s, share: 1.0 },
    };
    Ok(Plan {
        scenario: "payments",
        seed: common.seed,
        duration_s,
        start_s: 0.0,
        items: (1..=skus).map(|number| Item::numbered("item", number, stock, 0)).collect(),
        demand,
        times: Times::Along(curve),
        reads: None,
        // Declines are the gateway's, wherever it is.
        payer: Payer { never: 0.0, within_s: 0.2, gateway_s: 0.0, decline: 0.0 },
        impatience: None,
        sells_out: 0,
        hold_us: hold_us(common, 0.0),
        special: Special { gateway: Some(gateway), settles: true, ..Special::default() },
    })
}
