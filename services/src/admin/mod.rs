//! `onrush.admin.v1.AdminService`: answered to callers on this machine only.

mod cluster;

use std::sync::{Arc, Mutex, PoisonError};

use onrush_engine::{AuditReport, EngineStats};
use onrush_grpc::admin::v1::admin_service_server::{AdminService, AdminServiceServer};
use onrush_grpc::admin::v1::{
    AuditRequest, AuditResponse, ChangeMembersRequest, ChangeMembersResponse, GatewayBooks,
    GetClusterRequest, GetClusterResponse, GetStockRequest, GetStockResponse, HandOverRequest,
    HandOverResponse, ListStockChangesRequest, ListStockChangesResponse, PlaceNodeRequest, PlaceNodeResponse,
    ReconcileRequest, ReconcileResponse, StageTimes, StateCount, StatsRequest, StatsResponse, StockChange,
};
use onrush_proto::{Command, Outcome, StockRow};
use tonic::{Request, Response, Status};

use crate::access::{Access, Call, Gate};
use crate::backend::{Backend, off_front, unexpected};
use crate::cluster::Node;
use crate::field;
use crate::gateway::Gateways;
use crate::gateway::reconcile::{Compared, Reconciler};
use crate::page;
use crate::status::{Denial, Rejection};

/// The handlers.
pub struct Admin {
    backend: Backend,
    /// None if this process does not serve payments.
    gateways: Option<Arc<Gateways>>,
    reconciler: Arc<Mutex<Reconciler>>,
    /// None if this process is no node of a cluster.
    node: Option<Arc<Node>>,
    gate: Arc<Gate>,
}

impl Admin {
    /// The service, ready to be served.
    pub(crate) fn server(
        backend: Backend,
        gateways: Option<Arc<Gateways>>,
        (reconciler, node): (Arc<Mutex<Reconciler>>, Option<Arc<Node>>),
        gate: Arc<Gate>,
    ) -> AdminServiceServer<Self> {
        AdminServiceServer::new(Self { backend, gateways, reconciler, node, gate })
    }

    /// Somebody on this machine who may make the call: whoever takes a proxy's place here is stopped
    /// by the second condition.
    fn admit<T>(&self, request: &Request<T>, call: Call) -> Result<(), Rejection> {
        local_only(request)?;
        self.gate.admit(request.metadata().as_ref(), call)?;
        Ok(())
    }

    /// The same, or somebody elsewhere who shows by a token that they may: nodes of a cluster are on several machines.
    fn admit_operator<T>(&self, request: &Request<T>, call: Call) -> Result<(), Rejection> {
        if self.gate.access() == Access::Open {
            local_only(request)?;
        }
        self.gate.admit(request.metadata().as_ref(), call)?;
        Ok(())
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn audit(&self, request: Request<AuditRequest>) -> Result<Response<AuditResponse>, Status> {
        self.admit(&request, Call::Audit)?;
        let backend = self.backend.clone();
        let report = off_front(move || backend.audit()).await?.ok_or_else(elsewhere)?;
        Ok(Response::new(audit(report.map_err(|error| Rejection::Internal(error.to_string()))?)))
    }

    async fn get_stock(
        &self,
        request: Request<GetStockRequest>,
    ) -> Result<Response<GetStockResponse>, Status> {
        self.admit(&request, Call::GetStock)?;
        let sku = field::name("sku", &request.get_ref().sku)?;
        let reply = self.backend.call(onrush_proto::Request::unkeyed(Command::GetStock(sku))).await;
        match reply.outcome {
            Outcome::Stock(row) => Ok(Response::new(stock(&row))),
            Outcome::Refused(refusal) => Err(Rejection::from(refusal).into()),
            other => Err(unexpected("stock or a refusal", &other).into()),
        }
    }

    async fn list_stock_changes(
        &self,
        request: Request<ListStockChangesRequest>,
    ) -> Result<Response<ListStockChangesResponse>, Status> {
        self.admit(&request, Call::ListStockChanges)?;
        let body = request.into_inner();
        let (sku, size) = (field::name("sku", &body.sku)?, page::size(body.page_size)?);
        let rows = self.backend.stock_changes(sku, body.after_version, size).await?;
        let changes = rows.into_iter().map(|row| StockChange {
            version: row.version,
            before: row.before,
            after: row.after,
            reason: row.reason.to_string(),
            changed_us: field::time_us(row.changed_us),
        });
        Ok(Response::new(ListStockChangesResponse { changes: changes.collect() }))
    }

    async fn stats(&self, request: Request<StatsRequest>) -> Result<Response<StatsResponse>, Status> {
        self.admit(&request, Call::Stats)?;
        Ok(Response::new(stats(self.backend.stats().ok_or_else(elsewhere)?)))
    }

    async fn reconcile(
        &self,
        request: Request<ReconcileRequest>,
    ) -> Result<Response<ReconcileResponse>, Status> {
        self.admit(&request, Call::Reconcile)?;
        let (backend, gateways) = (self.backend.clone(), self.gateways.clone());
        let gateways = gateways.ok_or_else(|| {
            Denial::new("ELSEWHERE", "expected the process that serves payments, found another one")
        })?;
        let reconciler = self.reconciler.clone();
        // One at a time: each goes on where the one before it ended.
        let report = off_front(move || {
            reconciler.lock().unwrap_or_else(PoisonError::into_inner).compare(&backend, &gateways)
        });
        let report = report.await??;
        Ok(Response::new(ReconcileResponse {
            ok: report.ok(),
            differences: report.differences,
            payments: report.payments,
            open: report.open,
            gateways: report.gateways.into_iter().map(books).collect(),
        }))
    }

    async fn get_cluster(
        &self,
        request: Request<GetClusterRequest>,
    ) -> Result<Response<GetClusterResponse>, Status> {
        self.admit_operator(&request, Call::GetCluster)?;
        let (node, engine) = cluster::of(self.node.as_ref(), &self.backend)?;
        Ok(Response::new(off_front(move || cluster::seen(&node, &engine)).await??))
    }

    async fn hand_over(
        &self,
        request: Request<HandOverRequest>,
    ) -> Result<Response<HandOverResponse>, Status> {
        self.admit_operator(&request, Call::HandOver)?;
        let (_, engine) = cluster::of(self.node.as_ref(), &self.backend)?;
        let body = request.into_inner();
        off_front(move || cluster::hand_over(&engine, &body)).await??;
        Ok(Response::new(HandOverResponse {}))
    }

    async fn change_members(
        &self,
        request: Request<ChangeMembersRequest>,
    ) -> Result<Response<ChangeMembersResponse>, Status> {
        self.admit_operator(&request, Call::ChangeMembers)?;
        let (_, engine) = cluster::of(self.node.as_ref(), &self.backend)?;
        let body = request.into_inner();
        off_front(move || cluster::change(&engine, body)).await??;
        Ok(Response::new(ChangeMembersResponse {}))
    }

    async fn place_node(
        &self,
        request: Request<PlaceNodeRequest>,
    ) -> Result<Response<PlaceNodeResponse>, Status> {
        self.admit_operator(&request, Call::PlaceNode)?;
        let (node, engine) = cluster::of(self.node.as_ref(), &self.backend)?;
        cluster::place(&node, engine, &self.backend, request.into_inner()).await?;
        Ok(Response::new(PlaceNodeResponse {}))
    }
}

/// Refused where the engine is not in this process: its own can be asked.
fn elsewhere() -> Denial {
    Denial::new("ELSEWHERE", "expected the process that the engine runs in, found one that asks it")
}

fn local_only<T>(request: &Request<T>) -> Result<(), Rejection> {
    let local = request.remote_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    if local { Ok(()) } else { Err(not_local()) }
}

fn not_local() -> Rejection {
    Denial::new("NOT_LOCAL", "expected a caller on this machine, found one elsewhere").into()
}

fn books(compared: Compared) -> GatewayBooks {
    GatewayBooks {
        gateway: compared.gateway.to_string(),
        complete: compared.trouble.is_none(),
        trouble: compared.trouble.unwrap_or_default(),
        payments: compared.payments,
        differences: compared.differences,
        unanswered: compared.unanswered,
        read_to_us: field::time_us(compared.read_s.unwrap_or_default().saturating_mul(1_000_000)),
        strangers: compared.strangers,
    }
}

fn audit(report: AuditReport) -> AuditResponse {
    let by_state = report.orders_by_state.into_iter();
    AuditResponse {
        ok: report.ok,
        violations: report.violations,
        skus: report.skus,
        orders: report.orders,
        units_received: report.units_received,
        units_available: report.units_available,
        units_held: report.units_held,
        units_sold: report.units_sold,
        open_cross_shard: report.open_cross_shard,
        cut: report.cut.iter().map(|lsn| lsn.0).collect(),
        violations_dropped: report.violations_dropped,
        state_hash: format!("{:032x}", report.state_hash),
        orders_by_state: by_state
            .map(|(state, orders)| StateCount { state: format!("{state:?}"), orders })
            .collect(),
    }
}

fn stock(row: &StockRow) -> GetStockResponse {
    let StockRow { sku, on_hand, held, sold, received, version, .. } = row;
    GetStockResponse {
        sku: sku.to_string(),
        on_hand: *on_hand,
        held: *held,
        sold: *sold,
        received: *received,
        version: *version,
    }
}

fn stats(stats: EngineStats) -> StatsResponse {
    StatsResponse {
        durability: stats.durability,
        shards: stats.shards.into(),
        durable_writes: stats.durable_writes,
        records: stats.records,
        log_bytes: stats.log_bytes,
        turns: stats.turns,
        requests: stats.requests,
        open_orders: stats.open_orders,
        remembered_keys: stats.remembered_keys,
        store_lag_bytes: stats.store_lag_bytes,
        level0_runs: stats.level0_runs,
        state_bytes: stats.state_bytes,
        waiting: stats.waiting,
        skus: stats.skus,
        store_bytes: stats.store_bytes,
        stopped_shards: stats.stopped_shards.into(),
        orders_in_memory: stats.orders_in_memory,
        store_lag_bytes_max: stats.store_lag_bytes_max,
        hot_key_ppm: stats.hot_key_ppm,
        process_bytes: process_bytes().unwrap_or(0),
        stages: stats.stages.iter().map(stage).collect(),
    }
}

fn stage(times: &onrush_engine::StageTimes) -> StageTimes {
    let at = |quantile| times.quantile_ns(quantile);
    StageTimes {
        stage: times.stage().name().into(),
        turns: times.turns(),
        p50_ns: at(0.5),
        p90_ns: at(0.9),
        p99_ns: at(0.99),
        max_ns: times.max_ns(),
        total_ns: times.total_ns(),
    }
}

/// Memory this process has resident, if the system tells.
fn process_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(1024 * kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}
