"""A TCP flow into a network, and one opened when the network does not let new ones in any more."""
import policy_frames as lab

ROUTER, CLIENT, SERVER = "10.0.0.1", "10.1.0.10", "10.2.0.10"
with lab.Inside(SERVER):
    server = lab.socket.create_server((SERVER, 7000))


def connect():
    with lab.Inside(CLIENT):
        sock = lab.socket.socket()
    sock.settimeout(lab.DEADLINE)
    return sock


old = connect()
old.connect((SERVER, 7000))
server.settimeout(lab.DEADLINE)
accepted, _ = server.accept()
accepted.settimeout(lab.DEADLINE)


def echo(word):
    old.sendall(word)
    assert accepted.recv(100) == word
    accepted.sendall(word)
    assert old.recv(100) == word


echo(b"before")
print("both pass", flush=True)
lab.sys.stdin.readline()
new = connect()
new.setblocking(False)
new.connect_ex((SERVER, 7000))
until = lab.time.monotonic() + lab.DEADLINE
while lab.counter(ROUTER, "inet", lab.sys.argv[2], "in_nebr2") == 0:
    assert lab.time.monotonic() < until, "the counter of the network does not rise"
echo(b"after")
server.setblocking(False)
try:
    server.accept()
    raise AssertionError("the new one passed")
except BlockingIOError:
    pass
print("the old passes, the new does not", flush=True)
