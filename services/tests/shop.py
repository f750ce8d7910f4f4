"""A shop in a process of its own, and calls of it in JSON."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request

ALL = ("user", "product", "order", "payment", "shipping", "notification", "recommendation")
NOTIFIED = ("product", "order", "payment", "notification")
PRODUCT, ORDER = "onrush.product.v1.ProductService", "onrush.order.v1.OrderService"
NOTIFICATION = "onrush.notification.v1.NotificationService"


class Shop:
    """Serves until it is closed; keyword arguments are settings."""

    def __init__(self, onrush, data_dir, services=NOTIFIED, **env):
        self.data_dir = data_dir
        command = [onrush, "serve", "--data-dir", data_dir, "--services", ",".join(services)]
        for service in services:
            command += [f"--{service}-port", "0"]
        self.process = subprocess.Popen(command, env=dict(os.environ, **env), stdout=subprocess.PIPE, text=True)
        self.at, self.banner = {}, ""
        for line in self.process.stdout:
            self.banner += line
            words = line.split()
            if words and words[0] in services and len(words) == 2:
                self.at[words[0]] = words[1]
            if line.startswith("health"):
                return
        raise AssertionError(f"expected a shop that serves, found it ended by {self.process.wait(timeout=20)}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=20)

    def call(self, service, method, body):
        url = f"http://{self.at[service]}/{method}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            return json.load(urllib.request.urlopen(request, timeout=20))
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method}: {error.read().decode()}") from error

    def notify(self, method, **body):
        return self.call("notification", f"{NOTIFICATION}/{method}", body)

    def stock(self):
        price = {"minorUnits": "499", "currencyCode": "EUR"}
        self.call("product", f"{PRODUCT}/PutProduct", {"sku": "tea", "name": "Tea", "price": price})
        self.call("product", f"{PRODUCT}/UpdateStock", {"sku": "tea", "set": "99"})

    def order(self):
        lines = [{"sku": "tea", "quantity": "2"}]
        return self.call("order", f"{ORDER}/CreateOrder", {"customerId": "ada", "lines": lines})["orderId"]

    def pay(self, order_id):
        return self.call("order", f"{ORDER}/ProcessPayment", {"orderId": order_id, "paymentMethod": "pm_card"})

    def told(self, order_id, channel, status):
        """The order's notification by this channel, once it is so."""
        for _ in range(3000):
            notices = self.notify("ListNotifications", orderId=order_id).get("notifications", [])
            found = [notice for notice in notices if (notice["channel"], notice["status"]) == (channel, status)]
            if found:
                return found[0]
            time.sleep(0.01)
        raise AssertionError(f"expected {channel} {status}, found {notices}")


def status_of(request):
    """The status that a request is answered with."""
    try:
        return urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
