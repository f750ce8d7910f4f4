"""Foreign readers of /metrics: promtool, and the parser of OpenMetrics of Prometheus' Python client."""

import json
import subprocess
import sys
import urllib.error
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

SERVICES = ["product", "order", "payment", "user", "shipping", "notification", "recommendation"]


def call(base, method, body):
    request = urllib.request.Request(f"http://{base}/{method}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=20))


def shop(onrush, work):
    """The shop and where its services listen."""
    command = [onrush, "serve", "--data-dir", f"{work}/data", "--services", ",".join(SERVICES)]
    for service in SERVICES:
        command += [f"--{service}-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    addresses = {}
    for line in process.stdout:
        words = line.split()
        if words and words[0] in SERVICES and len(words) == 2:
            addresses[words[0]] = words[1]
        if line.startswith("health"):
            break
    return process, addresses


def buy(at):
    """One purchase, one refusal and one lost caller."""
    price = {"minorUnits": "499", "currencyCode": "EUR"}
    product, order = "onrush.product.v1.ProductService", "onrush.order.v1.OrderService"
    call(at["product"], f"{product}/PutProduct", {"sku": "tea", "name": "Tea", "price": price})
    call(at["product"], f"{product}/UpdateStock", {"sku": "tea", "set": "3"})
    lines = [{"sku": "tea", "quantity": "2"}]
    created = call(at["order"], f"{order}/CreateOrder", {"customerId": "ada", "lines": lines})
    call(at["order"], f"{order}/ProcessPayment", {"orderId": created["orderId"], "paymentMethod": "pm_card"})
    for path in [f"{order}/CreateOrder", "nowhere/at/all"]:
        try:
            call(at["order"], path, {"customerId": "bob", "lines": lines})
        except urllib.error.HTTPError as error:
            assert error.code in (404, 409, 412, 422, 400), error
        else:
            raise AssertionError(f"expected a refusal of {path}")


def scrape(address, accept):
    request = urllib.request.Request(f"http://{address}/metrics", headers={"Accept": accept})
    return urllib.request.urlopen(request, timeout=20).read().decode()


def main(onrush, work, promtool):
    process, at = shop(onrush, work)
    try:
        buy(at)
        for service in SERVICES:
            text = scrape(at[service], "text/plain")
            checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
            assert checked.returncode == 0, f"{service}: {checked.stderr}{checked.stdout}"
        families = {family.name: family for family in text_string_to_metric_families(scrape(at["order"], "application/openmetrics-text"))}
        assert families["onrush_http_requests"].type == "counter", families["onrush_http_requests"]
        create = [
            sample.value for sample in families["onrush_http_requests"].samples
            if sample.labels["route"].endswith("/CreateOrder") and sample.labels["code"] == "200"
        ]
        assert create == [1.0], create
        print(f"promtool read /metrics of {len(SERVICES)} ports, with {len(families)} families")
    finally:
        process.terminate()
        process.wait(timeout=20)


main(sys.argv[1], sys.argv[2], sys.argv[3])
