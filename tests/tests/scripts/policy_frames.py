"""What the tests of the packet policy share: sockets inside a world's namespaces, and frames made byte by byte.

Run as root with the pid of the holder. This process stays on one processor, so that frames are worked off in the order in
which they are sent: when a later one has arrived, an earlier one that has not was dropped.
"""
import ctypes, ipaddress, json, os, select, socket, struct, subprocess, sys, time

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
HOME = os.open("/proc/self/ns/net", os.O_RDONLY)
DEADLINE = 20
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


class Inside:
    """This thread in another namespace for a while."""

    def __init__(self, address):
        self.fd = SPACES[address]

    def __enter__(self):
        assert LIBC.setns(self.fd, CLONE_NEWNET) == 0, ctypes.get_errno()

    def __exit__(self, *_):
        assert LIBC.setns(HOME, CLONE_NEWNET) == 0, ctypes.get_errno()


def find_spaces(holder):
    """Every namespace that the holder keeps, by each of its addresses."""
    spaces = {}
    for name in os.listdir(f"/proc/{holder}/fd"):
        path = f"/proc/{holder}/fd/{name}"
        if not os.readlink(path).startswith("net:["):
            continue
        fd = os.open(path, os.O_RDONLY)
        assert LIBC.setns(fd, CLONE_NEWNET) == 0
        for link in json.loads(subprocess.check_output(["ip", "-j", "address"])):
            for entry in link["addr_info"]:
                if entry["scope"] == "global":
                    spaces[entry["local"]] = fd
        assert LIBC.setns(HOME, CLONE_NEWNET) == 0
    return spaces


SPACES = find_spaces(sys.argv[1])


def run(address, *command):
    """A command in the namespace of an address."""
    with Inside(address):
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def udp(address, port):
    with Inside(address):
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, port))
    sock.setblocking(False)
    return sock


def ping(address, to):
    """An echo and its answer (icmp(7)); afterwards both know each other's link-layer address."""
    six = ":" in to
    with Inside(address):
        protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
        sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM, protocol)
        sock.bind((address, 0))
        sock.settimeout(DEADLINE)
        sock.sendto(struct.pack("!BBHHH", 128 if six else 8, 0, 0, 0, 1) + b"echo", (to, 0))
        assert sock.recv(100).endswith(b"echo"), f"{to} does not answer {address}"


def listen(address, link):
    """All frames that arrive at a link."""
    with Inside(address):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sock.bind((link, 3))
    # PACKET_AUXDATA: the tag that the kernel takes off a frame. PACKET_IGNORE_OUTGOING: only what arrives.
    sock.setsockopt(263, 23, 1)
    sock.setblocking(False)
    return sock


def datagrams(sock):
    """What has arrived: texts and from whom."""
    found = []
    while True:
        try:
            data, sender = sock.recvfrom(2048)
            found.append((data.decode(errors="replace"), sender[0]))
        except BlockingIOError:
            return found


def wait_for(sock, wanted):
    """Reads until a text arrives; gives all that arrived."""
    until, found = time.monotonic() + DEADLINE, []
    while not any(wanted == text for text, _ in found):
        left = until - time.monotonic()
        assert left > 0 and select.select([sock], [], [], left)[0], f"{wanted!r} did not arrive; {found}"
        found += datagrams(sock)
    return found


def counter(gateway, family, table, chain):
    """Packets that the counters of a chain have seen."""
    listing = json.loads(run(gateway, "nft", "-j", "list", "chain", family, table, chain))
    rules = [entry["rule"] for entry in listing["nftables"] if "rule" in entry]
    return sum(part["counter"]["packets"] for rule in rules for part in rule["expr"] if "counter" in part)


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def ip(text):
    return ipaddress.ip_address(text).packed


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF or 0xFFFF


def ether(to, source, kind, payload):
    return mac(to) + mac(source) + struct.pack("!H", kind) + payload


def ipv4(source, to, protocol, payload):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, 0, 64, protocol, 0, ip(source), ip(to))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(source, to, protocol, payload, hops=255):
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), protocol, hops, ip(source), ip(to)) + payload


def upper(source, to, protocol, payload, at):
    """A payload with its checksum over the pseudo header."""
    source, to = ip(source), ip(to)
    pseudo = source + to + struct.pack("!IHBB", len(payload), 0, 0, protocol)
    return payload[:at] + struct.pack("!H", checksum(pseudo + payload)) + payload[at + 2 :]


def udp_packet(source, to, sport, dport, data):
    payload = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
    wrap = ipv6 if ":" in source else ipv4
    return wrap(source, to, 17, upper(source, to, 17, payload, 6))


def icmp6(source, to, kind, body):
    return ipv6(source, to, 58, upper(source, to, 58, struct.pack("!BBH", kind, 0, 0) + body, 2))


def arp(operation, sender_mac, sender, target):
    return struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac(sender_mac) + ip(sender) + bytes(6) + ip(target)


def dhcp(client):
    return struct.pack("!BBBBIHH", 1, 1, 6, 0, 7, 0, 0) + bytes(16) + mac(client) + bytes(10 + 192) + b"\x63\x82\x53\x63\x35\x01\x01\xff"
