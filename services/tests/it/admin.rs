//! AdminService.

use onrush_grpc::admin::v1::admin_service_client::AdminServiceClient;
use onrush_grpc::admin::v1::{GetStockRequest, ListStockChangesRequest};
use onrush_grpc::product::v1::UpdateStockRequest;
use onrush_grpc::product::v1::update_stock_request::Change;

use crate::shop::{Shop, assert_refused};

#[tokio::test]
async fn the_audit_counts_what_happened() {
    let shop = Shop::open();
    shop.stock("tea", 500, 10).await;
    shop.paid("tea").await;
    shop.order("", "tea", 2).await.unwrap();
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert!(audit.ok, "{:?}", audit.violations);
    assert_eq!((audit.skus, audit.orders), (1, 2));
    assert_eq!(
        (audit.units_received, audit.units_available, audit.units_held, audit.units_sold),
        (10, 7, 2, 1)
    );
    let mut stats = shop.client.stats(Default::default()).await.unwrap();
    // Counters are as of each shard's last turn.
    for _ in 0..100 {
        if stats.open_orders == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        stats = shop.client.stats(Default::default()).await.unwrap();
    }
    assert_eq!((stats.shards, stats.open_orders), (4, 1));
    assert!(stats.durable_writes > 0 && !stats.durability.is_empty());
    assert!(stats.process_bytes > stats.state_bytes && stats.orders_in_memory == 2, "{stats:?}");
    let stages: Vec<&str> = stats.stages.iter().map(|times| times.stage.as_str()).collect();
    assert_eq!(stages, ["admit", "decide", "commit", "apply", "respond"]);
    assert!(stats.stages.iter().all(|times| times.turns > 0 && times.max_ns >= times.p50_ns), "{stats:?}");
}

#[tokio::test]
async fn stock_is_told_by_its_owner_on_each_port_and_not_changed_by_that() {
    let shop = Shop::open();
    shop.stock("tea", 500, 10).await;
    shop.paid("tea").await;
    shop.order("", "tea", 2).await.unwrap();
    let mut versions = Vec::new();
    let addresses = [&shop.addresses.product, &shop.addresses.order, &shop.addresses.payment];
    for address in addresses {
        let mut client = AdminServiceClient::connect(address.clone()).await.unwrap();
        let stock = client.get_stock(GetStockRequest { sku: "tea".into() }).await.unwrap().into_inner();
        assert_eq!((stock.on_hand, stock.held, stock.sold, stock.received), (9, 2, 1, 10), "{address}");
        versions.push(stock.version);
    }
    let unknown = GetStockRequest { sku: "nothing".into() };
    assert_refused(shop.client.get_stock(unknown).await, "UNKNOWN_PRODUCT", Some("sku"));
    let none = GetStockRequest::default();
    assert_refused(shop.client.get_stock(none).await, "MISSING_FIELD", Some("sku"));
    assert!(versions.iter().all(|version| *version == versions[0]), "{versions:?}");
}

/// The reason of a change was asked for and kept nowhere.
#[tokio::test]
async fn the_books_say_why_stock_changed() {
    let shop = Shop::open();
    shop.stock("tea", 500, 10).await;
    for (add, reason) in [(5, "delivery 17"), (-2, "broken")] {
        let update = UpdateStockRequest {
            request_id: String::new(),
            sku: "tea".into(),
            change: Some(Change::Add(add)),
            reason: reason.into(),
        };
        shop.client.update_stock(update).await.unwrap();
    }
    let mut client = AdminServiceClient::connect(shop.addresses.product.clone()).await.unwrap();
    let mut ask = async |after_version, page_size| {
        let request = ListStockChangesRequest { sku: "tea".into(), after_version, page_size };
        client.list_stock_changes(request).await.unwrap().into_inner().changes
    };
    let all = ask(0, 0).await;
    let told: Vec<_> =
        all.iter().map(|change| (change.before, change.after, change.reason.as_str())).collect();
    assert_eq!(told[1..], [(10, 15, "delivery 17"), (15, 13, "broken")]);
    assert!(all.iter().all(|change| change.changed_us > 0), "{all:?}");
    assert_eq!(ask(all[0].version, 1).await, all[1..2], "page by page");
    assert_eq!(ask(all[2].version, 1).await, []);
}
