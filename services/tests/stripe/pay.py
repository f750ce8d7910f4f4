"""Buys, captures, gives back and cancels; the books of localstripe say the same as the shop."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import stripe

from shop import ORDER, Shop, status_of

SECRET = "whsec_of_this_test"
PAYMENT = "onrush.payment.v1.PaymentService"


def books(work):
    """localstripe, and where it listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = os.path.dirname(os.path.abspath(__file__))
    process = subprocess.Popen([sys.executable, f"{here}/books.py", str(port)], cwd=work)
    for _ in range(2000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, f"http://127.0.0.1:{port}"
        time.sleep(0.01)
    raise AssertionError("expected localstripe to listen")


def card(number):
    return stripe.PaymentMethod.create(
        type="card", card={"number": number, "exp_month": 12, "exp_year": 2040, "cvc": "123"}
    ).id


def intent(order_id):
    found = [one for one in stripe.PaymentIntent.list().data if one.metadata["order_id"] == order_id]
    assert len(found) == 1, found
    return found[0]


def buy(shop, method, **more):
    order_id = shop.order()
    paid = shop.call("order", f"{ORDER}/ProcessPayment", {"orderId": order_id, "paymentMethod": method, **more})
    return order_id, paid


def money(shop):
    """Every way that money goes, by both books."""
    visa = card("4242424242424242")
    order_id, paid = buy(shop, visa)
    assert paid["orderStatus"] == "ORDER_STATUS_PAID", paid
    taken = intent(order_id)
    assert (taken.amount, taken.currency, taken.status) == (998, "eur", "succeeded"), taken
    assert taken.metadata["onrush_key"] == f"{order_id}:1:charge", taken
    part = {"minorUnits": "200", "currencyCode": "EUR"}
    shop.call("payment", f"{PAYMENT}/ProcessRefund", {"paymentId": order_id, "amount": part})
    until(lambda: [one.amount for one in stripe.Refund.list(payment_intent=taken.id).data] == [200])
    status = lambda: shop.call("payment", f"{PAYMENT}/GetPaymentStatus", {"paymentId": order_id})["payment"]
    until(lambda: status().get("refundedMinorUnits") == "200")

    order_id, declined = buy(shop, card("4000000000000341"))
    assert declined.get("declineCode") == "card_declined", declined
    assert declined["orderStatus"] == "ORDER_STATUS_PENDING", declined
    assert intent(order_id).status == "requires_payment_method"

    manual = {"captureMethod": "CAPTURE_METHOD_MANUAL"}
    order_id, _ = buy(shop, visa, **manual)
    assert intent(order_id).status == "requires_capture"
    shop.call("payment", f"{PAYMENT}/CapturePayment", {"paymentId": order_id, "amount": part})
    until(lambda: intent(order_id).status == "succeeded")

    order_id, _ = buy(shop, visa, **manual)
    shop.call("order", f"{ORDER}/CancelOrder", {"orderId": order_id})
    until(lambda: intent(order_id).status == "canceled")
    return taken


def proofs(shop):
    """Buyers who have to prove who they are (3-D Secure): one does, one does not, one is never seen again."""
    status = lambda order_id: shop.call("payment", f"{PAYMENT}/GetPaymentStatus", {"paymentId": order_id})["payment"]
    for answer, expected in [
        (True, "PAYMENT_STATUS_SUCCEEDED"),
        (False, "PAYMENT_STATUS_REQUIRES_PAYMENT_METHOD"),
        (None, "PAYMENT_STATUS_CANCELED"),
    ]:
        order_id, asked = buy(shop, card("4000002500003155"))
        held = intent(order_id)
        assert held.status == "requires_action", held
        assert asked["paymentStatus"] == "ORDER_PAYMENT_STATUS_REQUIRES_ACTION", asked
        assert asked["approvalUrl"] == held.next_action.redirect_to_url.url == status(order_id)["approvalUrl"], asked
        if answer is None:
            shop.call("order", f"{ORDER}/CancelOrder", {"orderId": order_id})
        else:
            data = {"client_secret": held.client_secret, "success": str(answer).lower()}
            form = urllib.parse.urlencode(data).encode()
            request = urllib.request.Request(f"{stripe.api_base}/v1/payment_intents/{held.id}/_authenticate", form)
            request.add_header("Authorization", f"Bearer {stripe.api_key}")
            urllib.request.urlopen(request, timeout=20).read()
        until(lambda: status(order_id)["status"] == expected)
        assert "approvalUrl" not in status(order_id)
    assert intent(order_id).status == "canceled"


def until(so):
    for _ in range(2000):
        if so():
            return
        time.sleep(0.01)
    raise AssertionError("expected it to be so in time")


def webhook(shop, taken):
    """Signed by Stripe's library, which also takes what it signed."""
    event = {"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "data": {"object": taken.to_dict()}}
    body = json.dumps(event, indent=2, default=str)

    def push(body, signed, at, secret=SECRET):
        signature = stripe.WebhookSignature._compute_signature(f"{at}.{signed}", secret)
        headers = {"Stripe-Signature": f"t={at},v1={signature}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{shop.at['payment']}/webhooks/stripe", body.encode(), headers)
        try:
            stripe.Webhook.construct_event(body, headers["Stripe-Signature"], SECRET)
            theirs = 204
        except stripe.SignatureVerificationError:
            theirs = 401
        return status_of(request), theirs

    now = int(time.time())
    for case, expected in [
        (push(body, body, now), 204),
        (push(body, body, now - 200), 204),
        (push(body.replace(": ", ":  ", 1), body, now), 401),
        (push(body, body, now - 400), 401),
        (push(body, body, now, "whsec_of_another"), 401),
    ]:
        assert case == (expected, expected), (case, expected)


def main(onrush, work):
    process, base = books(work)
    try:
        stripe.api_base, stripe.api_key = base, "sk_test_of_this_test"
        settings = dict(STRIPE_API_KEY=stripe.api_key, STRIPE_API_BASE=base, STRIPE_WEBHOOK_SECRET=SECRET)
        settings["PAYMENT_RETURN_URL"] = "https://shop.example/orders/{order}"
        with Shop(onrush, f"{work}/data", **settings) as shop:
            shop.stock()
            webhook(shop, money(shop))
            proofs(shop)
        print("localstripe's books say the same, and Stripe's library signs and verifies as we do")
    finally:
        process.terminate()
        process.wait(timeout=20)


main(sys.argv[1], sys.argv[2])
