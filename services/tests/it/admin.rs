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
}
