"""HOLDER SOURCE TARGET SECONDS: whether a datagram of the host with the address SOURCE reaches the one with TARGET, and its
answer comes back, within this time."""
import policy_frames as lab

_, _, source, target, seconds = lab.sys.argv
until = lab.time.monotonic() + float(seconds)
here, there = lab.udp(source, 5000), lab.udp(target, 5000)
here.setblocking(False)
there.setblocking(False)


def heard(sock):
    try:
        return sock.recvfrom(100)
    except BlockingIOError:
        return None


while lab.time.monotonic() < until:
    try:
        here.sendto(b"asked", (target, 5000))
    except OSError:
        pass
    lab.select.select([there], [], [], 0.05)
    if asked := heard(there):
        there.sendto(b"answered", asked[1])
        lab.select.select([here], [], [], 0.05)
    if heard(here):
        print("reached")
        break
else:
    print("silent")
