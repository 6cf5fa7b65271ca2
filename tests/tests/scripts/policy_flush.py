"""A flow through the router before, without and after its tables."""
import policy_frames as lab

A, B, NEIGHBOUR, ROUTER = "10.0.0.10", "10.1.0.10", "10.1.0.11", "10.0.0.1"
A6, B6, NEIGHBOUR6 = "fd00::a", "fd00:1::a", "fd00:1::b"
pairs = [(lab.udp(A, 5000), lab.udp(B, 5000), lab.udp(NEIGHBOUR, 5000), B), (lab.udp(A6, 5000), lab.udp(B6, 5000), lab.udp(NEIGHBOUR6, 5000), B6)]


def passes(word):
    """Whether a word from one network to the other arrives before one that a neighbour says afterwards."""
    found = []
    for sender, receiver, neighbour, to in pairs:
        try:
            sender.sendto(word.encode(), (to, 5000))
        except OSError:
            pass
        neighbour.sendto(f"after {word}".encode(), (to, 5000))
        found.append(any(text == word for text, _ in lab.wait_for(receiver, f"after {word}")))
    return found


for address in (A, B, A6, B6):
    lab.ping("fd00::1" if ":" in address else ROUTER, address)
for sender, receiver, _, to in pairs:
    sender.sendto(b"first", (to, 5000))
    lab.wait_for(receiver, "first")
lab.run(ROUTER, "nft", "add", "table", "inet", "foreign")
lab.run(ROUTER, "nft", "delete", "table", "inet", lab.sys.argv[2])
assert passes("without one") == [False, False]
lab.run(ROUTER, "nft", "flush", "ruleset")
assert passes("without any") == [False, False]
lab.run(ROUTER, "nft", "add", "table", "inet", "foreign")
print("nothing passes", flush=True)
lab.sys.stdin.readline()
assert passes("again") == [True, True]
assert "foreign" in lab.run(ROUTER, "nft", "list", "tables")
print("it passes again", flush=True)
