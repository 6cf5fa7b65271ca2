"""Mixed operations against a world whose services die meanwhile; only what was acknowledged counts.

Argument: JSON. With `count` it makes that many operations, says `done N` after each, and ends with one line of JSON: what
was acknowledged. With `ledger` (standard input holds that line) it tells what of it cannot be found.
"""

import base64
import hashlib
import http.client
import http.server
import json
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

told = json.loads(sys.argv[1]) if __name__ == "__main__" else {}
HERE = "core.platform.internal"
CA, REGISTRAR = "ca.platform.internal", "registrar.platform.internal"
ACME_CORP, INWORLD = "https://auth.internal/realms/acme-corp", "https://auth.internal/realms/inworld"
PATIENCE = 60
trust = ssl.create_default_context()


class Refused(Exception):
    pass


class Web:
    """One kept connection per host and thread; a lost one is made again until the time is over."""

    def __init__(self):
        self.open = {}

    def once(self, method, url, body=None, headers=None):
        parts = urllib.parse.urlsplit(url)
        connection = self.open.get(parts.netloc)
        if connection is None:
            connection = http.client.HTTPSConnection(parts.netloc, timeout=10, context=trust)
            self.open[parts.netloc] = connection
        try:
            connection.request(method, parts.path + ("?" + parts.query if parts.query else ""), body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            del self.open[parts.netloc]
            raise

    def ask(self, *request):
        return patiently(lambda: self.once(*request))


def patiently(work):
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return work()
        except (OSError, http.client.HTTPException):
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return b64(value.to_bytes(32, "big"))


class Bearer:
    """Tokens by client credentials, got anew when one is no longer taken."""

    def __init__(self, web, issuer, secret, scope):
        self.web, self.issuer, self.secret, self.scope, self.token = web, issuer, secret, scope, None

    def ask(self, method, url, value=None):
        for _ in range(2):
            if self.token is None:
                form = {"grant_type": "client_credentials", "scope": self.scope}
                basic = base64.b64encode(f"netengine-api:{self.secret}".encode()).decode()
                headers = {"authorization": f"Basic {basic}", "content-type": "application/x-www-form-urlencoded"}
                url_of_token = f"{self.issuer}/protocol/openid-connect/token"
                status, _, body = self.web.ask("POST", url_of_token, urllib.parse.urlencode(form), headers)
                if status != 200:
                    raise Refused(f"token: {status} {body}")
                self.token = json.loads(body)["access_token"]
            headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
            sent = None if value is None else json.dumps(value)
            status, _, body = self.web.ask(method, url, sent, headers)
            if status != 401:
                return status, body
            self.token = None
        raise Refused(f"{url}: {body}")


class Acme:
    tokens = {}

    def __init__(self, web):
        self.web, self.nonce, self.account = web, None, None
        self.key = ec.generate_private_key(ec.SECP256R1())
        point = self.key.public_key().public_numbers()
        self.jwk = {"crv": "P-256", "kty": "EC", "x": number(point.x), "y": number(point.y)}
        plain = json.dumps(self.jwk, sort_keys=True, separators=(",", ":")).encode()
        self.thumbprint = b64(hashlib.sha256(plain).digest())
        self.directory = json.loads(web.ask("GET", f"https://{CA}/acme/acme/directory")[2])
        status, headers, body = self.post(self.directory["newAccount"], {"termsOfServiceAgreed": True})
        if status not in (200, 201):
            raise Refused(body)
        self.account = headers["location"]

    def signed(self, url, payload, nonce, algorithm="ES256"):
        head = {"alg": algorithm, "nonce": nonce, "url": url}
        head |= {"kid": self.account} if self.account else {"jwk": self.jwk}
        protected, body = b64(json.dumps(head).encode()), b64(json.dumps(payload).encode()) if payload != "" else ""
        r, s = utils.decode_dss_signature(self.key.sign(f"{protected}.{body}".encode(), ec.ECDSA(hashes.SHA256())))
        return json.dumps({
            "protected": protected, "payload": body, "signature": b64(r.to_bytes(32, "big") + s.to_bytes(32, "big")),
        })

    def post(self, url, payload):
        for _ in range(20):
            if self.nonce is None:
                self.nonce = self.web.ask("HEAD", self.directory["newNonce"])[1]["replay-nonce"]
            jws = self.signed(url, payload, self.nonce)
            self.nonce = None
            try:
                said = self.web.once("POST", url, jws, {"content-type": "application/jose+json"})
            except (OSError, http.client.HTTPException):
                # A nonce is for one request, and this one may have been taken.
                time.sleep(0.01)
                self.web.ask("HEAD", self.directory["newNonce"])
                continue
            self.nonce = said[1].get("replay-nonce")
            if said[0] == 400 and b"badNonce" in said[2]:
                continue
            return said
        raise Refused(f"{url}: no success")

    def good(self, url, payload, *statuses):
        status, headers, body = self.post(url, payload)
        if status not in statuses:
            raise Refused(f"{url}: {status} {body}")
        return headers, body

    def until(self, url, *wanted):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = json.loads(self.good(url, "", 200)[1])
            if found["status"] in wanted:
                return found
            if found["status"] == "invalid":
                raise Refused(f"{url}: {found}")
            time.sleep(0.005)
        raise Refused(f"{url} in time")

    def certificate(self):
        """Gives the certificate, DER, and its serial number."""
        headers, body = self.good(
            self.directory["newOrder"], {"identifiers": [{"type": "dns", "value": HERE}]}, 201, 200)
        order, url = json.loads(body), headers["location"]
        for of in order["authorizations"]:
            found = json.loads(self.good(of, "", 200)[1])
            if found["status"] == "pending":
                challenge = next(one for one in found["challenges"] if one["type"] == "http-01")
                Acme.tokens[challenge["token"]] = f"{challenge['token']}.{self.thumbprint}"
                self.good(challenge["url"], {}, 200)
                self.until(of, "valid")
        self.until(url, "ready")
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(HERE)])
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, False)
        request = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
        self.post(order["finalize"], {"csr": b64(request)})
        done = self.until(url, "valid")
        chain = self.good(done["certificate"], "", 200)[1]
        return x509.load_pem_x509_certificate(chain)

    def revoke(self, certificate):
        der = certificate.public_bytes(serialization.Encoding.DER)
        status, _, body = self.post(self.directory["revokeCert"], {"certificate": b64(der)})
        if status != 200 and b"alreadyRevoked" not in body:
            raise Refused(body)


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        key = Acme.tokens.get(self.path.rsplit("/", 1)[1], "").encode()
        self.send_response(200 if key else 404)
        self.send_header("content-length", str(len(key)))
        self.end_headers()
        self.wfile.write(key)

    def log_message(self, *_):
        pass


def serial(certificate):
    # As the world's owner is shown it: hexadecimal, two digits for each byte.
    text = f"{certificate.serial_number:x}"
    return text if len(text) % 2 == 0 else "0" + text


class Worker:
    def __init__(self, ledger, lock):
        self.ledger, self.lock, self.web = ledger, lock, Web()
        self.acme, self.own = None, []
        self.registrar = Bearer(self.web, ACME_CORP, told["acme"], "registrar")
        self.admin = Bearer(self.web, INWORLD, told["inworld"], "openid")

    def keep(self, kind, what):
        with self.lock:
            self.ledger[kind].append(what)

    def register(self, n):
        wanted = {"name": f"d{n}.corp", "organisation": "acme-corp"}
        status, body = self.registrar.ask("POST", f"https://{REGISTRAR}/v1/domains", wanted)
        # Taken already: by this very operation, whose answer was lost.
        if status not in (201, 409):
            raise Refused(f"{status} {body}")
        self.keep("domains", wanted["name"])

    def user(self, n):
        url = "https://auth.internal/admin/realms/acme-corp/users"
        status, body = self.admin.ask("POST", url, {"username": f"u{n}", "enabled": True})
        if status not in (201, 409):
            raise Refused(f"{status} {body}")
        self.keep("users", f"u{n}")

    def update(self, n):
        script = f"server 10.0.0.3\nupdate add r{n}.platform.internal 60 TXT n{n}\nsend\n"
        end = time.monotonic() + PATIENCE
        command = ["nsupdate", "-t", "2", "-u", "1", "-r", "1", "-y", told["update"]]
        while (ran := subprocess.run(command, input=script, text=True, capture_output=True)).returncode != 0:
            if time.monotonic() > end or "REFUSED" in ran.stderr or "NOTAUTH" in ran.stderr:
                raise Refused(ran.stderr)
        self.keep("records", f"r{n}.platform.internal")

    def certificate(self, _):
        if self.acme is None:
            self.acme = Acme(self.web)
        certificate = self.acme.certificate()
        self.own.append(certificate)
        self.keep("certificates", serial(certificate))

    def revoke(self, n):
        if not self.own:
            return self.certificate(n)
        certificate = self.own.pop()
        self.acme.revoke(certificate)
        self.keep("revoked", serial(certificate))

    def run(self, numbers, failed):
        kinds = [self.certificate, self.register, self.update, self.user, self.register, self.revoke, self.register,
                 self.certificate, self.update, self.register]
        for n in numbers:
            try:
                kinds[n % len(kinds)](n)
            except Exception as error:
                failed.append(f"operation {n}: {error!r}")
                return
            with self.lock:
                print("done", n, flush=True)


def make(count):
    server = http.server.ThreadingHTTPServer(("", 80), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ledger = {kind: [] for kind in ("certificates", "revoked", "domains", "records", "users")}
    lock, numbers, failed = threading.Lock(), iter(range(count)), []

    def shared():
        while True:
            with lock:
                n = next(numbers, None)
            if n is None:
                return
            yield n

    threads = [threading.Thread(target=Worker(ledger, lock).run, args=(shared(), failed)) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    if failed:
        sys.exit("\n".join(failed))
    print(json.dumps(ledger))


def missing(ledger):
    web = Web()
    registrar = Bearer(web, ACME_CORP, told["acme"], "registrar")
    admin = Bearer(web, INWORLD, told["inworld"], "openid")
    for name in ledger["domains"]:
        if registrar.ask("GET", f"https://{REGISTRAR}/v1/domains/{name}")[0] != 200:
            yield name
    for name in ledger["users"]:
        found = admin.ask("GET", f"https://auth.internal/admin/realms/acme-corp/users?exact=true&username={name}")
        if [one["username"] for one in json.loads(found[1])] != [name]:
            yield name
    # From the server itself, and for registrations from that of their domain.
    for server, names, rtype in [("10.0.0.3", ledger["records"], "TXT"), ("10.0.0.5", ledger["domains"], "NS")]:
        for at in range(0, len(names), 50):
            some = names[at:at + 50]
            asked = [part for name in some for part in (f"@{server}", "+norecurse", "+short", "+tcp", name, rtype)]
            wanted = {"TXT": lambda name: f'"n{name[1:].split(".")[0]}"', "NS": lambda _: "ns.corp."}[rtype]
            said = subprocess.run(["dig", *asked], capture_output=True, text=True).stdout.split()
            if said != [wanted(name) for name in some]:
                yield from (name for name in some if subprocess.run(
                    ["dig", f"@{server}", "+norecurse", "+short", "+tcp", name, rtype],
                    capture_output=True, text=True).stdout.strip() != wanted(name))


if "count" in told:
    make(told["count"])
elif told:
    print(json.dumps(list(missing(json.load(sys.stdin)))))
