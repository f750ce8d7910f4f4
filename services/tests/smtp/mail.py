"""A foreign mail server: takes the shop's mails over STARTTLS after a login, and reads their MIME parts."""

import email
import email.policy
import queue
import socket
import ssl
import sys

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from shop import Shop

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


def main(onrush, work):
    mailbox = Mailbox()
    peer = serve(mailbox, work)
    settings = {
        "SMTP_HOST": "localhost", "SMTP_PORT": str(peer.port), "SMTP_USER": USER, "SMTP_PASS": PASSWORD,
        "SMTP_CA_FILE": f"{work}/ca.pem",
    }
    with Shop(onrush, f"{work}/data", **settings) as shop:
        shop.stock()
        shop.notify("PutContact", customerId="ada", email="ada@example.com")
        order_id = shop.order()
        shop.pay(order_id)
        subjects = set()
        for _ in range(2):
            envelope, mail = mailbox.mails.get(timeout=30)
            assert envelope.rcpt_tos == ["ada@example.com"], envelope.rcpt_tos
            assert mail["From"].addresses[0].addr_spec == USER, mail["From"]
            assert mail["To"] == "ada@example.com" and mail["Message-ID"] and mail["Date"], mail.items()
            assert mail.get_content_type() == "text/plain" and "Tea" in mail.get_content(), mail.get_content()
            subjects.add(str(mail["Subject"]))
        expected = {f"Your order {order_id}", f"Receipt for order {order_id}: 9.98 EUR"}
        assert subjects == expected, subjects
        print("aiosmtpd took both mails over STARTTLS after a login")
    peer.stop()


main(sys.argv[1], sys.argv[2])
