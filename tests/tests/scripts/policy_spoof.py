"""Frames that a host of a network must not say, each with a word of its own; then some that it may say."""
import policy_frames as lab

BROADCAST = "ff:ff:ff:ff:ff:ff"
TABLE = lab.sys.argv[2]
OWN_MAC, NEIGHBOUR_MAC, ROUTER_MAC = lab.sys.argv[3:6]
OWN, NEIGHBOUR, ROUTER, FAR = "10.0.0.10", "10.0.0.11", "10.0.0.1", "10.1.0.10"
OWN6, NEIGHBOUR6, ROUTER6 = "fd00::a", "fd00::b", "fd00::1"
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"


def local(mac):
    octets = lab.mac(mac)
    tail = bytes([octets[0] ^ 2, octets[1], octets[2], 0xFF, 0xFE, octets[3], octets[4], octets[5]])
    return str(lab.ipaddress.IPv6Address(bytes.fromhex("fe80000000000000") + tail))


def say(source, to, word, to_mac, from_mac=OWN_MAC, sport=5000, dport=5000):
    kind = 0x86DD if ":" in source else 0x0800
    return lab.ether(to_mac, from_mac, kind, lab.udp_packet(source, to, sport, dport, word))


def advertisement(target, option_mac):
    option = b"\x02\x01" + lab.mac(option_mac)
    return b"\x20\0\0\0" + lab.ip(target) + option


def solicitation(target, option_mac):
    return bytes(4) + lab.ip(target) + b"\x01\x01" + lab.mac(option_mac)


def nd(source, kind, body, from_mac=OWN_MAC):
    return lab.ether(ALL_NODES_MAC, from_mac, 0x86DD, lab.icmp6(source, ALL_NODES, kind, body))


bad = {
    "neighbour's address": say(NEIGHBOUR, NEIGHBOUR, b"", NEIGHBOUR_MAC),
    "router's address": say(ROUTER, NEIGHBOUR, b"", NEIGHBOUR_MAC),
    "address of another network": say("10.1.0.77", FAR, b"", ROUTER_MAC),
    "address of nobody": say("192.0.2.7", FAR, b"", ROUTER_MAC),
    "no address": say("0.0.0.0", NEIGHBOUR, b"", NEIGHBOUR_MAC),
    "neighbour's IPv6 address": say(NEIGHBOUR6, NEIGHBOUR6, b"", NEIGHBOUR_MAC),
    "router's link-local address": say(local(ROUTER_MAC), NEIGHBOUR6, b"", NEIGHBOUR_MAC),
    "ARP reply for the router": lab.ether(NEIGHBOUR_MAC, OWN_MAC, 0x0806, lab.arp(2, OWN_MAC, ROUTER, NEIGHBOUR)),
    "gratuitous ARP for a neighbour": lab.ether(BROADCAST, OWN_MAC, 0x0806, lab.arp(1, OWN_MAC, NEIGHBOUR, NEIGHBOUR)),
    "ARP with another's MAC": lab.ether(BROADCAST, OWN_MAC, 0x0806, lab.arp(2, NEIGHBOUR_MAC, OWN, ROUTER)),
    "ARP reply of no address": lab.ether(BROADCAST, OWN_MAC, 0x0806, lab.arp(2, OWN_MAC, "0.0.0.0", ROUTER)),
    "ARP of longer addresses": lab.ether(BROADCAST, OWN_MAC, 0x0806, b"\0\x01\x86\xdd\x06\x10" + lab.arp(2, OWN_MAC, OWN, ROUTER)[6:]),
    "router advertisement": nd(local(OWN_MAC), 134, bytes(12)),
    "redirect": nd(local(OWN_MAC), 137, bytes(4) + lab.ip(OWN6) * 2),
    "multicast listener query": nd(local(OWN_MAC), 130, bytes(20)),
    "advertisement of the router": nd(OWN6, 136, advertisement(ROUTER6, OWN_MAC)),
    "advertisement of another's MAC": nd(OWN6, 136, advertisement(OWN6, NEIGHBOUR_MAC)),
    "solicitation with another's MAC": nd(OWN6, 135, solicitation(NEIGHBOUR6, NEIGHBOUR_MAC)),
    "detection of a neighbour's address": nd("::", 135, bytes(4) + lab.ip(NEIGHBOUR6)),
    "DHCP offer": say(OWN, "255.255.255.255", b"", BROADCAST, sport=67, dport=68),
    "DHCP offer from an odd port": say(OWN, "255.255.255.255", b"", BROADCAST, sport=9, dport=68),
    "DHCPv6 advertise": say(local(OWN_MAC), ALL_NODES, b"", ALL_NODES_MAC, sport=547, dport=546),
    "DHCP for another's MAC": say("0.0.0.0", "255.255.255.255", lab.dhcp(NEIGHBOUR_MAC), BROADCAST, sport=68, dport=67),
    "tag": lab.ether(NEIGHBOUR_MAC, OWN_MAC, 0x8100, b"\0\x07" + say(OWN, NEIGHBOUR, b"", NEIGHBOUR_MAC)[12:]),
    "tag without number": lab.ether(NEIGHBOUR_MAC, OWN_MAC, 0x8100, b"\0\0" + say(OWN, NEIGHBOUR, b"", NEIGHBOUR_MAC)[12:]),
    "two tags": lab.ether(NEIGHBOUR_MAC, OWN_MAC, 0x88A8, b"\0\x07\x81\0\0\x08" + say(OWN, NEIGHBOUR, b"", NEIGHBOUR_MAC)[12:]),
    "LLDP": lab.ether(BROADCAST, OWN_MAC, 0x88CC, bytes(40)),
    "length instead of type": lab.ether(BROADCAST, OWN_MAC, 40, bytes(40)),
    "router's MAC": say(OWN, NEIGHBOUR, b"", NEIGHBOUR_MAC, from_mac=ROUTER_MAC),
    "MPLS": lab.ether(NEIGHBOUR_MAC, OWN_MAC, 0x8847, bytes(40)),
    # The last: without the table the bridge would believe it and send the neighbour's frames here.
    "neighbour's MAC": say(OWN, "255.255.255.255", b"", BROADCAST, from_mac=NEIGHBOUR_MAC),
}
good = {
    "own address": say(OWN, NEIGHBOUR, b"", NEIGHBOUR_MAC),
    "own IPv6 address": say(OWN6, NEIGHBOUR6, b"", NEIGHBOUR_MAC),
    "own link-local address": say(local(OWN_MAC), NEIGHBOUR6, b"", NEIGHBOUR_MAC),
    "ARP request": lab.ether(BROADCAST, OWN_MAC, 0x0806, lab.arp(1, OWN_MAC, OWN, NEIGHBOUR)),
    "ARP probe": lab.ether(BROADCAST, OWN_MAC, 0x0806, lab.arp(1, OWN_MAC, "0.0.0.0", NEIGHBOUR)),
    "own advertisement": nd(OWN6, 136, advertisement(OWN6, OWN_MAC)),
    "detection of its own address": nd("::", 135, bytes(4) + lab.ip(OWN6)),
    "DHCP discover": say("0.0.0.0", "255.255.255.255", lab.dhcp(OWN_MAC), BROADCAST, sport=68, dport=67),
}


def marked(frames):
    """Each frame ends with its name: padding behind what its headers tell the length of."""
    return {name: frame + b"#" + name.encode() + b"#" for name, frame in frames.items()}


ears = [lab.listen(NEIGHBOUR, "neth0"), lab.listen(FAR, "neth0"), lab.listen(ROUTER, "nebr0"), lab.listen("10.0.0.2", "nesv0")]
mouth = lab.listen(OWN, "neth0")


def heard():
    found = b""
    for ear in ears:
        try:
            while True:
                found += ear.recv(4096)
        except BlockingIOError:
            pass
    return found


def send(frames):
    """Sends them and a last one that may be said; gives the names of those that arrived anywhere."""
    for frame in marked(frames).values():
        mouth.send(frame)
    mouth.send(say(OWN, "255.255.255.255", b"", BROADCAST) + b"#the last#")
    until, found = lab.time.monotonic() + lab.DEADLINE, b""
    while b"#the last#" not in found:
        assert lab.time.monotonic() < until, "the last frame did not arrive"
        lab.select.select(ears, [], [], 1)
        found += heard()
    return {name for name in frames if b"#" + name.encode() + b"#" in found}


lab.ping(ROUTER, FAR)
arrived = send(bad)
assert not arrived, f"arrived: {arrived}"
arrived = send(good)
assert arrived == set(good), f"did not arrive: {set(good) - arrived}"
# Without the table they arrive, so it was the table that dropped them.
lab.run(ROUTER, "nft", "delete", "table", "bridge", TABLE)
arrived = send(bad)
# A bridge itself drops what claims to come from its own MAC address.
missing = set(bad) - arrived
assert missing <= {"router's MAC"}, f"would not arrive in any case: {missing}"
print("all as planned")
