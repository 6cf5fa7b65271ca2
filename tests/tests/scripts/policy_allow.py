"""Into a network that lets nothing in, but for ports 4100, 4200 to 4202 and ICMP."""
import policy_frames as lab

ROUTER, A, B, NEIGHBOUR = "10.0.0.1", "10.0.0.10", "10.1.0.10", "10.1.0.11"
A6, B6 = "fd00::a", "fd00:1::a"
lab.ping(ROUTER, A)
lab.ping(ROUTER, B)
sender, neighbour = lab.udp(A, 5000), lab.udp(NEIGHBOUR, 5000)
wanted = {4100: True, 4200: True, 4201: True, 4202: True, 4099: False, 4101: False, 4199: False, 4203: False}
for port, passes in wanted.items():
    receiver = lab.udp(B, port)
    sender.sendto(b"asked", (B, port))
    neighbour.sendto(b"after", (B, port))
    got = {text for text, _ in lab.wait_for(receiver, "after")}
    assert ("asked" in got) == passes, f"port {port}: {got}"
lab.ping(A, B)
lab.ping(A6, B6)
refused = lab.counter(ROUTER, "inet", lab.sys.argv[2], "in_nebr1")
assert refused == 4, f"{refused} were dropped and counted"
# The other way nothing is open but for what answers.
lab.ping(B, A)
print("all as planned")
