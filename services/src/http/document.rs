//! `/openapi.json` and the pages of `/docs`, which are compiled in and load nothing from elsewhere.

use axum::Router;
use utoipa::OpenApi as _;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::Problem;
use crate::config::Service;

const PATH: &str = "/openapi.json";

#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(Problem)))]
struct Base;

/// What stands in every service's document.
pub(super) fn frame(service: Service) -> OpenApi {
    let mut api = Base::openapi();
    api.info.title = format!("Onrush {}", service.name());
    api.info.version = env!("CARGO_PKG_VERSION").into();
    api.info.description = Some(format!(
        "What the {} service answers over HTTP, beside {} over gRPC on the same port. Every refusal is a \
         problem (RFC 9457) whose reason stands in docs/api/reasons.md. X-Request-Id and X-Correlation-Id \
         are said back.",
        service.name(),
        service.grpc_name()
    ));
    api.info.license = None;
    api.info.contact = None;
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let components = api.components.get_or_insert_with(Components::default);
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    api
}

pub(super) fn pages(api: OpenApi) -> Router {
    // "none" keeps the page from asking a validator on the net.
    let config = Config::default().validator_url("none");
    SwaggerUi::new("/docs").url(PATH, api).config(config).into()
}
