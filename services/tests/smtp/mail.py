"""A foreign mail server: takes the shop's mails over STARTTLS after a login, and reads their MIME parts."""

import email
import email.policy
import json
import os
import queue
import socket
import ssl
import subprocess
import sys
import urllib.request

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

USER, PASSWORD = "shop@example.com", "a password for mails"


class Mailbox:
    """Keeps every mail that arrives."""

    def __init__(self):
        self.mails = queue.Queue()

    async def handle_DATA(self, server, session, envelope):
        assert session.ssl is not None, "expected TLS"
        assert session.authenticated, "expected a login"
        self.mails.put((envelope, email.message_from_bytes(envelope.content, policy=email.policy.default)))
        return "250 taken"


def login(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good)


def serve(mailbox, work):
    """A mail server with a certificate that only the shop is told to believe."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(f"{work}/ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    peer = Controller(
        mailbox, hostname="127.0.0.1", port=0, ready_timeout=20,
        tls_context=context, require_starttls=True, auth_required=True, authenticator=login,
    )
    # The controller does not tell which port it got: take one that is free.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        peer.port = probe.getsockname()[1]
    peer.start()
    return peer


def call(base, method, body):
    request = urllib.request.Request(f"http://{base}/{method}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=20))


def shop(onrush, work, port):
    """The shop and where its services listen."""
    services = ["product", "order", "payment", "notification"]
    command = [onrush, "serve", "--data-dir", f"{work}/data", "--services", ",".join(services)]
    for service in services:
        command += [f"--{service}-port", "0"]
    env = dict(
        os.environ, SMTP_HOST="localhost", SMTP_PORT=str(port), SMTP_USER=USER, SMTP_PASS=PASSWORD,
        SMTP_CA_FILE=f"{work}/ca.pem",
    )
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    addresses = {}
    for line in process.stdout:
        words = line.split()
        if words and words[0] in services and len(words) == 2:
            addresses[words[0]] = words[1]
        if line.startswith("health"):
            break
    return process, addresses


def main(onrush, work):
    mailbox = Mailbox()
    peer = serve(mailbox, work)
    process, at = shop(onrush, work, peer.port)
    try:
        price = {"minorUnits": "499", "currencyCode": "EUR"}
        product, order = "onrush.product.v1.ProductService", "onrush.order.v1.OrderService"
        call(at["product"], f"{product}/PutProduct", {"sku": "tea", "name": "Tea", "price": price})
        call(at["product"], f"{product}/UpdateStock", {"sku": "tea", "set": "3"})
        contact = {"customerId": "ada", "email": "ada@example.com"}
        call(at["notification"], "onrush.notification.v1.NotificationService/PutContact", contact)
        lines = [{"sku": "tea", "quantity": "2"}]
        created = call(at["order"], f"{order}/CreateOrder", {"customerId": "ada", "lines": lines})
        paid = {"orderId": created["orderId"], "paymentMethod": "pm_card"}
        call(at["order"], f"{order}/ProcessPayment", paid)
        subjects = set()
        for _ in range(2):
            envelope, mail = mailbox.mails.get(timeout=30)
            assert envelope.rcpt_tos == ["ada@example.com"], envelope.rcpt_tos
            assert mail["From"].addresses[0].addr_spec == USER, mail["From"]
            assert mail["To"] == "ada@example.com" and mail["Message-ID"] and mail["Date"], mail.items()
            assert mail.get_content_type() == "text/plain" and "Tea" in mail.get_content(), mail.get_content()
            subjects.add(str(mail["Subject"]))
        expected = {f"Your order {created['orderId']}", f"Receipt for order {created['orderId']}: 9.98 EUR"}
        assert subjects == expected, subjects
        print("aiosmtpd took both mails over STARTTLS after a login")
    finally:
        process.terminate()
        process.wait(timeout=20)
        peer.stop()


main(sys.argv[1], sys.argv[2])
