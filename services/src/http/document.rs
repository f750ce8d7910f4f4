//! `/openapi.json` and the pages of `/docs`, which are compiled in and load nothing from elsewhere.

use axum::Router;
use utoipa::OpenApi as _;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::Problem;
use crate::config::Service;

const PATH: &str = "/openapi.json";
const JSON_TYPE: &str = "application/json";
const PROBLEM_TYPE: &str = "application/problem+json";
/// The name of a response that is a problem.
const REFUSED: &str = "Refused";
/// What any call may be refused with.
const STATUSES: [&str; 3] = ["429", "500", "503"];
/// What one with a body may be refused with besides.
const BODY_STATUSES: [&str; 4] = ["400", "408", "413", "415"];

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

/// What holds for every operation: refusals are problems, and the edge refuses by itself too.
pub(super) fn complete(mut api: OpenApi) -> OpenApi {
    let components = api.components.get_or_insert_with(Components::default);
    components.responses.insert(REFUSED.into(), refused().into());
    for item in api.paths.paths.values_mut() {
        let of_method = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in of_method.into_iter().flatten() {
            let with_body = operation.request_body.is_some();
            let known = &mut operation.responses.responses;
            for response in known.values_mut() {
                if let RefOr::T(response) = response {
                    name_problems(response);
                }
            }
            if known.contains_key("default") {
                continue;
            }
            let of_body = BODY_STATUSES.iter().filter(|_| with_body);
            for status in STATUSES.iter().chain(of_body) {
                let refused = || RefOr::Ref(Ref::from_response_name(REFUSED));
                known.entry((*status).to_owned()).or_insert_with(refused);
            }
        }
    }
    api
}

fn refused() -> Response {
    ResponseBuilder::new()
        .description("Refused, by a reason of docs/api/reasons.md")
        .content(PROBLEM_TYPE, Content::new(Some(Ref::from_schema_name("Problem"))))
        .build()
}

/// Problems have a media type of their own.
fn name_problems(response: &mut Response) {
    let is_problem = |content: &RefOr<Content>| match content {
        RefOr::T(Content { schema: Some(RefOr::Ref(schema)), .. }) => {
            schema.ref_location.ends_with("/Problem")
        }
        _ => false,
    };
    if response.content.get(JSON_TYPE).is_some_and(is_problem)
        && let Some(content) = response.content.shift_remove(JSON_TYPE)
    {
        response.content.insert(PROBLEM_TYPE.into(), content);
    }
}

/// Method and route of everything that a document has, and of the document and its pages themselves.
pub(super) fn calls(api: &OpenApi) -> Vec<(String, String)> {
    let mut calls: Vec<(String, String)> =
        [PATH, "/docs", "/docs/", "/docs/{*rest}"].map(|route| ("GET".to_owned(), route.to_owned())).into();
    for (route, item) in &api.paths.paths {
        let methods = [
            ("GET", &item.get),
            ("PUT", &item.put),
            ("POST", &item.post),
            ("DELETE", &item.delete),
            ("PATCH", &item.patch),
        ];
        let there = methods.into_iter().filter(|(_, operation)| operation.is_some());
        calls.extend(there.map(|(method, _)| (method.to_owned(), route.clone())));
    }
    calls
}

pub(super) fn pages(api: OpenApi) -> Router {
    // "none" keeps the page from asking a validator on the net.
    let config = Config::default().validator_url("none");
    SwaggerUi::new("/docs").url(PATH, api).config(config).into()
}
