"""The other judge of a suite: iproute2 builds, `nft -f` loads, scapy makes the packets, tcpdump at the far ends and `nft monitor trace` tell what
became of each. Prints one line of JSON per case. Needs root, and a network namespace of its own.

Usage: judge.py SUITE.yaml [QUIET_MS [CASE...]]
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import traceback

import yaml

import flows
import network
import observe
import packets

PROCESSES = 3


def stop_of(trace):
    """The step at which a rule or policy took the packet from its way."""
    stops = [n for n, (_, kind, _, verdict) in enumerate(trace) if kind != "verdict" and verdict.split()[0] in ("drop", "stolen", "queue")]
    return stops[0] if stops else None


def decide(sent, seen):
    """(verdict, deciding step) by what was seen."""
    trace, stop = seen["trace"], stop_of(seen["trace"])
    texts = [text or "" for _, _, text, _ in trace]
    copied = any(" dup to " in f" {text}" for text in texts)
    delivered = seen["deliveries"][-1] if seen["deliveries"] else None
    if copied:
        # Who reads first of the packet and its copy is chance.
        delivered = next((one for one in seen["deliveries"] if one["node"] == sent.home), delivered)
    if delivered is None and seen["answered"]:
        delivered = dict(node="fw", src=None, dst=None, sport=None, dport=None)
    if stop is not None:
        taken = trace[stop][3].split()[0] != "drop"
        if delivered and not copied and not taken:
            return "CONTRADICTION", stop, delivered
        if copied and not taken:
            delivered = None
        return ("STOLEN" if taken else "REJECT" if seen["refused"] else "DROP"), stop, delivered
    if delivered:
        if any("tproxy" in text for text in texts):
            return "STOLEN", max(n for n, text in enumerate(texts) if "tproxy" in text), delivered
        rules = [n for n, step in enumerate(trace) if step[1] == "rule" and step[3] == "accept"]
        policies = [n for n, step in enumerate(trace) if step[1] == "policy" and step[3] == "accept"]
        return "ACCEPT", (rules or policies or [None])[-1], delivered
    return ("HELD" if packets.is_fragment(sent.packet) and not seen["refused"] else "LOST"), None, None


def patient(watch, sent, quiet):
    """What was seen; looked at again for longer while it is not yet conclusive."""
    seen = watch.collect(sent, quiet)
    if not (seen["deliveries"] and seen["trace"]) and stop_of(seen["trace"]) is None:
        more = watch.collect(sent, 6 * quiet)
        seen = {k: seen[k] + more[k] if isinstance(seen[k], list) else seen[k] or more[k] for k in seen}
    return seen


def provisional(entry, played):
    """A packet of a flow as it would be without translation."""
    flow = played.get(entry.get("flow"))
    if flow is None or entry.get("protocol", flow.protocol) != flow.protocol:
        return {k: v for k, v in entry.items() if k != "flow"} if flow else entry
    src, sport, dst, dport = flow.near if entry.get("from", flow.opener) == flow.opener else flow.back()
    ports = dict(src_port=sport, dst_port=dport) if sport else {}
    return dict(entry, protocol=flow.protocol, src_ip=src, dst_ip=dst, **ports)


def one(case, quiet):
    rules = case.get("rules", "")
    net = network.Network(case.get("topology", "simple"), case.get("sysctls", {}), case.get("peers") == "silent")
    loaded = subprocess.run(["nft", "-f", "-"], input=rules.encode(), capture_output=True)
    if loaded.returncode:
        message = loaded.stderr.decode(errors="replace")
        return dict(name=case["name"], load_error=message, packets=[])
    subprocess.run(["nft", "-f", "-"], input=observe.tracer(rules).encode(), check=True)
    listed = []
    for entry in case["packets"]:
        for n in range(entry.get("count", 1)):
            again = dict(entry, src_port=entry.get("src_port", 12345) + n * entry.get("sport_step", 0))
            again["after_ms"] = entry.get("after_ms" if n == 0 else "gap_ms", 0)
            if "flow" in entry:
                again["src_port"] = entry.get("src_port", 12345)
            listed.append(again)
    played = {name: flows.Flow(held, net.nodes) for name, held in flows.members(listed).items()}
    # A packet of a flow is made when its turn comes; what is looked for is known before.
    entries = [packets.Sent(provisional(entry, played), net.nodes, n + 1) for n, entry in enumerate(listed)]
    spoken = {end for flow in played.values() for end in flow.scripted}
    listeners = case.get("listeners", "auto")
    if listeners == "auto":
        aims = [e.entry for e in entries if e.entry.get("protocol", "tcp") in ("tcp", "udp") and "frame" not in e.entry
                and not (e.entry.get("flow") and (played[e.entry["flow"]].scripted or e.source != played[e.entry["flow"]].opener))]
        listeners = {(e.get("protocol", "tcp"), e.get("dst_port", 80)) for e in aims}
    elif listeners == "none":
        listeners = None
    else:
        listeners = {(p, int(port)) for p, port in (word.split(":") for word in listeners)}
    if case.get("peers") != "silent":
        for called in net.nodes:
            own = [sent.packet for sent in entries if sent.source == called and "frame" not in sent.entry]
            net.mute(called, {packet.sport for packet in own if packets.TCP in packet}, any(packets.UDP in packet for packet in own), called in spoken)
        net.enter("fw")
    watch = observe.Watch(net, rules, entries, listeners)
    results = []
    for listed_one, sent in zip(listed, entries):
        time.sleep(listed_one["after_ms"] / 1000)
        flow = played.get(listed_one.get("flow"))
        for n, (called, entry) in enumerate(flow.steps(listed_one) if flow else [(None, None)]):
            if flow:
                sent = packets.Sent(flow.written(entry, called, watch), net.nodes, len(results) + 1 + n * 0x400)
            errno = watch.send(sent)
            seen = patient(watch, sent, quiet)
            verdict, step, delivered = decide(sent, seen)
            if flow:
                flow.sent(called, sent.packet)
                flow.arrived(called, seen, watch)
            if verdict == "ACCEPT" and flow and flow.waits(called):
                verdict, step = "LOST", None  # its answer never came
            if verdict != "ACCEPT":
                break
        step = seen["trace"][step] if step is not None else None
        results.append(dict(verdict=verdict, delivered=delivered, errno=errno, chain=step and step[0], rule=step and step[2],
                            path=[f"{chain} {kind} {verdict}" for chain, kind, _, verdict in seen["trace"]]))
    watch.close()
    return dict(name=case["name"], load_error=None, packets=results)


def guarded(case, quiet):
    try:
        return one(case, quiet)
    except Exception:
        return dict(name=case["name"], load_error=None, failure=traceback.format_exc(), packets=[])


def main():
    suite, quiet, wanted = sys.argv[1], int(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.03, sys.argv[3:]
    with open(suite) as file:
        cases = yaml.safe_load(file)
    cases = [case for case in (cases["tests"] if isinstance(cases, dict) else cases) if not wanted or case["name"] in wanted]
    running, queue = {}, list(cases)
    while queue or running:
        while queue and len(running) < PROCESSES:
            case, answer = queue.pop(0), tempfile.TemporaryFile("w+")
            pid = os.fork()
            if pid == 0:
                json.dump(guarded(case, quiet), answer)
                answer.flush()
                os._exit(0)
            running[pid] = answer
        answer = running.pop(os.wait()[0], None)
        if answer is None:
            continue  # what a case left behind, for this process is the first of its namespace
        answer.seek(0)
        print(answer.read(), flush=True)


main()
