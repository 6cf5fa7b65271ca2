"""Packets of a suite, built and read by scapy."""

from ipaddress import ip_address

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (ICMPv6Unknown, IPv6, IPv6ExtHdrFragment, _ICMPv6)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw
from scapy.utils import checksum

import network

FLAGS = dict(zip("FSRPAUEC", (1, 2, 4, 8, 16, 32, 64, 128)))
ERRORS = {4: {3, 4, 5, 11, 12}, 6: {1, 2, 3, 4}}


def content(value):
    if value is None:
        return b""
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else str(value).encode()


def address(topology, called, v6):
    for _, _, held, _ in topology[called]["interfaces"]:
        for one in held:
            if (":" in one) == v6:
                return one.split("/")[0]
    raise ValueError(f"{called} has no address")


class Sent:
    """What is sent: the node it leaves from, and its bytes from the IP (or ARP) header on."""

    def __init__(self, entry, topology, number):
        self.entry, self.mark, self.home = entry, entry.get("mark"), None
        nonce = 0x4000 + number
        if "frame" in entry:
            self.frame = Ether(bytes.fromhex(entry["frame"].replace(" ", "").replace(":", "")))
            self.source = entry.get("from", "client")
            self.packet = self.frame.payload
            return
        given = entry.get("src_ip") or entry.get("dst_ip")
        v6 = ":" in given if given else entry.get("protocol") == "icmpv6"
        owner = [n for n in topology for i in topology[n]["interfaces"] for a in i[2] if a.split("/")[0] == entry.get("src_ip")]
        self.source = entry.get("from") or (owner or ["client"])[0]
        target = "client" if self.source == "fw" else "server" if "server" in topology else "fw"
        target = "fw" if target == self.source else target
        src = entry.get("src_ip") or address(topology, self.source, v6)
        dst = entry.get("dst_ip") or address(topology, target, v6)
        dscp, ttl = entry.get("dscp", 0) << 2, entry.get("ttl", 64)
        if v6:
            head = IPv6(src=src, dst=dst, fl=nonce, hlim=ttl, tc=dscp)
        else:
            head = IP(src=src, dst=dst, id=nonce, ttl=ttl, tos=dscp)
            if entry.get("ip_options"):
                head.options = [IPOption(content(entry["ip_options"]))]
        # Who has the address that it is for, if anybody.
        self.home = next((n for n in topology for i in topology[n]["interfaces"] for a in i[2] if a.split("/")[0] == dst), None)
        self.packet = self.fragment(head, self.transport(entry, v6, number), entry.get("fragment"))
        self.packet = type(self.packet)(bytes(self.packet))
        macs = {i[0]: i[1] for i in topology[self.source]["interfaces"]}
        near = next(iter(macs.values()), None)
        known = {n[0]: n[1] for n in topology[self.source]["neighbours"]}
        far = known.get(dst) or {"client": network.FW, "server": network.FW1}.get(self.source)
        self.frame = Ether(src=near, dst=far)
        if entry.get("vlan") is not None:
            self.frame /= Dot1Q(vlan=entry["vlan"])
        self.frame /= self.packet

    def transport(self, entry, v6, number):
        protocol, payload = entry.get("protocol", "tcp"), content(entry.get("payload"))
        ports = dict(sport=entry.get("src_port", 12345), dport=entry.get("dst_port", 80))
        if protocol == "tcp":
            flags = sum(FLAGS[flag] for flag in entry.get("tcp_flags", ["S"]))
            made = TCP(**ports, flags=flags, seq=entry.get("seq", 0x51000000 + number), ack=entry.get("ack", 0), window=65535)
            options = content(entry.get("tcp_options"))
            if options:
                options += bytes(-len(options) % 4)
                header = bytearray(bytes(made) + options)
                header[12] = (5 + len(options) // 4) << 4
                made = TCP(bytes(header))
                del made.chksum
            return (made / Raw(payload) if payload else made), 6
        if protocol == "udp":
            return UDP(**ports) / Raw(payload) if payload else UDP(**ports), 17
        if protocol in ("icmp", "icmpv6"):
            kind, code = entry.get("icmp_type", 128 if v6 else 8), entry.get("icmp_code", 0)
            if v6:
                return ICMPv6Unknown(type=kind, code=code, msgbody=number.to_bytes(4, "big") + payload), 58
            if 13 <= kind <= 18:  # scapy would add the fields that they should have
                head = bytes([kind, code, 0, 0, 0, 0, 0, 0]) + payload
                return Raw(head[:2] + checksum(head).to_bytes(2, "big") + head[4:]), 1
            made = ICMP(type=kind, code=code, id=1, seq=number) if kind in (0, 8) else ICMP(type=kind, code=code)
            return (made / Raw(payload) if payload else made), 1
        return Raw(payload or b""), int(protocol)

    @staticmethod
    def fragment(head, made, place):
        transport, protocol = made
        if isinstance(head, IPv6):
            head.nh = protocol
            if place:
                # Checksums are of no concern to a piece.
                head.nh = 44
                part = IPv6ExtHdrFragment(nh=protocol, offset=place.get("offset", 0) // 8, m=int(place.get("more", False)),
                                          id=place.get("id") or head.fl)
                return head / part / Raw(bytes(transport) if not place.get("offset") else bytes(transport)[8:])
            return head / transport
        head.proto = protocol
        if place:
            head.frag, head.flags = place.get("offset", 0) // 8, int(place.get("more", False))
            head.id = place.get("id") or head.id
        return head / transport


def read(data):
    """Bytes of a frame to its IP or ARP part, which is None for anything else."""
    packet = Ether(data)
    while isinstance(packet, (Ether, Dot1Q)):
        packet = packet.payload
    return packet if isinstance(packet, (IP, IPv6, ARP)) else None


def nonce(packet):
    return packet.fl if isinstance(packet, IPv6) else packet.id


def protocol(packet):
    """The protocol above IP and its extension headers."""
    if isinstance(packet, IP):
        return packet.proto
    layer = packet
    while layer.payload and not isinstance(layer.payload, (Raw, TCP, UDP, _ICMPv6)) and hasattr(layer.payload, "nh"):
        layer = layer.payload
    return layer.nh


def is_fragment(packet):
    return IPv6ExtHdrFragment in packet or isinstance(packet, IP) and bool(packet.frag or packet.flags & 1)


def same(sent, seen):
    """Says whether `seen` is the packet that was sent, translated or not."""
    packet = sent.packet
    if isinstance(packet, ARP) or isinstance(seen, ARP):
        return bytes(packet)[:28] == bytes(seen)[:28]
    if type(packet) is not type(seen):
        return False
    return nonce(packet) == nonce(seen) and protocol(packet) == protocol(seen)


def refuses(sent, seen):
    """Says whether `seen` refuses the packet: a reset to its ports, or an ICMP error that quotes it."""
    packet = sent.packet
    if isinstance(seen, ARP) or type(packet) is not type(seen):
        return False
    if TCP in seen and TCP in packet:
        back = (seen[TCP].dport, seen[TCP].sport) == (packet[TCP].sport, packet[TCP].dport)
        return back and bool(seen[TCP].flags & 4)
    if isinstance(seen, IP) and seen.proto == 1 and ICMP in seen and seen[ICMP].type in ERRORS[4]:
        quoted = bytes(seen[ICMP].payload)
        return len(quoted) >= 20 and IP(quoted).id == packet.id
    if isinstance(seen, IPv6) and seen.nh == 58 and bytes(seen.payload)[:1] and bytes(seen.payload)[0] in ERRORS[6]:
        quoted = bytes(seen.payload)[8:]
        return len(quoted) >= 40 and IPv6(quoted).fl == packet.fl
    return False


def place(called, seen):
    """Where and as what it arrived."""
    if isinstance(seen, ARP):
        return dict(node=called, src=None, dst=None, sport=None, dport=None)
    layer = seen[TCP] if TCP in seen else seen[UDP] if UDP in seen else None
    ports = (layer.sport, layer.dport) if layer is not None else (None, None)
    return dict(node=called, src=str(ip_address(seen.src)), dst=str(ip_address(seen.dst)), sport=ports[0], dport=ports[1])
