"""A flow that goes on while a network is added, the network in use, and a change of its tables by somebody else."""
import policy_frames as lab

ROUTER, CLIENT, SERVER, ADDED, TABLE = "10.0.0.1", "10.0.0.10", "10.1.0.10", "10.2.0.10", lab.sys.argv[2]


def listen(address):
    with lab.Inside(address):
        server = lab.socket.create_server((address, 7000))
    server.settimeout(lab.DEADLINE)
    return server


def connect(server, address):
    with lab.Inside(CLIENT):
        sock = lab.socket.socket()
    sock.settimeout(lab.DEADLINE)
    sock.connect((address, 7000))
    accepted, _ = server.accept()
    accepted.settimeout(lab.DEADLINE)
    return sock, accepted


def echo(pair, word):
    for a, b in (pair, pair[::-1]):
        a.sendall(word)
        assert b.recv(100) == word


def rules():
    return lab.run(ROUTER, "nft", "--handle", "--stateless", "list", "chain", "inet", TABLE, "forward")


server = listen(SERVER)
old, before = connect(server, SERVER), rules()
echo(old, b"before")
print("it passes", flush=True)
lab.sys.stdin.readline()
echo(old, b"after")
echo(connect(server, SERVER), b"a new one")
lab.SPACES = lab.find_spaces(lab.sys.argv[1])
added = listen(ADDED)
echo(connect(added, ADDED), b"to the new network")
assert rules() == before, "the rules of all were made anew"
lab.run(ROUTER, "nft", "delete element inet %s enter { nebr2 }" % TABLE)
print("somebody changed it", flush=True)
lab.sys.stdin.readline()
echo(connect(added, ADDED), b"again")
echo(old, b"still")
print("it is as it was", flush=True)
