//! New products get their turn among many that sell: on some page each, at a place of their own, as long as there is stock.

use std::collections::BTreeSet;

use onrush_grpc::recommendation::v1::{GetRecommendationsRequest, ReasonKind, RecommendedProduct};

use crate::shop::Shop;
use crate::wait::until;

/// Every so manieth place is a new product's.
const NEW_EVERY: usize = 10;
/// New products that come at once.
const NEW: usize = 7;

fn is_new(product: &RecommendedProduct) -> bool {
    product.reasons.iter().any(|reason| reason.kind() == ReasonKind::New)
}

async fn page(shop: &Shop, customer: &str, page_size: usize) -> Vec<RecommendedProduct> {
    let request = GetRecommendationsRequest {
        customer_id: customer.into(),
        page_size: page_size as i32,
        ..Default::default()
    };
    shop.client.get_recommendations(request).await.unwrap().products
}

/// New products on the first pages of customers, each of which has one place for them.
async fn shown(shop: &Shop, customers: &[String]) -> BTreeSet<String> {
    let mut shown = BTreeSet::new();
    for customer in customers {
        let page = page(shop, customer, NEW_EVERY).await;
        let new: Vec<usize> = (0..page.len()).filter(|at| is_new(&page[*at])).collect();
        assert!(new.iter().all(|at| *at == NEW_EVERY - 1), "{customer}: {page:#?}");
        shown.extend(new.into_iter().map(|at| page[at].sku.clone()));
    }
    shown
}

#[tokio::test]
async fn each_new_product_has_its_turn_among_many_that_sell_until_it_is_sold_out() {
    let (shop, customers) = Shop::lived().await;
    let customers = &customers[..60];
    assert_eq!(shown(&shop, customers).await, BTreeSet::new(), "all products are old");

    // One has the tenth place of every page, a visitor's too, and the last of one that has fewer places.
    shop.stock("new-0", 499, 5).await;
    until("the new product on a visitor's page", async || {
        let page = page(&shop, "", NEW_EVERY).await;
        if page[NEW_EVERY - 1].sku == "new-0" { Ok(()) } else { Err(page) }
    })
    .await;
    for customer in &customers[..8] {
        for (size, place) in [(4, 3), (9, 8), (10, 9), (19, 9)] {
            let page = page(&shop, customer, size).await;
            assert_eq!(page[place].sku, "new-0", "{customer}, {size}: {page:#?}");
            assert_eq!(page.iter().filter(|product| is_new(product)).count(), 1, "{page:#?}");
        }
    }

    // Of several a page of ten has one, and each is on somebody's.
    let all: BTreeSet<String> = (0..NEW).map(|number| format!("new-{number}")).collect();
    for sku in &all {
        shop.stock(sku, 499, 5).await;
    }
    until("each new product on the page of somebody", async || {
        let found = shown(&shop, customers).await;
        if found == all { Ok(()) } else { Err(found) }
    })
    .await;

    // What is sold out gives its turn to the next at once.
    shop.restock("new-3", 0).await;
    let mut left = all.clone();
    left.remove("new-3");
    assert_eq!(shown(&shop, customers).await, left);
    for sku in &left {
        shop.restock(sku, 0).await;
    }
    assert_eq!(shown(&shop, customers).await, BTreeSet::new());
}
