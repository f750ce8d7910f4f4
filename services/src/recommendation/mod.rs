//! `onrush.recommendation.v1.RecommendationService`, and what stands behind it: counters that learn from
//! the log, charts made of them, and a ranking with reasons.

mod board;
mod counters;
mod evidence;
mod held_out;
mod knowledge;
mod learner;
mod learning;
mod live;
mod mix;
mod ml;
mod models;
mod operation;
mod outlook;
mod preferences;
mod profiles;
mod purchase;
mod question;
mod rank;
mod scorers;
mod snapshot;
mod together;
mod training;
mod window;
pub mod worker;

use std::collections::HashSet;
use std::sync::Arc;

use onrush_grpc::recommendation::v1 as wire;
use onrush_grpc::recommendation::v1::recommendation_service_server::{
    RecommendationService, RecommendationServiceServer,
};
use onrush_grpc::recommendation::v1::{
    CancelOperationRequest, CancelOperationResponse, GetModelRequest, GetModelResponse, GetOperationRequest,
    GetOperationResponse, GetRecommendationsRequest, GetRecommendationsResponse, GetSimilarProductsRequest,
    GetSimilarProductsResponse, GetTrendsRequest, GetTrendsResponse, GetUserPreferencesRequest,
    GetUserPreferencesResponse, TrainModelRequest, TrainModelResponse, UpdateUserPreferencesRequest,
    UpdateUserPreferencesResponse,
};
use onrush_proto::{CategoryName, CustomerId, Refusal, Sku};
use tonic::codegen::http::HeaderMap;
use tonic::{Request, Response, Status};

pub use learner::Learner;
pub use ml::{Ml, ModelFile, NotReady};

use crate::access::{Call, Gate, unauthenticated};
use crate::backend::Backend;
use crate::clock::now_us;
use crate::field::{self, FieldError};
use crate::serve::MESSAGE_BYTES_MAX;
use crate::status::Rejection;
use board::Shown;
use knowledge::Knowledge;
use live::{Live, Page};
use models::Refused;
use operation::Operation;
use preferences::{EXCLUDED_MAX, NAMES_MAX, Preferences, names};
use rank::{Asked, Filter, Place};
use window::Window;

/// How many of the best are put in order at first, beside the places of the page.
const RANKED_FIRST: usize = 64;
/// Products that are looked for first that are like another, beside twice the places of the page.
const SIMILAR_FIRST: usize = 24;
/// Products of a page if the caller does not say.
const PAGE_SIZE_DEFAULT: usize = 20;
/// Most products of a page.
const PAGE_SIZE_MAX: usize = 200;
/// Most products that are looked at, or lie in a basket.
const SKUS_MAX: usize = 100;

/// The handlers.
pub struct Recommendations {
    backend: Backend,
    learner: Arc<Learner>,
    gate: Arc<Gate>,
}

impl Recommendations {
    /// The service, ready to be served.
    pub fn server(
        backend: Backend,
        learner: Arc<Learner>,
        gate: Arc<Gate>,
    ) -> RecommendationServiceServer<Self> {
        RecommendationServiceServer::new(Self { backend, learner, gate })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// For whom: the caller or whom they name; `None` for a visitor.
    fn visitor(&self, headers: &HeaderMap, named: &str) -> Result<Option<CustomerId>, Rejection> {
        match self.gate.visit(headers, Call::GetRecommendations)? {
            None if named.is_empty() => Ok(None),
            None => Err(unauthenticated().into()),
            // The operator is nobody's customer.
            Some(caller) if named.is_empty() && caller.name().is_empty() => Ok(None),
            Some(caller) => Ok(Some(caller.customer(named)?)),
        }
    }

    async fn recommend(
        &self,
        customer: Option<CustomerId>,
        body: GetRecommendationsRequest,
    ) -> Result<GetRecommendationsResponse, Rejection> {
        let limit = page_size(body.page_size)?;
        let (place, skus) = place(body.context, &body.skus)?;
        let mut filter = filter(body.filter)?;
        let preferences = match &customer {
            Some(customer) => Preferences::of(&self.backend, customer).await?.value,
            None => Preferences::default(),
        };
        filter.excluded.extend(preferences.excluded().chain(skus.iter().copied()));
        let asked = Asked { customer, preferences, place, skus, filter, now_us: now_us() };
        let asked = Arc::new(asked);
        let personalised = asked.is_personal();
        let mut most = RANKED_FIRST + 2 * limit;
        loop {
            let board = self.learner.board();
            let mut ranked = self.learner.rank(&asked, &board, most).await?;
            let is_all = ranked.is_all;
            let page = live::page(&self.backend, &asked, &mut ranked, &board, limit).await;
            ranked.give_back();
            let Page { products, ran_out } = page?;
            if is_all || !ran_out {
                return Ok(GetRecommendationsResponse { products, personalised });
            }
            // Much of the best is sold out.
            most = usize::MAX;
        }
    }

    async fn trends(&self, body: GetTrendsRequest) -> Result<GetTrendsResponse, Rejection> {
        let limit = page_size(body.page_size)?;
        let window = Window::read("window", body.window)?;
        let category: CategoryName = field::text("category", &body.category)?;
        let board = self.learner.board();
        let chart = board.chart(window);
        let listed = if category.is_empty() { &chart.all } else { chart.category(&category) };
        let listed: Vec<(Shown, u64)> =
            listed.iter().map(|charted| (charted.shown, charted.orders)).collect();
        let live = Live::of(&self.backend, listed, None).take(limit).await?;
        let product = |((shown, orders), price): ((Shown, u64), _)| wire::TrendingProduct {
            sku: shown.sku.to_string(),
            category: shown.category.to_string(),
            brand: shown.brand.to_string(),
            unit_price: Some(field::money_message(price)),
            orders,
        };
        Ok(GetTrendsResponse { products: live.into_iter().map(product).collect() })
    }

    async fn similar(
        &self,
        body: GetSimilarProductsRequest,
    ) -> Result<GetSimilarProductsResponse, Rejection> {
        let limit = page_size(body.page_size)?;
        let sku: Sku = field::name("sku", &body.sku)?;
        if self.backend.product(&sku).await?.is_none() {
            return Err(Refusal::UnknownProduct.into());
        }
        // Some are sold out.
        let most = SIMILAR_FIRST + 2 * limit;
        let found = self.learner.ask(move |knowledge| similar_to(knowledge, &sku, most)).await?;
        let live = Live::of(&self.backend, found, None).take(limit).await?;
        let product = |((shown, orders), price): ((Shown, u64), _)| wire::SimilarProduct {
            sku: shown.sku.to_string(),
            category: shown.category.to_string(),
            brand: shown.brand.to_string(),
            unit_price: Some(field::money_message(price)),
            orders,
        };
        Ok(GetSimilarProductsResponse { products: live.into_iter().map(product).collect() })
    }
}

#[tonic::async_trait]
impl RecommendationService for Recommendations {
    async fn get_recommendations(
        &self,
        request: Request<GetRecommendationsRequest>,
    ) -> Result<Response<GetRecommendationsResponse>, Status> {
        let customer = self.visitor(request.metadata().as_ref(), &request.get_ref().customer_id)?;
        Ok(Response::new(self.recommend(customer, request.into_inner()).await?))
    }

    async fn get_trends(
        &self,
        request: Request<GetTrendsRequest>,
    ) -> Result<Response<GetTrendsResponse>, Status> {
        Ok(Response::new(self.trends(request.into_inner()).await?))
    }

    async fn get_similar_products(
        &self,
        request: Request<GetSimilarProductsRequest>,
    ) -> Result<Response<GetSimilarProductsResponse>, Status> {
        Ok(Response::new(self.similar(request.into_inner()).await?))
    }

    async fn update_user_preferences(
        &self,
        request: Request<UpdateUserPreferencesRequest>,
    ) -> Result<Response<UpdateUserPreferencesResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::UpdateUserPreferences)?;
        let body = request.into_inner();
        let customer = caller.customer(&body.customer_id)?;
        let preferences = Preferences::read(body.preferences)?;
        preferences.check(&self.learner.board(), &self.backend).await?;
        let version = preferences.put(&self.backend, &customer, body.version).await?;
        Ok(Response::new(UpdateUserPreferencesResponse { version }))
    }

    async fn get_user_preferences(
        &self,
        request: Request<GetUserPreferencesRequest>,
    ) -> Result<Response<GetUserPreferencesResponse>, Status> {
        let caller = self.gate.admit(request.metadata().as_ref(), Call::GetUserPreferences)?;
        let customer = caller.customer(&request.get_ref().customer_id)?;
        let found = Preferences::of(&self.backend, &customer).await?;
        let (preferences, version) = (Some(found.value.message()), found.version);
        Ok(Response::new(GetUserPreferencesResponse { preferences, version }))
    }

    async fn train_model(
        &self,
        request: Request<TrainModelRequest>,
    ) -> Result<Response<TrainModelResponse>, Status> {
        self.gate.admit(request.metadata().as_ref(), Call::TrainModel)?;
        let (learner, measure_only) = (self.learner.clone(), request.get_ref().measure_only);
        let work = move |operation: Arc<Operation>| training::run(&learner, &operation, measure_only);
        let operation = self.learner.operations.begin(work)?;
        Ok(Response::new(TrainModelResponse { operation: Some(operation.message()) }))
    }

    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<GetOperationResponse>, Status> {
        self.gate.admit(request.metadata().as_ref(), Call::GetOperation)?;
        let operation = self.learner.operations.find(&request.get_ref().operation_id)?;
        Ok(Response::new(GetOperationResponse { operation: Some(operation.message()) }))
    }

    async fn cancel_operation(
        &self,
        request: Request<CancelOperationRequest>,
    ) -> Result<Response<CancelOperationResponse>, Status> {
        self.gate.admit(request.metadata().as_ref(), Call::CancelOperation)?;
        let operation = self.learner.operations.cancel(&request.get_ref().operation_id)?;
        Ok(Response::new(CancelOperationResponse { operation: Some(operation.message()) }))
    }

    async fn get_model(
        &self,
        request: Request<GetModelRequest>,
    ) -> Result<Response<GetModelResponse>, Status> {
        self.gate.admit(request.metadata().as_ref(), Call::GetModel)?;
        let ends = self.backend.ends().await?;
        let answer = self.learner.later(move |learner| {
            let (version, refused) = (learner.version(), learner.refused());
            let records_behind = learner.records_behind(&ends);
            learner.look(|knowledge| {
                let network = knowledge.network();
                let counted = knowledge.counters.counted();
                GetModelResponse {
                    version,
                    weights: Some(knowledge.mix.message()),
                    ml_ready: network.is_some() || knowledge.named().ranker().is_some(),
                    ml_detail: ranking(knowledge, version, &refused),
                    products: counted.products.len() as u64,
                    customers: counted.customers.len() as u64,
                    purchases: counted.purchases,
                    records_behind,
                }
            })
        });
        let answer = answer.await?;
        Ok(Response::new(answer))
    }
}

/// What ranks, or why no model does; and which newer ones cannot.
fn ranking(knowledge: &Knowledge, version: u64, refused: &[Refused]) -> String {
    let ranks = match knowledge.network() {
        Some(model) => learning::told(&model.origin),
        None if !refused.is_empty() => "history and trends rank".to_owned(),
        None if version > 0 => "history and trends rank: this version has no model".to_owned(),
        None => knowledge.named().in_short().to_owned(),
    };
    refused.iter().fold(ranks, |told, refused| format!("{told}; {refused}"))
}

/// What is bought together with a product, the most often first, with how many orders have both; then what is like it
/// by the model, with none.
fn similar_to(knowledge: &Knowledge, sku: &Sku, most: usize) -> Vec<(Shown, u64)> {
    let counters = &knowledge.counters;
    let Some(place) = counters.place_of(sku) else { return Vec::new() };
    let sold = counters.product(place).and_then(|product| product.sold.as_ref());
    let neighbours = sold.iter().flat_map(|sold| &sold.together.neighbours);
    let named = neighbours
        .filter_map(|found| Some((Shown::of(counters.product(found.product)?), u64::from(found.orders()))));
    let mut found: Vec<(Shown, u64)> = named.collect();
    found.sort_unstable_by(|(a, more), (b, less)| less.cmp(more).then(a.sku.cmp(&b.sku)));
    let mut known: HashSet<Sku> = found.iter().map(|(shown, _)| shown.sku).collect();
    knowledge.similar(place, most, |place| {
        let shown = counters.product(place).map(Shown::of);
        found.extend(shown.filter(|shown| known.insert(shown.sku)).map(|shown| (shown, 0)));
    });
    found
}

fn page_size(value: i32) -> Result<usize, FieldError> {
    match usize::try_from(value) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(size) if size <= PAGE_SIZE_MAX => Ok(size),
        _ => Err(FieldError::invalid("page_size", format!("0 to {PAGE_SIZE_MAX}"), value.to_string())),
    }
}

/// Where it is shown, with what is looked at there.
fn place(context: i32, skus: &[String]) -> Result<(Place, Vec<Sku>), FieldError> {
    let mut skus = names("skus", skus, SKUS_MAX)?;
    let wrong = |expected| FieldError::invalid("skus", expected, skus.len().to_string());
    match (field::choice("context", context)?, skus.len()) {
        (wire::Context::Unspecified | wire::Context::Home, 0) => Ok((Place::Home, skus)),
        (wire::Context::Unspecified | wire::Context::Home, _) => Err(wrong("none for the first page")),
        (wire::Context::ProductPage, 0) => Err(wrong("the product of the page").because("MISSING_FIELD")),
        (wire::Context::ProductPage, 1) => Ok((Place::ProductPage, skus)),
        (wire::Context::ProductPage, _) => Err(wrong("the one product of the page")),
        (wire::Context::Basket, _) => {
            // Twice in the basket is no more together with the rest.
            skus.sort_unstable();
            skus.dedup();
            Ok((Place::Basket, skus))
        }
    }
}

fn filter(message: Option<wire::CandidateFilter>) -> Result<Filter, FieldError> {
    let Some(message) = message else { return Ok(Filter::default()) };
    let price = "filter.max_unit_price";
    let max_unit_price = message.max_unit_price.as_ref().map(|max| field::money(price, Some(max)));
    Ok(Filter {
        categories: names("filter.categories", &message.categories, NAMES_MAX)?,
        brands: names("filter.brands", &message.brands, NAMES_MAX)?,
        excluded: names("filter.excluded_skus", &message.excluded_skus, EXCLUDED_MAX)?.into_iter().collect(),
        max_unit_price: max_unit_price.transpose()?,
    })
}
