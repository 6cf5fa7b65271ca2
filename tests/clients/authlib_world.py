"""Authlib, requests and PyJWT against a provider of a world, with nothing but the world's own trust."""

import html
import json
import re
import sys
import time

import jwt
import requests
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session

told = json.loads(sys.argv[1])
issuer, callback = told["issuer"], told["app"] + "/callback"
base, realm = issuer.split("/realms/")


def discover(of):
    found = requests.get(of + "/.well-known/openid-configuration", timeout=10).json()
    assert found["issuer"] == of and found["code_challenge_methods_supported"] == ["S256"], found
    return found


def submit(browser, page, **values):
    action = html.unescape(re.search(r'<form method="post" action="([^"]*)"', page.text)[1])
    hidden = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page.text)
    data = {name: html.unescape(value) for name, value in hidden} | values
    return browser.post(requests.compat.urljoin(page.url, action), data=data, allow_redirects=False, timeout=10)


# Client credentials, and a client of our own by the admin interface.
admin_meta = discover(told["adminIssuer"])
machine = OAuth2Session("netengine-api", told["apiSecret"], token_endpoint_auth_method="client_secret_basic")
token = machine.fetch_token(admin_meta["token_endpoint"], grant_type="client_credentials")
wanted = {
    "clientId": "python-app", "redirectUris": [callback], "postLogoutRedirectUris": [told["app"] + "/bye"],
    "standardFlowEnabled": True, "serviceAccountsEnabled": True, "deviceFlowEnabled": True,
}
made = machine.post(f"{base}/admin/realms/{realm}/clients", json=wanted, timeout=10)
assert made.status_code == 201, made.text
secret = made.json()["secret"]

meta = discover(issuer)
keys = jwt.PyJWKClient(meta["jwks_uri"])


def opened(raw, audience):
    key = keys.get_signing_key_from_jwt(raw)
    return jwt.decode(raw, key.key, algorithms=["RS256", "ES256"], audience=audience, issuer=issuer)


# Code with PKCE, wrong password first.
verifier = generate_token(48)
client = OAuth2Session(
    "python-app", secret, scope="openid profile email", redirect_uri=callback, code_challenge_method="S256",
    token_endpoint_auth_method="client_secret_post",
)
url, state = client.create_authorization_url(meta["authorization_endpoint"], code_verifier=verifier, nonce="n-1")
browser = requests.Session()
page = browser.get(url, timeout=10)
assert "default-src 'none'" in page.headers["content-security-policy"] and "<script" not in page.text
page = submit(browser, page, username=told["username"], password="guess")
assert page.status_code == 200 and "do not match" in page.text, page.text
back = submit(browser, page, username=told["username"], password=told["password"])
assert back.status_code == 303, back.text
token = client.fetch_token(meta["token_endpoint"], authorization_response=back.headers["location"], code_verifier=verifier)
claims = opened(token["id_token"], "python-app")
assert claims["nonce"] == "n-1" and abs(claims["iat"] - time.time()) < 30, claims
assert claims["preferred_username"] == told["username"] and claims.get("organization") == told.get("organization"), claims
assert client.get(meta["userinfo_endpoint"], timeout=10).json()["sub"] == claims["sub"]

# Refresh, introspection, revocation.
fresh = client.refresh_token(meta["token_endpoint"], refresh_token=token["refresh_token"])
assert fresh["refresh_token"] != token["refresh_token"]
assert client.introspect_token(meta["introspection_endpoint"], token=fresh["refresh_token"]).json()["active"] is True
assert client.revoke_token(meta["revocation_endpoint"], token=fresh["refresh_token"]).status_code == 200
assert client.introspect_token(meta["introspection_endpoint"], token=fresh["access_token"]).json() == {"active": False}

# Device, with the login on the device page.
auth = ("python-app", secret)
device = requests.post(meta["device_authorization_endpoint"], data={"scope": "openid"}, auth=auth, timeout=10).json()
poll = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": device["device_code"]}
assert requests.post(meta["token_endpoint"], data=poll, auth=auth, timeout=10).json()["error"] == "authorization_pending"
other = requests.Session()
page = submit(other, other.get(device["verification_uri"], timeout=10), user_code=device["user_code"].lower())
page = submit(other, page, username=told["username"], password=told["password"])
assert "Device connected" in submit(other, page, answer="allow").text
token = requests.post(meta["token_endpoint"], data=poll, auth=auth, timeout=10).json()
assert opened(token["id_token"], "python-app")["sub"] == claims["sub"]

# Logout.
out = {"id_token_hint": token["id_token"], "post_logout_redirect_uri": told["app"] + "/bye"}
done = other.get(meta["end_session_endpoint"], params=out, allow_redirects=False, timeout=10)
assert done.headers["location"] == told["app"] + "/bye"
asked = requests.get(meta["userinfo_endpoint"], headers={"Authorization": "Bearer " + token["access_token"]}, timeout=10)
assert asked.status_code == 401 and "invalid_token" in asked.headers["www-authenticate"]
print("all done")
