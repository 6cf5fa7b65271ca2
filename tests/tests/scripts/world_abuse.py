"""What a hostile host of a world may send to its services. First argument: the attack; it fails when a service does."""

import json
import os
import resource
import socket
import ssl
import struct
import subprocess
import sys

NAMES = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.5"]
WEB = {
    "ca.platform.internal": 443, "auth.platform.internal": 443, "registry.platform.internal": 443,
    "domainreg.platform.internal": 443, "registrar.platform.internal": 443, "auth.internal": 443,
    "api.platform.internal": 8080,
}
WHOIS = ("10.0.0.9", 43)
PATIENCE = 30
trust = ssl.create_default_context()
blind = ssl.create_default_context()
blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE


def question(name="ca.platform.internal", rtype=1, id=4711, flags=0x0100):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", id, flags, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", rtype, 1)


def stream(address, port=53):
    return socket.create_connection((address, port), timeout=PATIENCE)


def ask_udp(server, message, timeout=PATIENCE):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as it:
        it.settimeout(timeout)
        it.connect((server, 53))
        it.send(message)
        return it.recv(65535)


def read_exactly(it, size):
    found = b""
    while len(found) < size:
        part = it.recv(size - len(found))
        assert part, "closed"
        found += part
    return found


def ask_tcp(server, message):
    with stream(server) as it:
        it.sendall(struct.pack("!H", len(message)) + message)
        return read_exactly(it, struct.unpack("!H", read_exactly(it, 2))[0])


def status(name, request, port=443, context=trust):
    """The status of the first answer to raw bytes, or 0 when there is none."""
    with context.wrap_socket(stream(name, port), server_hostname=name) as it:
        try:
            it.sendall(request)
            head = it.recv(65536)
        except (ConnectionError, ssl.SSLError):
            return 0
    return int(head.split(b" ")[1]) if head.startswith(b"HTTP/1.1 ") else 0


def whois(line):
    with stream(*WHOIS) as it:
        try:
            it.sendall(line)
            found = b""
            while part := it.recv(65536):
                found += part
        except ConnectionError:
            return b""
    return found


def alive():
    """Every service answers a client that means well."""
    for server in NAMES:
        for ask in (ask_udp, ask_tcp):
            answer = ask(server, question("platform.internal", 2))
            assert answer[:2] == question()[:2] and answer[3] & 15 in (0, 5), (server, ask, answer)
    for name, port in WEB.items():
        host = name if port == 443 else f"{name}:{port}"
        said = status(name, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), port)
        assert 200 <= said < 500 and said != 421, (name, said)
    assert b"acme-corp" in whois(b"acme.corp\r\n")


def names():
    """Malformed and truncated messages, over UDP and TCP, to every server."""
    good = question()
    bad = [good[:length] for length in range(len(good))]
    bad += [good[:n] + bytes([good[n] ^ bit]) + good[n + 1:] for n in range(2, len(good)) for bit in (1, 0x80, 0xff)]
    # A name that points at itself, one without an end, counts without records, an option that is longer than its record.
    bad += [good[:12] + b"\xc0\x0c\0\1\0\1", good[:12] + b"\x3fx" * 40, good[:4] + b"\xff" * 8 + good[12:]]
    bad += [good[:10] + b"\0\1" + good[12:] + b"\0\0\x29\x10\0\0\0\0\0\0\x08\0\x0a\0\xffabcd", os.urandom(1200)]
    for server in NAMES:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as it:
            it.connect((server, 53))
            for message in bad:
                it.send(message)
        with stream(server) as it:
            try:
                for message in bad:
                    it.sendall(struct.pack("!H", len(message)) + message)
            except ConnectionError:
                pass
        # A length that is a lie, and an end in the middle.
        for lie in (b"\0", b"\xff\xff" + good, struct.pack("!H", len(good)) + good[:5]):
            with stream(server) as it:
                it.sendall(lie)
                it.shutdown(socket.SHUT_WR)
        alive_one(server)


def alive_one(server):
    for ask in (ask_udp, ask_tcp):
        assert ask(server, question("platform.internal", 2))[:2] == question()[:2]


def halves():
    """Zero-length, half-open and dribbling connections; meanwhile others are answered."""
    for server in NAMES:
        held = []
        for n in range(200):
            it = stream(server)
            # A length of nothing; half a length; half a message; nothing at all.
            it.sendall([b"\0\0", b"\0", struct.pack("!H", 40) + b"x" * 7, b""][n % 4])
            held.append(it)
        for n in range(20):
            for it in held[2::4]:
                try:
                    it.send(b"y")
                except ConnectionError:
                    pass
            alive_one(server)
        [it.close() for it in held]


def idle():
    """A thousand connections that say nothing, at each service in turn; meanwhile more are answered."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    web = lambda name: 200 <= status(name, f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()) < 500
    for host, port, is_good in [
        ("10.0.0.3", 53, lambda: ask_tcp("10.0.0.3", question("platform.internal", 2))[:2] == question()[:2]),
        ("10.0.0.1", 53, lambda: ask_tcp("10.0.0.1", question("platform.internal", 2))[:2] == question()[:2]),
        # It refuses a source that is over its share, and this is the same one; it answers again after.
        (*WHOIS, None),
        ("ca.platform.internal", 443, lambda: web("ca.platform.internal")),
        ("auth.internal", 443, lambda: web("auth.internal")),
    ]:
        held = [stream(host, port) for _ in range(1000)]
        assert is_good is None or is_good(), (host, port)
        [it.close() for it in held]


def junk():
    """What is no TLS, and what is no honest HTTP in it."""
    for name, port in WEB.items():
        for bytes_ in (os.urandom(4000), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 300, b"\x16\x03\x01"):
            with stream(name, port) as it:
                try:
                    it.sendall(bytes_)
                    it.shutdown(socket.SHUT_WR)
                    it.recv(4096)
                except ConnectionError:
                    pass
        host = (name if port == 443 else f"{name}:{port}").encode()
        post = b"POST / HTTP/1.1\r\nHost: " + host + b"\r\n"
        inner = b"GET /smuggled HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        # Two lengths, a length and chunks, chunks by another word, sizes that overflow: one answer at most, and no second one
        # to what is inside (RFC 9112, section 11.2).
        for shape in (
            b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
            b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n\r\n",
            b"Content-Length: -1\r\n\r\n",
            b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        ):
            with trust.wrap_socket(stream(name, port), server_hostname=name) as it:
                found = b""
                it.settimeout(PATIENCE)
                try:
                    it.sendall(post + shape + inner)
                    # Whatever follows the refusal, the connection ends: the rest cannot be told from another request.
                    while part := it.recv(65536):
                        found += part
                        if found.count(b"HTTP/1.1 ") > 1 or not smuggles(shape):
                            break
                except (ConnectionError, ssl.SSLError):
                    pass
            refused = found == b"" or found.startswith(b"HTTP/1.1 4") and found.count(b"HTTP/1.1 ") == 1
            assert refused or not smuggles(shape), (name, shape, found)
        for forged in (b"evil.example", b"localhost", b"127.0.0.1", host + b".evil.example", host + b"@evil.example"):
            said = status(name, b"GET / HTTP/1.1\r\nHost: " + forged + b"\r\n\r\n", port)
            assert said in (400, 421), (name, forged, said)
        said = status(name, b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nHost: evil.example\r\n\r\n", port)
        assert said in (400, 421), (name, said)
        said = status(name, b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", port)
        assert said == 421, (name, said)


def smuggles(shape):
    """Those of the shapes that must be refused; of chunks with a length the chunks count (RFC 9112, section 6.3)."""
    return not shape.startswith((b"Content-Length: 4\r\nTransfer", b"X: "))


def lines():
    """WHOIS lines of 1 MiB, with an end and without."""
    for line in (b"a" * (1 << 20) + b"\r\n", b"a" * (1 << 20), b"\0" * (1 << 20), b"\xff\xfe\r\n", b"\r\n", b""):
        with stream(*WHOIS) as it:
            try:
                it.sendall(line)
                it.shutdown(socket.SHUT_WR)
                found = it.recv(65536)
            except OSError:
                found = b""
        assert b"acme" not in found and len(found) < 4096, found[:200]


def acme():
    """Orders for names outside the world, a nonce twice, no algorithm."""
    import durable

    web = durable.Web()
    client = durable.Acme(web)
    order = client.directory["newOrder"]
    post = lambda jws: web.ask("POST", order, jws, {"content-type": "application/jose+json"})
    nonce = lambda: web.ask("HEAD", client.directory["newNonce"])[1]["replay-nonce"]
    wanted = lambda name: {"identifiers": [{"type": "dns", "value": name}]}
    for name in ("example.com", "www.example.com", "internal.example.com", "com", "xn--80ak6aa92e.com"):
        said, _, body = post(client.signed(order, wanted(name), nonce()))
        assert said in (400, 403) and b"rejectedIdentifier" in body, (name, said, body)
    good = client.signed(order, wanted("core.platform.internal"), nonce())
    assert post(good)[0] == 201
    said, _, body = post(good)
    assert said == 400 and b"badNonce" in body, (said, body)
    for algorithm in ("none", "None", "HS256", "ES512", ""):
        said, _, body = post(client.signed(order, wanted("core.platform.internal"), nonce(), algorithm))
        assert said in (400, 401) and (b"badSignatureAlgorithm" in body or b"malformed" in body), (algorithm, said, body)


def constraints():
    """The world's root has constraints, and a client that others wrote holds an authority with just these to them."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    with open("/etc/ssl/certs/ca-certificates.crt", "rb") as file:
        root = x509.load_pem_x509_certificate(file.read())
    found = root.extensions.get_extension_for_class(x509.NameConstraints)
    assert found.critical and found.value.permitted_subtrees, found
    now, day = datetime.datetime.utcnow(), datetime.timedelta(days=1)

    def make(name, of, extensions, issuer, signer):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, of)])
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject)
        made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - day).not_valid_after(now + day)
        for extension, critical in extensions:
            made = made.add_extension(extension, critical)
        made = made.sign(signer or key, hashes.SHA256())
        with open(name, "wb") as file:
            file.write(made.public_bytes(serialization.Encoding.PEM))
        return made, key

    ours = [(x509.BasicConstraints(True, None), True), (found.value, True)]
    twin, key = make("twin.pem", "twin", ours, None, None)
    for name, is_good in (("ca.platform.internal", True), ("www.acme.corp", True), ("example.com", False)):
        leaf = [(x509.SubjectAlternativeName([x509.DNSName(name)]), False)]
        make("leaf.pem", "leaf", leaf, twin.subject, key)
        ran = subprocess.run(["openssl", "verify", "-CAfile", "twin.pem", "leaf.pem"], capture_output=True, text=True)
        assert (ran.returncode == 0) == is_good, (name, ran)
        assert is_good or "permitted subtree violation" in ran.stderr + ran.stdout, ran


def reach():
    """Tries addresses and ports of the host, given as JSON; prints those that it reaches."""
    reached = []
    for address, port in json.loads(sys.argv[2]):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as it:
            it.settimeout(1)
            try:
                it.connect((address, port))
                reached.append([address, port])
            except OSError:
                pass
    with socket.socket(socket.AF_UNIX) as it:
        try:
            it.connect("\0netengine-abuse")
            reached.append(["@netengine-abuse", 0])
        except OSError:
            pass
    for path in sys.argv[3:]:
        with socket.socket(socket.AF_UNIX) as it:
            try:
                it.connect(path)
                reached.append([path, 0])
            except OSError:
                pass
    print(json.dumps(reached))


def main():
    attack = sys.argv[1]
    globals()[attack]()


main()
