"""localstripe on this machine only (by itself it listens to everybody), with what it does not know yet: two fields, and a page
for buyers who have to prove who they are."""

import sys

from aiohttp import web
from localstripe import resources, server

known, confirm = resources.PaymentIntent.__init__, resources.PaymentIntent._confirm


def create(self, automatic_payment_methods=None, return_url=None, **data):
    assert automatic_payment_methods == {"enabled": "true", "allow_redirects": "never"}, automatic_payment_methods
    assert return_url.startswith("https://shop.example/orders/"), return_url
    known(self, **data)
    self.return_url = return_url


def redirect(self, on_failure_now):
    confirm(self, on_failure_now)
    if self.next_action:
        page = {"url": f"https://hooks.stripe.com/3d/{self.id}", "return_url": self.return_url}
        self.next_action = {"type": "redirect_to_url", "redirect_to_url": page}


resources.PaymentIntent.__init__, resources.PaymentIntent._confirm = create, redirect
web.run_app(server.app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
