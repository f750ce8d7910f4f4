"""A stand-in for Twilio that takes only what Twilio's own library would have sent, and signs as it does."""

import base64
import http.server
import json
import queue
import sys
import threading
import urllib.parse
import urllib.request

from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from shop import Shop, status_of

ACCOUNT, TOKEN = "AC00000000000000000000000000000001", "a token of this account"
FROM, PHONE = "+15005550006", "+491701234567"
PUBLIC_URL = "https://shop.example.com"

calls = queue.Queue()


class Twilio(http.server.BaseHTTPRequestHandler):
    """Takes texts."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        assert self.headers["Content-Type"] == "application/x-www-form-urlencoded", self.headers
        scheme, credentials = self.headers["Authorization"].split(" ")
        assert scheme == "Basic", scheme
        auth = tuple(base64.b64decode(credentials).decode().split(":", 1))
        calls.put((self.path, dict(urllib.parse.parse_qsl(body, strict_parsing=True)), auth))
        answer = json.dumps({"sid": "SM1", "status": "queued", "error_code": None}).encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Recorder(HttpClient):
    """What the library sends, instead of sending it."""

    def __init__(self):
        super().__init__(logger=None, is_async=False)

    def request(self, method, uri, params=None, data=None, headers=None, auth=None, timeout=None, allow_redirects=False):
        self.sent = (method, urllib.parse.urlsplit(uri).path, data, auth)
        return Response(201, json.dumps({"sid": "SM1", "status": "queued"}))


def by_the_library(body, callback):
    recorder = Recorder()
    client = Client(ACCOUNT, TOKEN, http_client=recorder)
    client.messages.create(to=PHONE, from_=FROM, body=body, status_callback=callback)
    return recorder.sent


def callback(shop, url, form, signature):
    here = url.replace(PUBLIC_URL, f"http://{shop.at['notification']}")
    headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
    return status_of(urllib.request.Request(here, urllib.parse.urlencode(form).encode(), headers))


def main(onrush, work):
    peer = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Twilio)
    threading.Thread(target=peer.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{peer.server_port}"
    settings = dict(TWILIO_SID=ACCOUNT, TWILIO_TOKEN=TOKEN, TWILIO_FROM=FROM, TWILIO_API_BASE=base)
    with Shop(onrush, f"{work}/texts", PUBLIC_URL=PUBLIC_URL, **settings) as shop:
        shop.stock()
        shop.notify("PutContact", customerId="ada", phone=PHONE, smsConsent=True, language="de")
        order_id = shop.order()
        path, form, auth = calls.get(timeout=30)
        assert order_id in form["Body"] and form["Body"].startswith("Wir haben"), form
        assert ("POST", path, form, auth) == by_the_library(form["Body"], form["StatusCallback"]), (path, form, auth)

        notice = shop.told(order_id, "CHANNEL_SMS", "NOTIFICATION_STATUS_SENT")
        url = form["StatusCallback"]
        assert notice["notificationId"] in url, url
        ended = {"MessageStatus": "delivered", "MessageSid": "SM1", "To": PHONE, "From": FROM, "RawDlrDoneDate": "äöü +&="}
        sign = RequestValidator(TOKEN).compute_signature
        assert callback(shop, url, ended, RequestValidator("another token").compute_signature(url, ended)) == 401
        assert callback(shop, url, dict(ended, MessageStatus="failed"), sign(url, ended)) == 401
        assert callback(shop, f"{url}0", ended, sign(url, ended)) == 401
        shop.told(order_id, "CHANNEL_SMS", "NOTIFICATION_STATUS_SENT")
        assert callback(shop, url, ended, sign(url, ended)) == 204
        shop.told(order_id, "CHANNEL_SMS", "NOTIFICATION_STATUS_DELIVERED")
    assert calls.empty(), calls.get()
    print("Twilio's library would have sent the same text, and its signature is known again")


main(sys.argv[1], sys.argv[2])
