//! AdminService.

use crate::shop::Shop;

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
    let stats = shop.client.stats(Default::default()).await.unwrap();
    assert_eq!(stats.shards, 4);
    assert!(stats.durable_writes > 0 && !stats.durability.is_empty());
    assert_eq!(stats.open_orders, 1);
}
