//! The gateways of this process, each behind a breaker and a bound of calls under way.

use std::time::Duration;

use onrush_proto::{Currency, GatewayResult, Text};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::decline::{self, kept as code};
use super::endpoint::EndpointError;
use super::method::{self, GatewayKind, Routes};
use super::paypal::{PayPal, PayPalOptions};
use super::stripe::{Stripe, StripeOptions};
use super::{
    Booked, Charge, Charged, Consent, Gateway, GatewayKey, Refunding, Seen, Simulated, Step, Trouble,
};
use crate::breaker::{Breaker, BreakerState};

/// How long one call may take before nobody knows.
const CALL_MAX: Duration = Duration::from_secs(30);
/// Calls under way at once at a real gateway.
const CALLS_MAX: usize = 256;
/// The pause while nobody takes what a reference names.
const UNCONFIGURED_PAUSE: Duration = Duration::from_secs(10);

/// Which real gateways there are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GatewayOptions {
    /// Stripe, if there is a key.
    pub stripe: Option<StripeOptions>,
    /// PayPal, if there is a key.
    pub paypal: Option<PayPalOptions>,
    /// Which gateway takes which currency.
    pub routes: Routes,
}

impl GatewayOptions {
    /// True if any real gateway is to be used.
    pub fn is_real(&self) -> bool {
        self.stripe.is_some() || self.paypal.is_some()
    }
}

/// Gateways that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// An API cannot be called.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

/// The gateways.
pub struct Gateways {
    all: Vec<Guarded>,
    routes: Routes,
}

struct Guarded {
    gateway: Gateway,
    breaker: Breaker,
    places: Semaphore,
}

impl Guarded {
    fn new(gateway: Gateway) -> Self {
        let places = match &gateway {
            // Its callers are bounded already, and its latency is made up.
            Gateway::Simulated(_) => Semaphore::MAX_PERMITS,
            Gateway::Stripe(_) | Gateway::PayPal(_) => CALLS_MAX,
        };
        Self { gateway, breaker: Breaker::new(), places: Semaphore::new(places) }
    }

    /// Makes a call, if the breaker lets it through.
    async fn call<T>(&self, call: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        // The semaphore is never closed.
        let Ok(_place) = self.places.acquire().await else { return Err(Trouble::NoAnswer) };
        let pass = self.breaker.admit(Instant::now()).map_err(Trouble::Untouched)?;
        let result = tokio::time::timeout(CALL_MAX, call).await.unwrap_or(Err(Trouble::NoAnswer));
        // One that has to wait for a buyer or a bank answers well; one that is busy wants to be left alone.
        let well = !matches!(result, Err(Trouble::NoAnswer | Trouble::Untouched(_)));
        pass.tell(Instant::now(), well);
        result
    }
}

impl Gateways {
    /// Only the simulated one.
    pub fn simulated(gateway: Simulated) -> Self {
        Self { all: vec![Guarded::new(Gateway::Simulated(Box::new(gateway)))], routes: Routes::default() }
    }

    /// The real ones.
    pub fn real(options: GatewayOptions) -> Result<Self, GatewayError> {
        let stripe = options.stripe.map(Stripe::new).transpose()?;
        let paypal = options.paypal.map(PayPal::new).transpose()?;
        let stripe = stripe.map(|gateway| Gateway::Stripe(Box::new(gateway)));
        let paypal = paypal.map(|gateway| Gateway::PayPal(Box::new(gateway)));
        let all = stripe.into_iter().chain(paypal).map(Guarded::new).collect();
        Ok(Self { all, routes: options.routes })
    }

    /// What an operator should know at start.
    pub fn notice(&self) -> String {
        self.all.iter().map(|each| each.gateway.notice()).collect::<Vec<_>>().join("\n")
    }

    /// Each gateway.
    pub fn each(&self) -> impl Iterator<Item = &Gateway> {
        self.all.iter().map(|each| &each.gateway)
    }

    /// Where each gateway's breaker stands, for measures.
    pub fn breakers(&self) -> impl Iterator<Item = (GatewayKind, BreakerState)> {
        let now = Instant::now();
        self.all.iter().map(move |each| (each.gateway.kind(), each.breaker.state(now)))
    }

    /// The simulated gateway, if it is in use.
    pub fn the_simulated(&self) -> Option<&Simulated> {
        self.each().find_map(|gateway| match gateway {
            Gateway::Simulated(gateway) => Some(&**gateway),
            Gateway::Stripe(_) | Gateway::PayPal(_) => None,
        })
    }

    /// Stripe, if it is in use.
    pub fn the_stripe(&self) -> Option<&Stripe> {
        self.each().find_map(|gateway| match gateway {
            Gateway::Stripe(gateway) => Some(&**gateway),
            Gateway::Simulated(_) | Gateway::PayPal(_) => None,
        })
    }

    /// PayPal, if it is in use.
    pub fn the_paypal(&self) -> Option<&PayPal> {
        self.each().find_map(|gateway| match gateway {
            Gateway::PayPal(gateway) => Some(&**gateway),
            Gateway::Simulated(_) | Gateway::Stripe(_) => None,
        })
    }

    /// Asks for money; where an earlier call may have arrived, asks first what became of it.
    pub async fn charge(&self, charge: &Charge, asked: bool, call: u32) -> Result<Charged, Trouble> {
        let token = method::first(&charge.method);
        let Some(guarded) = self.of_token(token, (!asked).then_some(charge.amount.currency)) else {
            // What was asked before and is at nobody's now is not known to be free of effects.
            return match asked {
                true => Err(Trouble::Untouched(UNCONFIGURED_PAUSE)),
                false => Ok(Charged::Done(GatewayResult::Declined { code: code(decline::NO_ROUTE) })),
            };
        };
        if asked && let Some(result) = guarded.call(guarded.gateway.find_charge(charge, call)).await? {
            return Ok(result);
        }
        guarded.call(guarded.gateway.charge(charge, call)).await
    }

    /// How the buyer stands to a charge that is to be approved.
    pub(super) async fn consent(&self, charge: &Charge, reference: &str) -> Result<Consent, Trouble> {
        let guarded = self.of_reference(charge.key, reference)?;
        guarded.call(guarded.gateway.consent(reference)).await
    }

    /// Takes the money of a charge that the buyer approved.
    pub(super) async fn take(&self, charge: &Charge, reference: &str) -> Result<GatewayResult, Trouble> {
        let guarded = self.of_reference(charge.key, reference)?;
        guarded.call(guarded.gateway.take(charge, reference)).await
    }

    /// Calls off a charge that is to be approved.
    pub(super) async fn abandon(&self, charge: &Charge, reference: &str) -> Result<GatewayResult, Trouble> {
        let guarded = self.of_reference(charge.key, reference)?;
        guarded.call(guarded.gateway.abandon(charge, reference)).await
    }

    /// Takes (a part of) an authorised amount.
    pub async fn capture(&self, step: &Step, asked: bool, call: u32) -> Result<GatewayResult, Trouble> {
        let guarded = self.of_step(step)?;
        guarded.call(guarded.gateway.capture(step, asked, call)).await
    }

    /// Gives an authorised amount back.
    pub async fn void(&self, step: &Step, asked: bool, call: u32) -> Result<(), Trouble> {
        let guarded = self.of_step(step)?;
        guarded.call(guarded.gateway.void(step, asked, call)).await
    }

    /// Gives taken money back; false if the gateway refuses.
    pub async fn refund(&self, refund: &Refunding, asked: bool, call: u32) -> Result<bool, Trouble> {
        if let [first, others @ ..] = &refund.charges[..]
            && (others.is_empty() || self.the_simulated().is_some())
        {
            let step = refund.of(*first);
            let guarded = self.of_step(&step)?;
            return guarded.call(guarded.gateway.refund(&step, asked, call)).await;
        }
        // Several charges brought money: it goes back from where it was begun before, or from the first
        // that has so much left.
        for charge in refund.charges.iter().filter(|_| asked) {
            let step = refund.of(*charge);
            let guarded = self.of_step(&step)?;
            if let Some(done) = guarded.call(guarded.gateway.find_refund(&step)).await? {
                return Ok(done);
            }
        }
        for charge in &refund.charges {
            let step = refund.of(*charge);
            let guarded = self.of_step(&step)?;
            let booked =
                guarded.call(guarded.gateway.booked(charge.as_str(), refund.amount.currency)).await?;
            if booked.captured - booked.refunded >= refund.amount.minor {
                return guarded.call(guarded.gateway.refund(&step, asked, call)).await;
            }
        }
        tracing::error!(key = %refund.key, "no charge of this order has so much left to give back");
        Ok(false)
    }

    /// What a charge that a push names says now of the attempt it is for; `None` if it is for none of ours.
    pub(super) async fn look(&self, kind: GatewayKind, name: &str) -> Result<Option<Seen>, Trouble> {
        let Some(guarded) = self.all.iter().find(|each| each.gateway.kind() == kind) else { return Ok(None) };
        match &guarded.gateway {
            Gateway::Simulated(_) => Ok(None),
            Gateway::Stripe(gateway) => guarded.call(gateway.look(name)).await,
            Gateway::PayPal(gateway) => guarded.call(gateway.look(name)).await,
        }
    }

    /// What the books of its gateway say of a charge.
    pub(super) async fn booked(&self, reference: &str, currency: Currency) -> Result<Booked, Trouble> {
        let kind = GatewayKind::of_reference(reference);
        match self.all.iter().find(|each| Some(each.gateway.kind()) == kind) {
            Some(guarded) => guarded.call(guarded.gateway.booked(reference, currency)).await,
            None => Err(Trouble::Untouched(UNCONFIGURED_PAUSE)),
        }
    }

    /// The code to decline an attempt with that never reached its gateway, if another gateway takes its
    /// next token now.
    pub(super) fn elsewhere(&self, charge: &Charge) -> Option<Text<31>> {
        let rest = method::rest(&charge.method);
        let next = self.of_token(method::first(&rest), Some(charge.amount.currency))?;
        let free = next.breaker.state(Instant::now()) == BreakerState::Closed;
        let here = self.of_token(method::first(&charge.method), None)?;
        (free && next.gateway.kind() != here.gateway.kind()).then(|| code(decline::UNAVAILABLE))
    }

    /// The gateway of a token; if a currency is given, one that takes it.
    fn of_token(&self, token: &str, currency: Option<Currency>) -> Option<&Guarded> {
        let simulated = self.all.iter().find(|each| each.gateway.kind() == GatewayKind::Simulated);
        if simulated.is_some() {
            return simulated.filter(|_| !token.is_empty());
        }
        let kind = GatewayKind::of_token(token)?;
        let allowed = currency.is_none_or(|currency| self.routes.allow(kind, currency));
        self.all.iter().find(|each| each.gateway.kind() == kind).filter(|_| allowed)
    }

    fn of_step(&self, step: &Step) -> Result<&Guarded, Trouble> {
        self.of_reference(step.key, step.reference.as_str())
    }

    fn of_reference(&self, key: GatewayKey, reference: &str) -> Result<&Guarded, Trouble> {
        let kind = GatewayKind::of_reference(reference);
        let takes = |each: &&Guarded| Some(each.gateway.kind()) == kind;
        self.all.iter().find(takes).ok_or_else(|| {
            tracing::error!(%key, reference, "no gateway of ours knows this charge");
            Trouble::Untouched(UNCONFIGURED_PAUSE)
        })
    }
}
