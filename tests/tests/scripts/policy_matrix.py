"""Every network to every other, UDP over IPv4 and IPv6: what arrives, and with whose address."""
import policy_frames as lab

NETWORKS = lab.json.loads(lab.sys.argv[2])
PORT = 4000
HOSTS = {n: {4: f"10.{n}.0.10", 6: f"fd00:{n:x}::a" if n else "fd00::a"} for n in range(len(NETWORKS))}
ROUTERS = {n: {4: f"10.{n}.0.1", 6: f"fd00:{n:x}::1" if n else "fd00::1"} for n in HOSTS}


def may(a, b):
    """By the fields alone: NETWORKS[n] is null or [opens, admits, masquerades]."""
    a, b = NETWORKS[a], NETWORKS[b]
    if a is None and b is None:
        return True
    return (a is None or a[0]) and (b is None or b[1])


# The router knows its neighbours, so nothing waits for an address to be found.
for n in HOSTS:
    for family in (4, 6):
        lab.ping(ROUTERS[n][family], HOSTS[n][family])
sockets = {(n, family): lab.udp(HOSTS[n][family], PORT) for n in HOSTS for family in (4, 6)}
second = {n: lab.udp(f"10.{n}.0.11", PORT) for n in HOSTS}
for (a, family), sock in sockets.items():
    for b in HOSTS:
        if a != b:
            sock.sendto(f"from {a}".encode(), (HOSTS[b][family], PORT))
wrong = []
for (b, family), sock in sockets.items():
    # What a neighbour sends last comes behind all others.
    if family == 4:
        second[b].sendto(b"last", (HOSTS[b][4], PORT))
        got = lab.wait_for(sock, "last")
    else:
        # Behind the same processor's earlier frames as well.
        sock.sendto(b"last", (HOSTS[b][6], PORT))
        got = lab.wait_for(sock, "last")
    got = {text: sender for text, sender in got}
    for a in HOSTS:
        if a == b:
            continue
        sender = got.get(f"from {a}")
        translated = NETWORKS[a] is not None and NETWORKS[a][2]
        wanted = (ROUTERS[b] if translated else HOSTS[a])[family] if may(a, b) else None
        if sender != wanted:
            wrong.append(f"IPv{family} {a} to {b}: wanted {wanted}, came from {sender}")
assert not wrong, "\n".join(wrong)
print("all as planned")
