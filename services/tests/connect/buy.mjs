// Buys something by a client of the Connect protocol that knows the services from their descriptors alone.
// Usage: buy.mjs DESCRIPTORS PRODUCT_ADDRESS ORDER_ADDRESS

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';

const [descriptors, product, order] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));

function client(name, address, httpVersion) {
  const transport = createConnectTransport({ baseUrl: `http://${address}`, httpVersion, useBinaryFormat: false });
  return createClient(registry.getService(name), transport);
}

async function refused(call) {
  const error = await call.then(() => assert.fail('expected a refusal'), ConnectError.from);
  const info = error.details.find((detail) => detail.type === 'google.rpc.ErrorInfo');
  return { code: error.code, message: error.rawMessage, info: new TextDecoder().decode(info.value) };
}

const products = client('onrush.product.v1.ProductService', product, '1.1');
const orders = client('onrush.order.v1.OrderService', order, '2');

await products.putProduct({ sku: 'tea', name: 'Tea', price: { minorUnits: 499n, currencyCode: 'EUR' } });
const stock = await products.updateStock({ sku: 'tea', change: { case: 'set', value: 3n } });
assert.equal(stock.onHand, 3n);

const basket = { requestId: 'basket', customerId: 'ada', lines: [{ sku: 'tea', quantity: 2n, maxUnitPrice: 499n }] };
const first = await orders.createOrder(basket, { timeoutMs: 20_000 });
const again = await orders.createOrder(basket, { timeoutMs: 20_000 });
assert.deepEqual([first.total.minorUnits, first.replayed], [998n, false]);
assert.deepEqual([again.orderId, again.replayed], [first.orderId, true]);

const short = await refused(orders.createOrder({ ...basket, requestId: 'more' }));
assert.equal(short.code, Code.FailedPrecondition);
assert.match(short.info, /OUT_OF_STOCK/);
const other = await refused(orders.createOrder({ ...basket, customerId: 'eve' }));
assert.match(other.info, /IDEMPOTENCY_KEY_REUSED/);
const nobody = await refused(orders.createOrder({ lines: basket.lines }));
assert.equal(nobody.code, Code.InvalidArgument);
assert.match(nobody.message, /^customer_id: /);

await orders.processPayment({ orderId: first.orderId, paymentMethod: 'tok_visa' }, { timeoutMs: 20_000 });
const found = await orders.getOrderStatus({ orderId: first.orderId });
assert.equal(found.order.lines[0].unitPrice.minorUnits, 499n);
console.log(`connect: order ${first.orderId} of ${found.order.total.minorUnits} ${found.order.total.currencyCode}`);
