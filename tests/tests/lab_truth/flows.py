"""Flows of a suite (docs/suites.md), played by scapy: who speaks to whom, and with which numbers, is read off what the far ends saw."""

from scapy.layers.inet import TCP, UDP

import packets

SYN, FIN = 2, 1


def members(entries):
    """Entries of each flow, by its name."""
    flows = {}
    for entry in entries:
        if "flow" in entry:
            flows.setdefault(entry["flow"], []).append(entry)
    return flows


class Flow:
    def __init__(self, entries, nodes):
        first = packets.Sent(entries[0], nodes, 0)
        self.opener, self.protocol = first.source, entries[0].get("protocol", "tcp")
        self.near = self.tuple(first.packet)
        self.far = self.far_end = None  # as the first packet arrived, and where
        # Ends that the suite itself speaks for: their own stacks are kept out of it.
        self.scripted = {entry["from"] for entry in entries if entry.get("from", self.opener) != self.opener}
        self.next, self.spoken, self.opened = {}, set(), False
        self.shakes = entries[0]["flow"].split("-")[0] == "handshake" and self.protocol == "tcp"

    @staticmethod
    def tuple(packet):
        layer = packet[TCP] if TCP in packet else packet[UDP] if UDP in packet else None
        return packet.src, getattr(layer, "sport", None), packet.dst, getattr(layer, "dport", None)

    def back(self):
        """What the other end answers with: the first packet's addresses as they arrived, turned round."""
        src, sport, dst, dport = self.far or self.near
        return dst, dport, src, sport

    def written(self, entry, called, watch):
        """The entry with the addresses, ports, flags and numbers that the flow gives it."""
        src, sport, dst, dport = self.near if called == self.opener else self.back()
        made = dict(entry, src_ip=src, dst_ip=dst)
        made["from"] = called
        if made.get("protocol", self.protocol) != self.protocol:
            # An error quotes what the other end sent last.
            heard = bytes(watch.heard[called])
            made["payload"] = dict(hex=heard[:28 if ":" not in src else 48].hex())
            return made
        made.update(protocol=self.protocol, src_port=sport, dst_port=dport)
        if self.protocol == "tcp":
            if "tcp_flags" not in made:
                opening = called not in self.spoken
                made["tcp_flags"] = ["S"] if opening and called == self.opener else ["S", "A"] if opening else \
                    ["A", "P"] if made.get("payload") else ["A"]
            other = next((end for end in self.next if end != called), None)
            made["ack"] = self.next[other] if other and "A" in made["tcp_flags"] else 0
            made.setdefault("seq", self.next.get(called, 0x51000000 if called == self.opener else 0x61000000))
        self.spoken.add(called)
        return made

    def sent(self, called, packet):
        if TCP in packet:
            self.next[called] = self.after(packet[TCP])

    @staticmethod
    def after(tcp):
        """The number that the sender of a segment goes on with."""
        return (tcp.seq + len(bytes(tcp.payload)) + bool(int(tcp.flags) & SYN) + bool(int(tcp.flags) & FIN)) & 0xFFFFFFFF

    def arrived(self, called, seen, watch):
        """Takes note of where the first packet arrived, and of what the other end's stack answered."""
        if called == self.opener and self.far is None and seen["deliveries"]:
            at = seen["deliveries"][-1]
            self.far, self.far_end = (at["src"], at["sport"], at["dst"], at["dport"]), at["node"]
        heard = watch.heard.get(called)
        other = self.far_end if called == self.opener else self.opener
        if other and other not in self.scripted and heard is not None and TCP in heard and heard[TCP].dport == self.near[1]:
            self.next[other] = self.after(heard[TCP])

    def waits(self, called):
        """Says whether the stack of the other end should have answered a handshake, and did not."""
        return self.shakes and called == self.opener and self.far_end not in self.scripted and self.far_end not in self.next

    def steps(self, entry):
        """(node, entry) of each packet that a listed one stands for: the handshake before the first, or as it."""
        called = entry.get("from") or self.opener
        if self.opened or not self.shakes:
            self.opened = True
            return [(called, entry)]
        self.opened = True
        bare = dict(dst_port=entry.get("dst_port", 80))
        steps = [(self.opener, dict(bare, tcp_flags=["S"]))]
        steps += [(end, dict(bare)) for end in self.scripted]
        steps.append((self.opener, dict(bare, tcp_flags=["A"])))
        if "tcp_flags" in entry or "payload" in entry:
            steps.append((called, entry))
        return steps

