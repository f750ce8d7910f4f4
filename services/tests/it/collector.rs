//! A collector of traces on a free port, over stubs that nobody here wrote.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::{Request, Response, Status};

/// What was heard: each span with the service that told of it.
#[derive(Clone, Default)]
pub(crate) struct Heard {
    told: Arc<Mutex<Vec<(String, Span)>>>,
}

#[tonic::async_trait]
impl TraceService for Heard {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for part in request.into_inner().resource_spans {
            let service = name(&part.resource.unwrap());
            let spans = part.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.told.lock().unwrap().extend(spans.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn name(resource: &Resource) -> String {
    let named = resource.attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
    match named.value.clone().unwrap().value.unwrap() {
        Value::StringValue(name) => name,
        other => panic!("expected a name, found {other:?}"),
    }
}

impl Heard {
    /// Starts to listen; where.
    pub(crate) async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        endpoint
    }

    /// Everything so far.
    pub(crate) fn told(&self) -> Vec<(String, Span)> {
        self.told.lock().unwrap().clone()
    }
}
