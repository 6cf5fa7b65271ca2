"""The lab's three topologies, made with iproute2 in namespaces of this process. Nothing here is shared with the engine but the documented
names and addresses (docs/suites.md)."""

import ctypes
import json
import os
import subprocess
import time

LIBC = ctypes.CDLL(None, use_errno=True)
NEWNET = 0x40000000
CLIENT, FW, FW1, SERVER = "02:00:00:00:00:0c", "02:00:00:00:00:f0", "02:00:00:00:00:f1", "02:00:00:00:00:05"


def call(function, *words):
    if function(*words) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def node(interfaces, routes=(), neighbours=(), forward=False, bridges=()):
    return dict(interfaces=interfaces, routes=routes, neighbours=neighbours, forward=forward, bridges=bridges)


def simple():
    return dict(
        client=node([("eth0", CLIENT, ["10.0.0.1/24", "fd00::1/64"], None)], ["10.0.0.2", "fd00::2"],
                    [("10.0.0.2", FW, "eth0"), ("fd00::2", FW, "eth0")]),
        fw=node([("eth0", FW, ["10.0.0.2/24", "fd00::2/64"], None)], ["10.0.0.1", "fd00::1"],
                [("10.0.0.1", CLIENT, "eth0"), ("fd00::1", CLIENT, "eth0")]),
    ), [(("client", "eth0"), ("fw", "eth0"))]


def gateway():
    return dict(
        client=node([("eth0", CLIENT, ["10.0.1.1/24", "fd00:1::1/64"], None)], ["10.0.1.2", "fd00:1::2"],
                    [("10.0.1.2", FW, "eth0"), ("fd00:1::2", FW, "eth0")]),
        fw=node([("eth0", FW, ["10.0.1.2/24", "fd00:1::2/64"], None), ("eth1", FW1, ["10.0.2.1/24", "fd00:2::1/64"], None)],
                ["10.0.1.1", "fd00:1::1"],
                [("10.0.1.1", CLIENT, "eth0"), ("fd00:1::1", CLIENT, "eth0"), ("10.0.2.2", SERVER, "eth1"),
                 ("fd00:2::2", SERVER, "eth1")], forward=True),
        server=node([("eth0", SERVER, ["10.0.2.2/24", "fd00:2::2/64"], None)], ["10.0.2.1", "fd00:2::1"],
                    [("10.0.2.1", FW1, "eth0"), ("fd00:2::1", FW1, "eth0")]),
    ), [(("client", "eth0"), ("fw", "eth0")), (("fw", "eth1"), ("server", "eth0"))]


def bridge():
    return dict(
        client=node([("eth0", CLIENT, ["10.0.3.1/24", "fd00:3::1/64"], None)], [],
                    [("10.0.3.2", SERVER, "eth0"), ("fd00:3::2", SERVER, "eth0")]),
        fw=node([("p0", FW, [], "br0"), ("p1", FW1, [], "br0")], bridges=["br0"]),
        server=node([("eth0", SERVER, ["10.0.3.2/24", "fd00:3::2/64"], None)], [],
                    [("10.0.3.1", CLIENT, "eth0"), ("fd00:3::1", CLIENT, "eth0")]),
    ), [(("client", "eth0"), ("fw", "p0")), (("fw", "p1"), ("server", "eth0"))]


TOPOLOGIES = dict(simple=simple, gateway=gateway, bridge=bridge)


class Network:
    """Namespaces by node, open as long as this process lives."""

    def __init__(self, name, sysctls, silent):
        self.nodes, links = TOPOLOGIES[name]()
        self.spaces, self.silent = {}, silent
        for called in self.nodes:
            call(LIBC.unshare, NEWNET)
            self.spaces[called] = os.open("/proc/self/ns/net", os.O_RDONLY)
            for file in ("ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter", "ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit",
                         "ipv6/conf/default/accept_ra"):
                self.set(file, 0)
            self.set("ipv6/conf/default/addr_gen_mode", 1)
            if self.nodes[called]["forward"]:
                self.set("ipv4/ip_forward", 1)
                self.set("ipv6/conf/all/forwarding", 1)
        mac = {(n, i[0]): i[1] for n, held in self.nodes.items() for i in held["interfaces"]}
        for near, far in links:
            self.ip(near[0], f"link add {near[1]} address {mac[near]} type veth peer name {far[1]} address {mac[far]} "
                             f"netns /proc/self/fd/{self.spaces[far[0]]}")
        for called, held in self.nodes.items():
            lines = ["link set lo up"]
            for name in held["bridges"]:
                lines.append(f"link add {name} type bridge forward_delay 0 mcast_snooping 0")
                lines.append(f"link set {name} up")
            for name, _, addresses, master in held["interfaces"]:
                if master:
                    lines.append(f"link set {name} master {master}")
                lines.append(f"link set {name} arp {'off' if silent and called != 'fw' else 'on'} multicast off up")
            if silent and called != "fw":
                held = dict(held, interfaces=[], neighbours=[], routes=[])
            for name, _, addresses, _ in held["interfaces"]:
                lines += [f"addr add {address} dev {name}{' nodad' if ':' in address else ''}" for address in addresses]
            lines += [f"neigh replace {address} lladdr {mac} dev {name} nud permanent" for address, mac, name in held["neighbours"]]
            lines += [f"route add default via {via}" for via in held["routes"]]
            self.ip(called, "\n".join(lines))
        for called in self.nodes:
            self.settle(called)
        self.enter("fw")
        for name, value in sysctls.items():
            self.set(name.removeprefix("net.").replace(".", "/"), value)

    def settle(self, called):
        """Waits until every link of a node is up, and every port of a bridge forwards: kernel threads see to it."""
        self.enter(called)
        deadline = time.monotonic() + 10
        while True:
            links = json.loads(subprocess.run(["ip", "-j", "-d", "link"], check=True, capture_output=True).stdout)
            ports = [link["linkinfo"]["info_slave_data"]["state"] for link in links if "info_slave_data" in link.get("linkinfo", {})]
            if all(link["operstate"] == "UP" for link in links if link["ifname"] != "lo") and set(ports) <= {"forwarding"}:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the links of {called} do not come up: {links}")

    @staticmethod
    def set(file, value):
        with open(f"/proc/sys/net/{file}", "w") as out:
            out.write(str(value))

    def enter(self, called):
        call(LIBC.setns, self.spaces[called], NEWNET)

    def mute(self, called, ports, unreachable, resets=False):
        """What a node's own stack does not send: resets from the ports that packets are sent from in its name, for it knows nothing of them; and
        that a port of UDP has no socket. With `resets` none at all: the suite speaks for an end of a flow there."""
        rules = [f"rule add iif lo ipproto tcp sport {port} blackhole" for port in ports]
        if rules:
            self.ip(called, "\n".join(rules))
            self.ip(called, "\n".join(rules), "-6")
        if resets and called != "fw":
            self.enter(called)
            subprocess.run(["nft", "-f", "-"], check=True, input=b"table inet scripted {\nchain o { type filter hook output priority 0\ntcp flags & rst == rst drop\n}\n}\n")
        if unreachable and called != "fw":
            self.enter(called)
            subprocess.run(["nft", "-f", "-"], check=True, input=b"""table inet mute { chain o { type filter hook output priority 0
                icmp type destination-unreachable icmp code port-unreachable drop
                icmpv6 type destination-unreachable icmpv6 code port-unreachable drop
            } }""".replace(b"} }", b"}\n}"))

    def ip(self, called, lines, *options):
        self.enter(called)
        subprocess.run(["ip", *options, "-batch", "-"], input=lines.encode(), check=True, pass_fds=self.spaces.values())
