//! PostgreSQL: an order is one call of a function, or a hundred are one transaction.

mod cluster;
mod wire;

use std::cell::RefCell;
use std::rc::Rc;

use onrush_benches::Failure;
use onrush_benches::sale::Sale;

use crate::client::{Fifo, Line, Pipe, Took, Use, drive};
use crate::round::Round;
use crate::stage::Stage;
use cluster::Cluster;
pub(crate) use cluster::{how, version};
use wire::Executed;

/// Connections: one order, or one transaction, is under way on each.
const CONNECTIONS: usize = 64;
/// Name of the prepared statement.
pub(super) const STATEMENT: &str = "place";
/// Types of array elements.
const UUID_OID: u32 = 2_950;
const TEXT_OID: u32 = 25;

/// A case of this peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) skus: usize,
    /// Orders of a transaction; all of it is one function call.
    pub(crate) orders: usize,
}

/// Tables and functions. `orders` has its key as its name, as the other peers do. In `place_order` the hot row is touched last,
/// so that it is locked for as short as can be. `place_orders` is for orders of one SKU.
const SCHEMA: &str = r"
CREATE TABLE item (
  sku text PRIMARY KEY,
  available bigint NOT NULL CHECK (available >= 0),
  price bigint NOT NULL,
  per_customer int NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE bought (
  customer text NOT NULL,
  sku text NOT NULL,
  units bigint NOT NULL,
  PRIMARY KEY (customer, sku)
);
CREATE TABLE orders (
  request uuid PRIMARY KEY,
  customer text NOT NULL,
  sku text NOT NULL,
  quantity int NOT NULL,
  total bigint NOT NULL,
  state smallint NOT NULL,
  held_until timestamptz NOT NULL,
  payment_state smallint NOT NULL
);
CREATE FUNCTION place_order(key uuid, buyer text, wanted text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  unit_price bigint;
  most int;
BEGIN
  PERFORM FROM orders WHERE request = key;
  IF FOUND THEN RETURN 2; END IF;
  SELECT price, per_customer INTO unit_price, most FROM item WHERE sku = wanted;
  IF NOT FOUND THEN RETURN -1; END IF;
  INSERT INTO bought AS b VALUES (buyer, wanted, 1)
    ON CONFLICT (customer, sku) DO UPDATE SET units = b.units + 1 WHERE b.units < most;
  IF NOT FOUND THEN RETURN -3; END IF;
  INSERT INTO orders VALUES (key, buyer, wanted, 1, unit_price, 1, now() + interval '10 minutes', 1);
  UPDATE item SET available = available - 1 WHERE sku = wanted AND available > 0;
  IF NOT FOUND THEN RAISE EXCEPTION 'sold out'; END IF;
  RETURN 1;
END $$;
CREATE FUNCTION place_orders(keys uuid[], buyers text[], wanted text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  unit_price bigint;
  most int;
  placed_units bigint;
  most_units bigint;
BEGIN
  SELECT price, per_customer INTO unit_price, most FROM item WHERE sku = wanted;
  IF NOT FOUND THEN RETURN -1; END IF;
  WITH placed AS (
    INSERT INTO orders
      SELECT key, buyer, wanted, 1, unit_price, 1, now() + interval '10 minutes', 1
      FROM unnest(keys, buyers) AS asked (key, buyer)
      ON CONFLICT (request) DO NOTHING
      RETURNING customer
  ), counted AS (
    INSERT INTO bought AS b SELECT customer, wanted, count(*) FROM placed GROUP BY customer
      ON CONFLICT (customer, sku) DO UPDATE SET units = b.units + excluded.units
      RETURNING units
  )
  SELECT (SELECT count(*) FROM placed), (SELECT max(units) FROM counted) INTO placed_units, most_units;
  IF most_units > most THEN RAISE EXCEPTION 'over the limit'; END IF;
  UPDATE item SET available = available - placed_units WHERE sku = wanted AND available >= placed_units;
  IF NOT FOUND THEN RAISE EXCEPTION 'sold out'; END IF;
  RETURN placed_units;
END $$;
";

/// Measures a case on tables of its own.
pub(crate) fn measure(case: Case, stage: &Stage<'_>) -> Result<Round, Failure> {
    let cluster = Cluster::start(stage)?;
    let mut client = cluster.connect()?;
    client.run(SCHEMA)?;
    client.run(&opening(case.skus))?;
    client.run("VACUUM ANALYZE item")?;
    client.run("CHECKPOINT")?;
    let sale = Rc::new(RefCell::new(Sale::uniform(case.skus)));
    let usage = Use { in_flight: 1, units: case.orders };
    let mut lines = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = cluster.connect()?;
        client.prepare(STATEMENT, statement(case))?;
        let calls = Calls { orders: case.orders, sale: Rc::clone(&sale), values: Values::default() };
        lines.push(Line::new(client.into_stream(), Pipe::new(calls), usage)?);
    }
    drive(&mut lines, stage.span, &|| cluster.cpu_ns())
}

fn statement(case: Case) -> &'static str {
    match case.orders {
        1 => "SELECT place_order($1::uuid, $2::text, $3::text)",
        _ => "SELECT place_orders($1::uuid[], $2::text[], $3::text)",
    }
}

/// What makes the same SKUs sell as [`Sale`] has.
fn opening(skus: usize) -> String {
    format!(
        "INSERT INTO item SELECT 'sku-' || lpad(n::text, 8, '0'), 1099511627776, 4990, 2 FROM generate_series(0, {}) AS n",
        skus.saturating_sub(1)
    )
}

/// One connection's calls.
struct Calls {
    orders: usize,
    sale: Rc<RefCell<Sale>>,
    values: Values,
}

/// Buffers of a call's parameters.
#[derive(Default)]
struct Values {
    keys: Vec<u8>,
    customers: Vec<u8>,
}

impl Fifo for Calls {
    fn put(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let mut sale = self.sale.borrow_mut();
        let Values { keys, customers } = &mut self.values;
        keys.clear();
        customers.clear();
        if self.orders == 1 {
            let wish = sale.wish();
            let key = wish.key.0.to_be_bytes();
            wire::execute(out, STATEMENT, &[&key, wish.customer.as_bytes(), wish.sku.as_bytes()]);
            return Ok(());
        }
        wire::array(keys, UUID_OID, self.orders);
        wire::array(customers, TEXT_OID, self.orders);
        let sku = sale.sku();
        for _ in 0..self.orders {
            let wish = sale.wish();
            wire::element(keys, &wish.key.0.to_be_bytes());
            wire::element(customers, wish.customer.as_bytes());
        }
        wire::execute(out, STATEMENT, &[keys, customers, sku.as_bytes()]);
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], _: &mut Vec<u8>) -> Result<Option<Took>, Failure> {
        let Some((Executed { number }, length)) = wire::executed(bytes)? else { return Ok(None) };
        if number != Some(self.orders as i32) {
            return Err(Failure::unexpected(format!("{} orders", self.orders), number));
        }
        Ok(Some(Took { bytes: length, answers: true }))
    }
}
