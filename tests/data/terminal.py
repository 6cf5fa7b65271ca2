"""Drives `netengine exec` on a pseudo terminal, as a person at a keyboard would. Arguments: the CLI, the world."""
import fcntl, os, pty, select, signal, struct, sys, termios, time

CLI, WORLD = sys.argv[1:3]
# Nothing here waits for ever: SIGALRM ends it.
signal.alarm(60)


class Terminal:
    def __init__(self, script, rows, columns):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            # An outer shell looks at the terminal before and after.
            os.execv("/bin/sh", ["sh", "-c", f"stty -a > $HOME/before; {script}; code=$?; stty -a > $HOME/after; exit $code"])
        self.seen = b""

    def wait_for(self, text):
        deadline = time.monotonic() + 30
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no {text!r} in {self.seen!r}"
            try:
                more = os.read(self.master, 65536)
            except OSError:
                more = b""
            assert more, f"no {text!r} before the end: {self.seen!r}"
            self.seen += more
        before, _, self.seen = self.seen.partition(text)
        return before

    def send(self, data):
        os.write(self.master, data)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self):
        while True:
            try:
                more = os.read(self.master, 65536)
            except OSError:
                more = b""
            if not more:
                break
            self.seen += more
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


def same_settings():
    home = os.environ["HOME"]
    # The first line is the size, which the person may have changed.
    before, after = (open(f"{home}/{name}").read().split("\n", 1)[1] for name in ("before", "after"))
    assert before == after, f"the terminal was left changed:\n{before}\n{after}"


exec_ = f"{CLI} exec {WORLD} --"

t = Terminal(f"{exec_} sh -c 'tty; stty size; echo $(ps -o tty= -p $$); test -t 0 -a -t 1 -a -t 2; echo terminals=$?; exit 7'", 31, 97)
t.wait_for(b"/dev/")
t.wait_for(b"31 97")
t.wait_for(b"terminals=0")
assert t.end() == 7
same_settings()

# The size follows, and the command is told by SIGWINCH.
t = Terminal(f"{exec_} bash -c 'trap \"stty size; exit 0\" WINCH; echo ready; while :; do sleep 0.05; done'", 24, 80)
t.wait_for(b"ready")
t.resize(50, 132)
t.wait_for(b"50 132")
assert t.end() == 0
same_settings()

# Keys go to the command: raw here, cooked there. Ctrl-C interrupts it and not the CLI; Ctrl-D ends its input.
t = Terminal(f"{exec_} bash -c 'trap \"echo interrupted\" INT; echo ready; cat; cat; echo ended'", 24, 80)
t.wait_for(b"ready")
t.send(b"hello\n")
t.wait_for(b"hello")
t.wait_for(b"hello")
t.send(b"\x03")
t.wait_for(b"interrupted")
t.send(b"\x04")
t.wait_for(b"ended")
assert t.end() == 0
same_settings()

# Job control works in a shell.
t = Terminal(f"{exec_} env PS1=judge: bash --norc --noprofile -i", 24, 80)
t.wait_for(b"judge:")
# Quoted, so that the echo of what was typed is not taken for the command's own word.
t.send(b"sh -c 'echo run''ning; exec sleep 1000'\n")
t.wait_for(b"running")
t.send(b"\x1a")
t.wait_for(b"Stopped")
t.wait_for(b"judge:")
t.send(b"kill -KILL %1; wait %1; echo job $((40+2))\n")
t.wait_for(b"job 42")
t.send(b"exit 9\n")
assert t.end() == 9, t.seen
same_settings()

# Killed by a signal, and a CLI ended by one, leave the terminal as it was.
t = Terminal(f"{exec_} sh -c 'stty raw -echo; kill -KILL $$'", 24, 80)
assert t.end() == 137
same_settings()
t = Terminal(f"{exec_} sh -c 'echo ready; exec sleep 1000'", 24, 80)
t.wait_for(b"ready")
children = open(f"/proc/{t.pid}/task/{t.pid}/children").read().split()
os.kill(int(children[0]), signal.SIGTERM)
assert t.end() == 143, t.seen
same_settings()

# Without a terminal for output there are pipes, and --tty forces one.
t = Terminal(f"{exec_} sh -c 'test -t 1; echo out=$?' | cat", 24, 80)
t.wait_for(b"out=1")
assert t.end() == 0
t = Terminal(f"{CLI} exec --tty {WORLD} -- sh -c 'test -t 1; echo out=$?' < /dev/null | cat", 24, 80)
t.wait_for(b"out=0")
assert t.end() == 0
t = Terminal(f"{CLI} exec --no-tty {WORLD} -- sh -c 'test -t 1; echo out=$?'", 24, 80)
t.wait_for(b"out=1")
assert t.end() == 0
print("terminal: all as it should be")
