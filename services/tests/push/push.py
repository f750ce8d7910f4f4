"""A push service and the browser behind it, by libraries that nobody here wrote: http_ece opens what arrives,
py_vapid verifies who sent it."""

import base64
import http.server
import json
import os
import queue
import sys
import threading
import time

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02

from shop import Shop

FROM = "Shop <shop@example.com>"

calls = queue.Queue()
statuses = []


class PushService(http.server.BaseHTTPRequestHandler):
    """Takes messages, or says what a test wants it to say."""

    def do_POST(self):
        calls.put((self.path, self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
        status = statuses.pop(0) if statuses else 201
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "0")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Browser:
    """What a page's script hands to the shop, and what opens messages."""

    def __init__(self, base, name):
        self.key, self.auth = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)
        self.endpoint = f"{base}/send/{name}"

    def subscription(self):
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {"endpoint": self.endpoint, "p256dh": text(point), "auth": text(self.auth)}

    def open(self, body):
        return json.loads(http_ece.decrypt(body, private_key=self.key, auth_secret=self.auth, version="aes128gcm"))


def text(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def claims(authorization):
    token = authorization.removeprefix("vapid t=").split(",")[0]
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def check(base, key, browser, call, order_id):
    path, headers, body = call
    assert f"{base}{path}" == browser.endpoint, path
    assert headers["Content-Encoding"] == "aes128gcm" and int(headers["TTL"]) > 0, headers
    assert headers["Urgency"] in ("very-low", "low", "normal", "high"), headers
    assert 0 < len(headers["Topic"]) <= 32 and len(body) <= 4096, headers
    assert Vapid02.verify(headers["Authorization"]), headers
    assert headers["Authorization"].endswith(f",k={key}"), headers
    said = claims(headers["Authorization"])
    assert said["aud"] == base and said["sub"] == "mailto:shop@example.com", said
    assert 0 < said["exp"] - time.time() <= 24 * 3600, said
    message = browser.open(body)
    assert message["title"] == f"Your order {order_id}" and message["order_id"] == order_id, message
    assert message["body"].startswith("9.98 EUR") and message["occasion"] == "order_confirmation", message


def main(onrush, work):
    peer = http.server.ThreadingHTTPServer(("127.0.0.1", 0), PushService)
    threading.Thread(target=peer.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{peer.server_port}"
    settings = dict(PUSH_REACH="loopback", MAIL_FROM=FROM, NOTIFICATION_PAUSE_MS="10")
    with Shop(onrush, f"{work}/push", **settings) as shop:
        shop.stock()
        key = shop.notify("GetPushKey")["publicKey"]
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), base64.urlsafe_b64decode(key + "="))
        browser = Browser(base, "one")
        shop.notify("PutPushSubscription", customerId="ada", **browser.subscription())
        statuses.extend([429, 502])
        order_id = shop.order()
        for _ in range(3):
            check(base, key, browser, calls.get(timeout=30), order_id)
        shop.told(order_id, "CHANNEL_PUSH", "NOTIFICATION_STATUS_SENT")

        statuses.append(410)
        order_id = shop.order()
        check(base, key, browser, calls.get(timeout=30), order_id)
        shop.told(order_id, "CHANNEL_PUSH", "NOTIFICATION_STATUS_UNREACHABLE")
        assert "subscriptions" not in shop.notify("ListPushSubscriptions", customerId="ada")
    assert calls.empty(), calls.get()
    print("http_ece opened every message, py_vapid knows who sent it, and a browser that is gone gets no more")


main(sys.argv[1], sys.argv[2])
