"""A foreign verifier: PyJWT believes our access tokens by our JWK set alone, and nothing that is not in them."""

import json
import sys
import urllib.error
import urllib.request

import jwt

PASSWORD = "correct horse battery"


def call(address, path, body=None, token=None, method=None, **headers):
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"http://{address}{path}", data=data, method=method)
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None, answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), error.headers


def main(address):
    account = {"email": "py@example.com", "password": PASSWORD, "name": "Py"}
    status, user, _ = call(address, "/register", account)
    assert status == 201, user
    status, tokens, _ = call(address, "/login", {"email": "PY@example.com", "password": PASSWORD})
    assert status == 200 and tokens["token_type"] == "Bearer", tokens
    token = tokens["access_token"]

    keys = jwt.PyJWKClient(f"http://{address}/.well-known/jwks.json")
    key = keys.get_signing_key_from_jwt(token)
    expected = {"algorithms": ["EdDSA"], "issuer": "onrush", "audience": "onrush"}
    claims = jwt.decode(token, key.key, **expected, options={"require": ["exp", "nbf", "iat", "iss", "aud", "sub", "jti"]})
    assert claims["sub"] == user["id"] and claims["roles"] == ["customer"], claims
    assert claims["exp"] - claims["iat"] == tokens["expires_in"] == 900, claims
    assert jwt.get_unverified_header(token) == {"typ": "at+jwt", "alg": "EdDSA", "kid": key.key_id}
    for wrong in ({"issuer": "evil"}, {"audience": "evil"}, {"algorithms": ["HS256"]}):
        try:
            jwt.decode(token, key.key, **{**expected, **wrong})
        except (jwt.InvalidTokenError, TypeError):
            continue
        raise AssertionError(f"expected PyJWT to refuse under {wrong}")

    # What PyJWT makes of the same claims without our key, the server refuses.
    promoted = {**claims, "roles": ["admin"]}
    for forged in (
        jwt.encode(promoted, None, algorithm="none", headers={"typ": "at+jwt", "kid": key.key_id}),
        jwt.encode(promoted, "x" * 32, algorithm="HS256", headers={"typ": "at+jwt", "kid": key.key_id}),
    ):
        status, problem, _ = call(address, "/profile", token=forged)
        assert (status, problem["reason"]) == (401, "INVALID_TOKEN"), problem

    status, profile, headers = call(address, "/profile", token=token)
    assert status == 200 and profile == user, profile
    change = {"name": "Monty"}
    status, profile, _ = call(address, "/profile", change, token, "PUT", If_Match=headers["ETag"])
    assert status == 200 and profile["name"] == "Monty", profile
    status, problem, _ = call(address, "/profile", change, token, "PUT", If_Match=headers["ETag"])
    assert (status, problem["reason"]) == (412, "VERSION_MISMATCH"), problem
    status, _, _ = call(address, "/logout", {"refresh_token": tokens["refresh_token"]})
    assert status == 204, status
    print("verified by PyJWT", jwt.__version__, "and the JWK set:", claims["sub"])


if __name__ == "__main__":
    main(sys.argv[1])
