//! What a SKU and an open order cost in memory, by the tables' own accounts.

use std::collections::VecDeque;

use onrush_engine::shard::{Effects, Input, ReplyTo, Shard, ShardOptions};
use onrush_engine::views::ShardViews;
use onrush_proto::{
    Command, CreateOrder, IdempotencyKey, KeyHasher, Request, ShardId, SlotMap, StockChange, Text,
    UpdateStock,
};

use crate::rig::{Plan, Rig, START_US};
use crate::speech::Speaker;

const COUNT: u64 = 100_000;
const SKU_BYTES_MAX: u64 = 256;
const ORDER_BYTES_MAX: u64 = 400;

fn run(shard: &mut Shard, views: &ShardViews, requests: impl Iterator<Item = Request>) {
    let to = ReplyTo { port: 0, tag: 0 };
    let mut inputs: VecDeque<Input> = requests.map(|request| Input::Request { to, request }).collect();
    let mut effects = Effects::default();
    while !inputs.is_empty() {
        effects.clear();
        shard.turn(START_US, &mut inputs, &mut effects);
        views.publish(&mut effects.rows);
    }
}

#[test]
fn skus_and_open_orders_stay_small() {
    let options = ShardOptions::new(ShardId(0), SlotMap::new(1).unwrap(), KeyHasher::new([1, 2]));
    let (mut shard, views) = (Shard::new(options), ShardViews::default());
    let rig = Rig::new(Plan::small(1, false));
    let put = |sku: u64| Speaker::default().requests(&rig, &format!("put sku-{sku}")).remove(0).1;
    run(&mut shard, &views, (0..COUNT).map(|sku| Request::unkeyed(put(sku))));
    let stock_bytes = shard.state().stock.bytes() / COUNT;
    let cell_bytes = views.bytes() / COUNT;
    println!("a SKU: {stock_bytes} B in the stock table, {cell_bytes} B published");
    assert!(stock_bytes + cell_bytes <= SKU_BYTES_MAX, "found {} B per SKU", stock_bytes + cell_bytes);

    let change = StockChange::Set(1 << 40);
    let update = UpdateStock { sku: "sku-7".parse().unwrap(), change, reason: Text::EMPTY };
    run(&mut shard, &views, std::iter::once(Request::unkeyed(Command::UpdateStock(update))));
    let order = |serial: u64| {
        let customer = Text::new(&format!("customer-{serial}")).unwrap();
        let lines = std::iter::once(onrush_proto::OrderLine::new("sku-7".parse().unwrap(), 1)).collect();
        let create = Command::CreateOrder(CreateOrder { customer, lines, hold_us: 0 });
        Request::new(IdempotencyKey(u128::from(serial) << 64 | (u128::from(serial) + 1)), create)
    };
    run(&mut shard, &views, (0..COUNT).map(order));
    assert_eq!(shard.state().orders.open_len() as u64, COUNT);
    let order_bytes = shard.state().orders.bytes() / COUNT;
    let key_bytes = shard.state().keys.bytes() / COUNT;
    println!("an open order: {order_bytes} B; its key while it is recent: {key_bytes} B");
    assert!(order_bytes <= ORDER_BYTES_MAX, "found {order_bytes} B per open order");
}
