"""A foreign client: Authlib finds the provider, sends a user there with PKCE, and uses what they granted."""

import html.parser
import sys

import requests
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import OpenIDProviderMetadata
from joserfc import jwt
from joserfc.jwk import KeySet

PASSWORD = "correct horse battery"
BACK = "https://app.example.com/back"
SCOPE = "openid profile email offline_access orders.read"
VERIFIER = "v" * 64


class Form(html.parser.HTMLParser):
    """The hidden fields of a page."""

    def __init__(self, text):
        super().__init__()
        self.fields = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "input" and attrs.get("type") == "hidden":
            self.fields[attrs["name"]] = attrs["value"]


def post(url, body, token=None, expected=200):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = requests.post(url, json=body, headers=headers, timeout=20)
    assert answer.status_code == expected, answer.text
    return answer.json()


def allow(url):
    """A user logs in on the page and allows it; where the browser is sent."""
    browser = requests.Session()
    page = browser.get(url, timeout=20)
    assert page.status_code == 200, page.text
    fields = {**Form(page.text).fields, "email": "ada@example.com", "password": PASSWORD, "decision": "allow"}
    back = browser.post(page.url.split("?")[0], data=fields, allow_redirects=False, timeout=20)
    assert back.status_code == 303, back.text
    return back.headers["Location"]


def refused(call, error):
    try:
        call()
    except OAuthError as found:
        assert found.error == error, found
        return
    raise AssertionError(f"expected {error}")


def register(base, confidential, **more):
    admin = post(f"{base}/login", {"email": "admin@example.com", "password": "a long admin password"})["access_token"]
    client = {"name": "Authlib", "redirect_uris": [BACK], "scope": SCOPE, "confidential": confidential, **more}
    return post(f"{base}/oauth2/clients", client, admin, 201)


def machine(base, orders, products, user):
    """A client that acts for nobody, under a role of its own."""
    endpoint = requests.get(f"{base}/.well-known/oauth-authorization-server", timeout=20).json()["token_endpoint"]
    roles = {"redirect_uris": [], "scope": "catalogue.write", "roles": ["merchant"]}
    client = register(base, True, **roles)
    product = {"sku": "tea", "name": "Tea", "price": {"minorUnits": "499", "currencyCode": "EUR"}}
    for method in ("client_secret_basic", "client_secret_post"):
        session = OAuth2Session(client["client_id"], client["client_secret"], token_endpoint_auth_method=method)
        for scope in (None, "catalogue.write"):
            token = session.fetch_token(endpoint, grant_type="client_credentials", **({"scope": scope} if scope else {}))
            assert "refresh_token" not in token and token.get("scope") == scope, token
            put = session.post(f"http://{products}/onrush.product.v1.ProductService/PutProduct", json=product, timeout=20)
            assert put.status_code == 200, put.text
            beyond = {"FORBIDDEN"} if scope is None else {"INSUFFICIENT_SCOPE"}
            listed = session.post(
                f"http://{orders}/onrush.order.v1.OrderService/ListOrders", json={"customerId": user["id"]}, timeout=20
            )
            assert (listed.status_code, {listed.json()["reason"]}) == (403, beyond), listed.text
        refused(lambda: session.fetch_token(endpoint, grant_type="client_credentials", scope="orders.read"), "invalid_scope")
    plain = register(base, True)
    session = OAuth2Session(plain["client_id"], plain["client_secret"], token_endpoint_auth_method="client_secret_basic")
    refused(lambda: session.fetch_token(endpoint, grant_type="client_credentials"), "unauthorized_client")


def flow(base, orders, user, method):
    """The whole way of a client that says who it is by this method."""
    provider = OpenIDProviderMetadata(requests.get(f"{base}/.well-known/openid-configuration", timeout=20).json())
    client = register(base, method != "none")
    session = OAuth2Session(
        client["client_id"], client.get("client_secret"), token_endpoint_auth_method=method, scope=SCOPE,
        redirect_uri=BACK, code_challenge_method="S256",
    )
    url, state = session.create_authorization_url(provider["authorization_endpoint"], code_verifier=VERIFIER, nonce="n-1")
    back = allow(url)
    assert f"state={state}" in back, back
    token = session.fetch_token(provider["token_endpoint"], authorization_response=back, code_verifier=VERIFIER)
    keys = KeySet.import_key_set(requests.get(provider["jwks_uri"], timeout=20).json())
    read = jwt.decode(token["id_token"], keys, algorithms=provider["id_token_signing_alg_values_supported"])
    essential = {"iss": {"essential": True, "value": provider["issuer"]}, "aud": {"essential": True, "value": client["client_id"]}}
    params = {"nonce": "n-1", "client_id": client["client_id"]}
    CodeIDToken(read.claims, read.header, options=essential, params=params).validate()
    assert read.claims["sub"] == user["id"], read.claims

    info = session.get(provider["userinfo_endpoint"], timeout=20).json()
    expected = {"sub": user["id"], "name": "Ada", "email": "ada@example.com", "email_verified": False}
    assert info == expected, info
    service = f"http://{orders}/onrush.order.v1.OrderService"
    assert session.post(f"{service}/ListOrders", json={}, timeout=20).status_code == 200
    order = {"lines": [{"sku": "tea", "quantity": "1"}]}
    beyond = session.post(f"{service}/CreateOrder", json=order, timeout=20)
    assert (beyond.status_code, beyond.json()["reason"]) == (403, "INSUFFICIENT_SCOPE"), beyond.text

    old = token["refresh_token"]
    token = session.refresh_token(provider["token_endpoint"], refresh_token=old)
    if method != "none":
        found = session.introspect_token(provider["introspection_endpoint"], token=token["access_token"]).json()
        assert found["active"] and found["sub"] == user["id"] and found["scope"] == SCOPE, found
    assert session.revoke_token(provider["revocation_endpoint"], token=token["refresh_token"]).status_code == 200
    refused(lambda: session.refresh_token(provider["token_endpoint"], refresh_token=token["refresh_token"]), "invalid_grant")

    # A code that comes twice takes back what it gave; without a verifier it gives nothing.
    url, _ = session.create_authorization_url(provider["authorization_endpoint"], code_verifier=VERIFIER)
    back = allow(url)
    token = session.fetch_token(provider["token_endpoint"], authorization_response=back, code_verifier=VERIFIER)
    again = lambda: session.fetch_token(provider["token_endpoint"], authorization_response=back, code_verifier=VERIFIER)
    refused(again, "invalid_grant")
    gone = requests.get(provider["userinfo_endpoint"], headers={"Authorization": f"Bearer {token['access_token']}"}, timeout=20)
    assert gone.status_code == 401, gone.text


def main(user_address, order_address, product_address):
    base = f"http://{user_address}"
    account = {"email": "ada@example.com", "password": PASSWORD, "name": "Ada"}
    user = post(f"{base}/register", account, expected=201)
    server = requests.get(f"{base}/.well-known/oauth-authorization-server", timeout=20).json()
    # Authlib holds to the letter that these are https, which loopback is not.
    secured = {name: value.replace("http://", "https://") if isinstance(value, str) else value for name, value in server.items()}
    AuthorizationServerMetadata(secured).validate()
    # Discovery asks for RS256 as well. Our ID tokens are EdDSA alone, which every reader of the key set is told.
    algorithms = secured["id_token_signing_alg_values_supported"]
    assert algorithms == ["EdDSA"], algorithms
    OpenIDProviderMetadata({**secured, "id_token_signing_alg_values_supported": [*algorithms, "RS256"]}).validate()
    for method in ("client_secret_basic", "client_secret_post", "none"):
        flow(base, order_address, user, method)
    machine(base, order_address, product_address, user)
    print("Authlib got what was granted, with a secret in either place and without one, and a token for itself")


if __name__ == "__main__":
    main(*sys.argv[1:])
