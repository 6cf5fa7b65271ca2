"""A front before one HTTPS service of a world, as somebody with the host's root rights and the authority's key could plant it.

Run in the namespace of the world's services. Argument: JSON with `database` (of the authority), `name` and `address` of the
service, `port` to listen on, and either `expired` (the certificate shown is over its time) or `keys` (what is answered for the
key set of the issuer at path `certs`, in place of what it serves now). Everything else is passed on. It says `ready`.
"""

import datetime
import http.client
import http.server
import json
import os
import sqlite3
import ssl
import sys
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

told = json.loads(sys.argv[1])
DAY = datetime.timedelta(days=1)


def certificate():
    """A key and a certificate of the world's authority for the service's name, PEM."""
    base = sqlite3.connect(f"file:{told['database']}?mode=ro", uri=True)
    kept = dict((level, (key, der)) for level, key, der in base.execute("SELECT level, key, certificate FROM pki_material"))
    key, der = kept.get("intermediate") or kept["root"]
    issuer, authority = serialization.load_der_private_key(key, None), x509.load_der_x509_certificate(der)
    own = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    begin, end = (now - 3 * DAY, now - DAY) if told.get("expired") else (now - DAY / 24, now + DAY)
    # The authority may itself be younger than that: it is the leaf that is over its time.
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, told["name"])]))
        .issuer_name(authority.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(told["name"])]), False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .sign(issuer, hashes.SHA256())
    )
    chain = [made] if "intermediate" not in kept else [made, authority]
    secret = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret + b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)


class Front(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length) if length else None
        if told.get("keys") and self.path.endswith(told["certs"]):
            status, kind, said = 200, "application/json", json.dumps(told["keys"]).encode()
        else:
            # From inside the namespace this is the service itself: what is planted is in the way of forwarded packets only.
            context = ssl._create_unverified_context()
            service = http.client.HTTPSConnection(told["address"], 443, timeout=10, context=context)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            service.request(self.command, self.path, body, headers)
            answered = service.getresponse()
            status, kind, said = answered.status, answered.getheader("content-type"), answered.read()
        self.send_response(status)
        if kind:
            self.send_header("content-type", kind)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_HEAD = answer

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        # Clients that trust only what is right break off.
        pass


server = Server((told["address"], told["port"]), Front)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
with tempfile.NamedTemporaryFile() as pem:
    pem.write(certificate())
    pem.flush()
    context.load_cert_chain(pem.name)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("ready", os.getpid(), flush=True)
server.serve_forever()
