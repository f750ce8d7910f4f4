//! A tonic server whose handlers do nothing but answer: what any call costs.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use onrush_grpc::money::v1::Money;
use onrush_grpc::order::v1::order_service_server::{OrderService, OrderServiceServer};
use onrush_grpc::order::v1::*;
use onrush_grpc::product::v1::product_service_server::{ProductService, ProductServiceServer};
use onrush_grpc::product::v1::*;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::Failure;

/// Calls that one connection may have open, as the services allow.
const STREAMS_PER_CONNECTION: u32 = 4_096;

/// The running server.
pub struct Bare {
    address: String,
    stop: watch::Sender<bool>,
    fronts: Vec<JoinHandle<()>>,
}

impl Bare {
    /// One thread and one socket per front, as the services have.
    pub fn start(fronts: usize) -> Result<Self, Failure> {
        let (stop, stopped) = watch::channel(false);
        let mut bare = Self { address: String::new(), stop, fronts: Vec::new() };
        let mut address = SocketAddr::from(([127, 0, 0, 1], 0));
        for _ in 0..fronts {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let listener = {
                let _context = runtime.enter();
                listen(address)?
            };
            address = listener.local_addr()?;
            let stopped = stopped.clone();
            let work = move || runtime.block_on(serve(listener, stopped));
            bare.fronts.push(std::thread::Builder::new().name("bare-front".into()).spawn(work)?);
        }
        bare.address = format!("http://{address}");
        Ok(bare)
    }

    /// Where it listens: `http://host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends it.
    pub fn stop(self) {
        self.stop.send_replace(true);
        for front in self.fronts {
            // A panic has been printed by the thread that had it.
            let _ = front.join();
        }
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.set_nodelay(true)?;
    socket.listen(4_096)
}

async fn serve(listener: TcpListener, mut stopped: watch::Receiver<bool>) {
    let ended = Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_adaptive_window(Some(true))
        .add_service(OrderServiceServer::new(Empty))
        .add_service(ProductServiceServer::new(Empty))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move {
            // An error means that the bench is over.
            let _ = stopped.wait_for(|stop| *stop).await;
        })
        .await;
    if let Err(error) = ended {
        println!("the bare server stopped: {error}");
    }
}

/// Handlers that look at nothing.
struct Empty;

/// What an answer of the services weighs.
fn price() -> Option<Money> {
    Some(Money { minor_units: 4_990, currency_code: "EUR".into() })
}

fn nothing<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the bare server answers what is measured"))
}

#[tonic::async_trait]
impl OrderService for Empty {
    async fn create_order(
        &self,
        request: Request<CreateOrderRequest>,
    ) -> Result<Response<CreateOrderResponse>, Status> {
        Ok(Response::new(CreateOrderResponse {
            request_id: request.into_inner().request_id,
            replayed: false,
            order_id: "0123456789abcdef0123456789abcdef".into(),
            total: price(),
            held_until_us: 1_800_000_000_000_000,
        }))
    }

    async fn process_payment(
        &self,
        _: Request<ProcessPaymentRequest>,
    ) -> Result<Response<ProcessPaymentResponse>, Status> {
        nothing()
    }

    async fn get_order_status(
        &self,
        _: Request<GetOrderStatusRequest>,
    ) -> Result<Response<GetOrderStatusResponse>, Status> {
        nothing()
    }

    async fn cancel_order(
        &self,
        _: Request<CancelOrderRequest>,
    ) -> Result<Response<CancelOrderResponse>, Status> {
        nothing()
    }

    async fn list_orders(
        &self,
        _: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        nothing()
    }
}

#[tonic::async_trait]
impl ProductService for Empty {
    async fn validate_products(
        &self,
        request: Request<ValidateProductsRequest>,
    ) -> Result<Response<ValidateProductsResponse>, Status> {
        let valid = |line: ProductLine| LineValidation {
            sku: line.sku,
            valid: true,
            reason: String::new(),
            available: 1 << 39,
            unit_price: price(),
        };
        let lines = request.into_inner().lines.into_iter().map(valid).collect();
        Ok(Response::new(ValidateProductsResponse { valid: true, lines }))
    }

    async fn get_product_details(
        &self,
        _: Request<GetProductDetailsRequest>,
    ) -> Result<Response<GetProductDetailsResponse>, Status> {
        nothing()
    }

    async fn update_stock(
        &self,
        _: Request<UpdateStockRequest>,
    ) -> Result<Response<UpdateStockResponse>, Status> {
        nothing()
    }

    async fn put_product(
        &self,
        _: Request<PutProductRequest>,
    ) -> Result<Response<PutProductResponse>, Status> {
        nothing()
    }

    async fn list_products(
        &self,
        _: Request<ListProductsRequest>,
    ) -> Result<Response<ListProductsResponse>, Status> {
        nothing()
    }
}
