"""What can be seen of a packet from outside: frames at the far ends (tcpdump), what the tested node's own stack took, and `nft monitor trace`."""

import os
import re
import select
import socket
import struct
import subprocess
import time

from ipaddress import ip_address

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP

import packets

HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
LINE = re.compile(r"trace id (\S+) (\S+) (\S+) (\S+) (packet:|rule|verdict|policy|unknown)\s*(.*)")
IPV6_RECVPKTINFO, IPV6_PKTINFO, IP_TRANSPARENT, IPV6_HDRINCL = 49, 50, 19, 36


def tracer(rules):
    """A table that has every packet traced: at the five hooks of inet, and at the hooks of other families that the ruleset uses."""
    lowest = "priority -2147483648; meta nftrace set 1"
    text = "table inet judge {\n" + "".join(f"chain {h} {{ type filter hook {h} {lowest}\n}}\n" for h in HOOKS) + "}\n"
    for family in ("bridge", "arp"):
        if re.search(rf"table {family} ", rules):
            hooks = {hook for hook in re.findall(r"hook (\w+)", rules) if family == "bridge" or hook in ("input", "output")}
            text += f"table {family} judge {{\n" + "".join(f"chain {h} {{ type filter hook {h} {lowest}\n}}\n" for h in hooks) + "}\n"
    for hook, device in sorted(set(re.findall(r'hook (ingress|egress) device "?(\w+)"?', rules))):
        text += f"table netdev judge {{\nchain {hook}_{device} {{ type filter hook {hook} device {device} {lowest}\n}}\n}}\n"
    return text


class Dump:
    """tcpdump at an interface of the network namespace that is current: the frames that come in."""

    def __init__(self, name):
        words = ["tcpdump", "--immediate-mode", "-Z", "root", "-Q", "in", "-n", "-s", "0", "-U", "-w", "-", "-i", name]
        self.program = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.text = b""

    def ready(self):
        """Waits until it listens."""
        said = self.program.stderr.readline()
        if b"listening on" not in said:
            raise RuntimeError(f"tcpdump does not start: {said + self.program.stderr.read()}")
        os.set_blocking(self.program.stdout.fileno(), False)
        self.skip = 24  # the file's header

    def fileno(self):
        return self.program.stdout.fileno()

    def frames(self):
        """Those that it wrote since the last call, each after a header of 16 bytes (pcap-savefile(5))."""
        self.text += self.program.stdout.read() or b""
        if self.skip and len(self.text) >= self.skip:
            self.text, self.skip = self.text[self.skip:], 0
        while not self.skip and len(self.text) >= 16:
            length, whole = struct.unpack_from("=II", self.text, 8)
            if len(self.text) < 16 + length:
                return
            assert length == whole, "tcpdump has cut a frame off"
            frame, self.text = self.text[16:16 + length], self.text[16 + length:]
            yield frame


class Watch:
    def __init__(self, net, rules, entries, listeners):
        self.net, self.dumps, self.senders, self.raw, self.echoes, self.keep = net, {}, {}, {}, {}, []
        self.heard = {}  # by node, what came to it last
        # Who asked whom: an answer is not echoed again by the one that asked.
        self.asked = set()
        for sent in entries:
            if UDP in sent.packet and not any((n, sent.packet[UDP].dport, sent.packet[UDP].sport) in self.asked for n in net.nodes):
                self.asked.add((sent.source, sent.packet[UDP].sport, sent.packet[UDP].dport))
        for called, held in net.nodes.items():
            net.enter(called)
            for name, *_ in held["interfaces"]:
                if called != "fw":
                    self.dumps[Dump(name)] = called
                    # Of no protocol: it sends, and gets nothing.
                    s = self.senders[called, name] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
                    s.bind((name, 0))
            if listeners is not None and (called == "fw" or not net.silent):
                self.listen(called, listeners, set(re.findall(r"tproxy[^\n]* to [^\n]*?:(\d+)", rules)))
        net.enter("fw")
        held = {port for called, port in self.echoes.values() if called == "fw"}
        for port in {sent.packet[UDP].sport for sent in entries if sent.source == "fw" and UDP in sent.packet} - held:
            # Who sends has a socket: fw's stack does not refuse the answers.
            s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            s.bind(("::", port))
            self.keep.append(s)
        for sent in entries:
            packet = sent.packet
            if not isinstance(packet, ARP):
                number = packets.protocol(packet)
                family = socket.AF_INET if isinstance(packet, IP) else socket.AF_INET6
                for wanted in {number} | ({1 if family == socket.AF_INET else 58} if sent.source == "fw" else set()):
                    self.open_raw(family, wanted)
        self.monitor = subprocess.Popen(["nft", "monitor", "trace"], stdout=subprocess.PIPE)
        os.set_blocking(self.monitor.stdout.fileno(), False)
        deadline = time.monotonic() + 10
        while not self.ready():
            if time.monotonic() > deadline or self.monitor.poll() is not None:
                raise RuntimeError("nft monitor trace does not start")
            time.sleep(0.002)
        self.text, self.headers = b"", {}
        for dump in self.dumps:
            dump.ready()

    def close(self):
        for program in [self.monitor, *(dump.program for dump in self.dumps)]:
            program.kill()
            program.wait()

    def open_raw(self, family, number):
        if (family, number) in self.raw.values() or number in (0, 255):
            return
        s = socket.socket(family, socket.SOCK_RAW, number)
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        self.raw[s] = (family, number)

    def listen(self, called, listeners, proxied):
        for protocol, port in sorted(listeners):
            s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            if str(port) in proxied:
                s.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
            s.bind(("::", port))
            if protocol == "tcp":
                s.listen(100)
                self.keep.append(s)
            else:
                s.setblocking(False)
                self.echoes[s] = (called, port)

    def ready(self):
        """The monitor's socket is bound to the trace group: bit 8 of the groups that the kernel shows."""
        with open("/proc/self/net/netlink") as table:
            rows = [line.split() for line in table.readlines()[1:]]
        return any(row[1] == "12" and int(row[3], 16) & 0x100 for row in rows)

    def send(self, sent):
        """Sends it; gives the error that a local program got."""
        if sent.source != "fw":
            name = sent.entry.get("interface")
            socks = [s for (called, link), s in self.senders.items() if called == sent.source and name in (None, link)]
            socks[0].send(bytes(sent.frame))
            return None
        v6 = isinstance(sent.packet, IPv6)
        s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        if v6:
            s.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
        if sent.mark:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, sent.mark)
        try:
            s.sendto(bytes(sent.packet), (sent.packet.dst, 0))
        except OSError as error:
            return error.errno
        return None

    def collect(self, sent, quiet):
        """All that comes until nothing came for `quiet` seconds: (deliveries, refused, answered, trace)."""
        seen = dict(deliveries=[], refused=False, answered=False, trace=[])
        fds = [*self.dumps, *self.raw, *self.echoes, self.monitor.stdout]
        deadline = time.monotonic() + 10
        while True:
            if time.monotonic() > deadline:
                raise RuntimeError("the network does not come to rest")
            ready = select.select(fds, [], [], quiet)[0]
            if not ready:
                return seen
            for s in ready:
                if s is self.monitor.stdout:
                    self.text += s.read() or b""
                    *lines, self.text = self.text.split(b"\n")
                    for line in lines:
                        self.traced(sent, line.decode(errors="replace"), seen)
                elif s in self.dumps:
                    if s.program.poll() is not None:
                        raise RuntimeError("tcpdump has ended")
                    for frame in s.frames():
                        self.framed(sent, self.dumps[s], frame, seen)
                elif s in self.raw:
                    self.received(sent, s, seen)
                else:
                    self.echo(s)

    def echo(self, s):
        try:
            data, who = s.recvfrom(65536)
            if (*self.echoes[s], who[1]) not in self.asked:
                s.sendto(data, who)
        except OSError:
            pass  # the rules forbid the answer

    def framed(self, sent, called, frame, seen):
        packet = packets.read(frame)
        if packet is None:
            return
        if TCP in packet or UDP in packet:
            self.heard[called] = packet
        if packets.same(sent, packet):
            seen["deliveries"].append(packets.place(called, packet))
        elif called == sent.source and packets.refuses(sent, packet):
            seen["refused"] = True
        elif isinstance(packet, ARP) and isinstance(sent.packet, ARP) and packet.op == 2 and packet.psrc == sent.packet.pdst:
            seen["answered"] = True

    def received(self, sent, s, seen):
        family, number = self.raw[s]
        if family == socket.AF_INET:
            packet = self.heard["fw"] = IP(s.recv(65536))
            if packets.same(sent, packet):
                seen["deliveries"].append(packets.place("fw", packet))
            elif sent.source == "fw" and packets.refuses(sent, packet):
                seen["refused"] = True
            return
        data, extra, _, who = s.recvmsg(65536, 200)
        to = next((str(ip_address(v[:16])) for _, kind, v in extra if kind == IPV6_PKTINFO), None)
        # An IPv6 socket is given no IPv6 header: the transport header tells what it is.
        inner = sent.packet
        while inner.payload and packets.protocol(sent.packet) != getattr(inner, "nh", None):
            inner = inner.payload
        original = bytes(inner.payload)
        packet = IPv6(bytes(IPv6(src=who[0].split("%")[0], dst=to, nh=number) / data))
        if sent.source == "fw" and packets.refuses(sent, packet):
            seen["refused"] = True
        # What fw itself sent to an echo comes back with the same payload.
        alike = {6: lambda: data[4:8] == original[4:8], 17: lambda: data[:2] == original[:2] or sent.source != "fw" and data[8:] == original[8:] != b""}
        if number == packets.protocol(sent.packet) and alike.get(number, lambda: data[:2] == original[:2] and data[4:] == original[4:])():
            seen["deliveries"].append(packets.place("fw", packet))

    def traced(self, sent, line, seen):
        match = LINE.match(line)
        if not match:
            return
        number, family, table, chain, kind, rest = match.groups()
        if kind == "packet:":
            self.headers[number] = self.owns(sent, rest)
            return
        if table == "judge" or not self.headers.get(number, False):
            return
        verdict = rest.strip()
        text = None
        if kind == "rule":
            text, _, verdict = rest.rpartition("(verdict ")
            # nft shows what a counter held when it last read the ruleset.
            text = re.sub(r"counter packets \d+ bytes \d+", "counter", " ".join(text.split()))
            verdict = verdict.rstrip(") ")
        elif kind == "policy":
            verdict = verdict.split()[0]  # a mark may follow
        elif verdict == "continue":
            return  # the end of a chain's rules
        seen["trace"].append((f"{family} {table} {chain}", kind, text, verdict))

    @staticmethod
    def owns(sent, header):
        """Says whether a header that the trace shows is the packet's own: its nonce, and not of something that quotes or answers it."""
        packet = sent.packet
        if isinstance(packet, ARP):
            return "arp " in header or "@nh" in header
        # Of a later fragment of IPv6 nft shows the network header where it thinks the transport header is.
        raw = re.search(r"(?:@nh|ether type ip6 @th),0,\d+ 0x([0-9a-f]+)", header)
        if raw:
            data = bytes.fromhex(raw.group(1))
            return data[:8] == bytes(packet)[:8] if isinstance(packet, IP) else data[:4] == bytes(packet)[:4]
        field, number = ("ip id", packet.id) if isinstance(packet, IP) else ("ip6 flowlabel", packet.fl)
        return f"{field} {number} " in header + " "
