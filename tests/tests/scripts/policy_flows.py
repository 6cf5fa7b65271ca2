"""One network opens more flows than it may; another opens its own all the same."""
import policy_frames as lab

LIMIT = int(lab.sys.argv[2])
ROUTER, TARGET, NEIGHBOUR = "10.0.0.1", "10.0.0.10", "10.0.0.11"
receiver, neighbour = lab.udp(TARGET, 5000), lab.udp(NEIGHBOUR, 5000)
for address in (TARGET, "10.1.0.10", "10.2.0.10"):
    lab.ping(ROUTER, address)
senders = [lab.udp("10.1.0.10", port) for port in range(6000, 6000 + 3 * LIMIT)]
# One that was answered, and many that are not.
old = senders[0]
old.sendto(b"asked", (TARGET, 5000))
lab.wait_for(receiver, "asked")
receiver.sendto(b"answered", old.getsockname())
lab.wait_for(old, "answered")
for turn in range(2):
    for sender in senders:
        sender.sendto(f"{sender.getsockname()[1]}".encode(), (TARGET, 5000))
neighbour.sendto(b"last", (TARGET, 5000))
flows = {text for text, _ in lab.wait_for(receiver, "last")} - {"last"}
assert len(flows) == LIMIT, f"{len(flows)} flows passed"
other = lab.udp("10.2.0.10", 6000)
other.sendto(b"of another", (TARGET, 5000))
lab.wait_for(receiver, "of another")
# What is open goes on.
old.sendto(b"of the first", (TARGET, 5000))
lab.wait_for(receiver, "of the first")
print("all as planned")
