# SPDX-License-Identifier: LGPL-2.1-or-later
"""Start ferrykv, speak RESP to it, and report tests as "ok - name" lines."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

WAIT = 20.0


class Error(Exception):
    """An error reply."""


class Conn:
    """One connection; replies come back as Python values, errors are raised."""

    def __init__(self, path, timeout=WAIT):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.sock.settimeout(timeout)
        self.buf = bytearray()

    def send(self, data):
        self.sock.sendall(data)

    def _fill(self):
        data = self.sock.recv(1 << 20)
        if not data:
            raise EOFError("connection closed")
        self.buf += data

    def _line(self):
        while b"\r\n" not in self.buf:
            self._fill()
        line, _, rest = self.buf.partition(b"\r\n")
        self.buf = bytearray(rest)
        return bytes(line)

    def reply(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise Error(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            n = int(rest)
            if n < 0:
                return None
            while len(self.buf) < n + 2:
                self._fill()
            data = bytes(self.buf[:n])
            assert self.buf[n:n + 2] == b"\r\n", "bulk without its end"
            del self.buf[:n + 2]
            return data
        assert kind == b"*", f"strange reply {line!r}"
        return [self.reply() for _ in range(int(rest))]

    def __call__(self, *args):
        self.send(encode(*args))
        return self.reply()

    def at_end(self):
        """True if the other side has closed."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.sock.close()


def encode(*args):
    out = [b"*%d\r\n" % len(args)]
    for a in args:
        if isinstance(a, int):
            a = str(a)
        if isinstance(a, str):
            a = a.encode()
        out.append(b"$%d\r\n%s\r\n" % (len(a), a))
    return b"".join(out)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, seconds=WAIT):
    """Call @what until it returns something true; its last value."""
    end = time.monotonic() + seconds
    while True:
        value = what()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.01)


class Line:
    """A line of servers, each the successor of the one before, in a directory of its own."""

    def __init__(self, exe, *args, handover=True, tcp=False):
        self.exe, self.args, self.procs = exe, list(args), []
        self.dir = tempfile.mkdtemp(prefix="ferrykv-test-")
        self.path = os.path.join(self.dir, "client")
        self.address = "unix:" + os.path.join(self.dir, "handover")
        self.port = free_port() if tcp else 0
        if handover:
            self.args += ["--handover", self.address]
        self.first = self.spawn("--port", str(self.port), "--unixsocket", self.path)
        assert wait_for(lambda: os.path.exists(self.path) or self.first.poll() is not None)
        assert self.first.poll() is None, "ferrykv did not start"
        if handover:
            assert wait_for(lambda: self.info()["offering"] == "1"), "no offer"

    def spawn(self, *args):
        log = open(os.path.join(self.dir, f"log.{len(self.procs)}"), "wb")
        p = subprocess.Popen([self.exe, *self.args, *args], stderr=log)
        log.close()
        self.procs.append(p)
        return p

    def takeover(self, *args):
        return self.spawn("--takeover", self.address, *args)

    def log(self, proc):
        with open(os.path.join(self.dir, f"log.{self.procs.index(proc)}")) as f:
            return f.read()

    def connect(self):
        return Conn(self.path)

    def info(self):
        c = self.connect()
        text = c("INFO").decode()
        c.close()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)

    def settled(self, pid):
        """INFO of the server @pid once it has all its memory and offers it in turn."""
        def look():
            i = self.info()
            return i if (i["process_id"] == str(pid) and i["draining"] == "0" and
                         i["offering"] == "1") else None
        return wait_for(look, 60)

    def close(self):
        for p in self.procs:
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
        for p in self.procs:
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait(5)
        shutil.rmtree(self.dir, ignore_errors=True)

    def show_logs(self):
        for p in self.procs:
            for line in self.log(p).splitlines():
                print(f"# {line}")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        if kind:
            self.show_logs()
        self.close()


def raises(text, fn, *args):
    try:
        got = fn(*args)
    except Error as e:
        assert text in str(e), f"error {e} does not say {text!r}"
        return
    raise AssertionError(f"{args} gave {got!r}, not an error with {text!r}")


def equal(got, want):
    assert got == want, f"got {str(got)[:200]!r}, want {str(want)[:200]!r}"


def run(tests):
    """Run the functions whose names are given on the command line, or all."""
    failed = 0
    names = sys.argv[2:]
    for test in tests:
        if names and test.__name__ not in names:
            continue
        try:
            test(sys.argv[1])
            print(f"ok - {test.__name__}", flush=True)
        except Exception:
            failed += 1
            for line in traceback.format_exc().splitlines():
                print(f"# {line}")
            print(f"not ok - {test.__name__}", flush=True)
    sys.exit(1 if failed else 0)
