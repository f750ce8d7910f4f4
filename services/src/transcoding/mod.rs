//! The calls of gRPC as `POST /<package.Service>/<Method>` with bodies in JSON: the shape of the Connect
//! protocol's unary calls, for whoever has no gRPC.
//!
//! A call is read by its descriptor and goes to the very handler that gRPC reaches, by way of a client
//! in the same process: what a handler checks is checked here too. Only what is refused looks
//! different: a problem (RFC 9457) of the one table of reasons, or Connect's error for its clients.

mod call;
mod codec;
mod comments;
mod document;
mod example;
mod read;
mod refused;
mod terms;
mod write;

use std::convert::Infallible;
use std::sync::LazyLock;

use axum::extract::{Request, State};
use axum::routing::post;
use onrush_grpc::DESCRIPTORS;
use prost_reflect::{DescriptorError, DescriptorPool, DynamicMessage, ServiceDescriptor};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::uri::PathAndQuery;
use utoipa_axum::router::OpenApiRouter;

use self::call::Call;
use crate::http::Routes;

/// What is known of all messages and calls.
static POOL: LazyLock<Result<DescriptorPool, DescriptorError>> = LazyLock::new(|| {
    let mut pool = DescriptorPool::decode(DESCRIPTORS)?;
    pool.decode_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)?;
    Ok(pool)
});

/// The calls of these services, answered by `grpc`.
pub(crate) fn routes<S>(services: &[&str], grpc: &S) -> Routes
where
    S: Service<axum::http::Request<Body>, Response = axum::http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    let services = found(services);
    let mut routes: OpenApiRouter = OpenApiRouter::with_openapi(document::document(&services));
    for method in services.iter().flat_map(ServiceDescriptor::methods) {
        let text = document::path(&method);
        let Ok(path) = PathAndQuery::try_from(text.as_str()) else { continue };
        let call = Call { method, path, grpc: grpc.clone() };
        let answer = |State(call): State<Call<S>>, request: Request| call.answer(request);
        routes = routes.merge(OpenApiRouter::new().route(&text, post(answer)).with_state(call));
    }
    routes
}

/// Method and service of every call of these services, streams too.
pub(crate) fn methods(services: &[&str]) -> Vec<(String, String)> {
    let services = found(services);
    let methods = services.iter().flat_map(ServiceDescriptor::methods);
    methods.map(|method| (method.name().into(), method.parent_service().full_name().into())).collect()
}

/// An encoded message of this full name as JSON; `None` if it is none.
pub(crate) fn json(name: &str, message: &[u8]) -> Option<String> {
    let kind = POOL.as_ref().ok()?.get_message_by_name(name)?;
    let message = DynamicMessage::decode(kind, message).ok()?;
    serde_json::to_string(&write::Written(&message)).ok()
}

/// The descriptors are compiled in and checked by a test; without them only these routes are missing.
fn found(services: &[&str]) -> Vec<ServiceDescriptor> {
    match &*POOL {
        Ok(pool) => services.iter().filter_map(|name| pool.get_service_by_name(name)).collect(),
        Err(error) => {
            tracing::error!(%error, "calls are not served in JSON");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests;
