"""Foreign readers of /metrics: promtool, and the parser of OpenMetrics of Prometheus' Python client."""

import json
import subprocess
import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from shop import ALL, ORDER, Shop, status_of


def buy(shop):
    """One purchase, one refusal and one lost caller."""
    shop.stock()
    shop.pay(shop.order())
    too_many = {"customerId": "bob", "lines": [{"sku": "tea", "quantity": "100"}]}
    for path, status in [(f"{ORDER}/CreateOrder", 409), ("nowhere/at/all", 404)]:
        url = f"http://{shop.at['order']}/{path}"
        request = urllib.request.Request(url, json.dumps(too_many).encode(), {"Content-Type": "application/json"})
        found = status_of(request)
        assert found == status, f"{path}: expected {status}, found {found}"


def scrape(address, accept):
    request = urllib.request.Request(f"http://{address}/metrics", headers={"Accept": accept})
    return urllib.request.urlopen(request, timeout=20).read().decode()


def main(onrush, work, promtool):
    with Shop(onrush, f"{work}/data", ALL) as shop:
        buy(shop)
        for service in ALL:
            text = scrape(shop.at[service], "text/plain")
            checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
            assert checked.returncode == 0, f"{service}: {checked.stderr}{checked.stdout}"
        families = {family.name: family for family in text_string_to_metric_families(scrape(shop.at["order"], "application/openmetrics-text"))}
        assert families["onrush_http_requests"].type == "counter", families["onrush_http_requests"]
        create = [
            sample.value for sample in families["onrush_http_requests"].samples
            if sample.labels["route"].endswith("/CreateOrder") and sample.labels["code"] == "200"
        ]
        assert create == [1.0], create
        print(f"promtool read /metrics of {len(ALL)} ports, with {len(families)} families")


main(sys.argv[1], sys.argv[2], sys.argv[3])
