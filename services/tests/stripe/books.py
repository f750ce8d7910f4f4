"""localstripe on this machine only (by itself it listens to everybody), with two fields that it does not know yet."""

import sys

from aiohttp import web
from localstripe import resources, server

known = resources.PaymentIntent.__init__


def create(self, automatic_payment_methods=None, error_on_requires_action=None, **data):
    assert automatic_payment_methods == {"enabled": "true", "allow_redirects": "never"}, automatic_payment_methods
    assert error_on_requires_action == "true", error_on_requires_action
    known(self, **data)


resources.PaymentIntent.__init__ = create
web.run_app(server.app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
