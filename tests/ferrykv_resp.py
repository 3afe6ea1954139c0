#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""ferrykv speaks RESP: every command, framing good and bad, expiry, a full arena."""
import random
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from ferrykv_lib import Line, encode, equal, raises, run, wait_for


def server(exe, *args, **kw):
    return Line(exe, "--arena", "256M", *args, handover=False, **kw)


def strings(exe):
    with server(exe) as s:
        c = s.connect()
        equal(c("PING"), "PONG")
        equal(c("ping", "x"), b"x")
        equal(c("ECHO", b"\0\r\n"), b"\0\r\n")
        equal(c("SET", "k", "v"), "OK")
        equal(c("GET", "k"), b"v")
        equal(c("GET", "none"), None)
        equal(c("SET", "k", "w", "NX"), None)
        equal(c("SET", "k2", "w", "XX"), None)
        equal(c("SET", "k", "w", "XX"), "OK")
        equal(c("SET", "k2", "w", "NX"), "OK")
        equal(c("MGET", "k", "none", "k2"), [b"w", None, b"w"])
        equal(c("MSET", "a", "1", "b", "2"), "OK")
        equal(c("EXISTS", "a", "b", "a", "none"), 3)
        equal(c("DEL", "a", "none", "b"), 2)
        equal(c("GETSET", "k", "new"), b"w")
        equal(c("GETSET", "fresh", "x"), None)
        equal(c("APPEND", "k", "er"), 5)
        equal(c("APPEND", "app", "x"), 1)
        equal(c("STRLEN", "k"), 5)
        equal(c("STRLEN", "none"), 0)
        equal(c("GET", "k"), b"newer")
        equal(c("SET", "", ""), "OK")
        equal(c("GET", ""), b"")
        equal(c("DBSIZE"), 5)
        raises("syntax", c, "SET", "k", "v", "NX", "XX")
        raises("syntax", c, "SET", "k", "v", "EX")
        raises("syntax", c, "SET", "k", "v", "EX", "1", "KEEPTTL")
        raises("syntax", c, "SET", "k", "v", "WHAT")
        raises("wrong number", c, "GET")
        raises("wrong number", c, "GET", "a", "b")
        raises("wrong number", c, "MSET", "a", "b", "c")
        raises("unknown command", c, "NOSUCH", "a")


def numbers(exe):
    with server(exe) as s:
        c = s.connect()
        equal(c("INCR", "n"), 1)
        equal(c("INCRBY", "n", 41), 42)
        equal(c("INCRBY", "n", -2), 40)
        equal(c("DECR", "n"), 39)
        equal(c("GET", "n"), b"39")
        c("SET", "n", "9223372036854775807")
        raises("overflow", c, "INCR", "n")
        c("SET", "n", "-9223372036854775808")
        raises("overflow", c, "DECR", "n")
        equal(c("INCR", "n"), -9223372036854775807)
        for bad in ("", " 1", "1 ", "+1", "01", "-0", "1e3", "9223372036854775808",
                    "99999999999999999999", "-"):
            c("SET", "n", bad)
            raises("not an integer", c, "INCR", "n")
        raises("not an integer", c, "INCRBY", "m", "x")


def expiry(exe):
    with server(exe) as s:
        c = s.connect()
        equal(c("TTL", "none"), -2)
        c("SET", "k", "v")
        equal(c("TTL", "k"), -1)
        equal(c("PERSIST", "k"), 0)
        equal(c("EXPIRE", "k", 100), 1)
        equal(c("TTL", "k"), 100)
        assert 99000 < c("PTTL", "k") <= 100000
        equal(c("SET", "k", "v2", "KEEPTTL"), "OK")
        equal(c("TTL", "k"), 100)
        equal(c("APPEND", "k", "+"), 3)
        equal(c("TTL", "k"), 100)
        equal(c("PERSIST", "k"), 1)
        equal(c("TTL", "k"), -1)
        equal(c("SETEX", "k", 50, "v"), "OK")
        equal(c("TTL", "k"), 50)
        c("SET", "k", "v")
        equal(c("TTL", "k"), -1)
        equal(c("EXPIRE", "k", 0), 1)
        equal(c("EXISTS", "k"), 0)
        equal(c("EXPIRE", "none", 5), 0)
        for bad in (0, -1, 9223372036854775807):
            raises("invalid expire", c, "SET", "k", "v", "EX", bad)
        raises("not an integer", c, "PEXPIRE", "k", "soon")
        c("SET", "p", "v", "PX", 60)
        c("SET", "q", "v", "PX", 60)
        c("SET", "forever", "v")
        equal(c("GET", "p"), b"v")
        time.sleep(0.08)
        equal(c("GET", "p"), None)
        # nobody asks for q: the upkeep finds it
        assert wait_for(lambda: c("DBSIZE") == 1), "expired keys stay"
        assert "expires=0" in c("INFO").decode()


def key_space(exe):
    with server(exe) as s:
        c = s.connect()
        keys = {b"key:%d" % i for i in range(5000)}
        c.send(b"".join(encode("SET", k, "x") for k in keys))
        for _ in keys:
            equal(c.reply(), "OK")
        seen, cursor = set(), b"0"
        while True:
            cursor, some = c("SCAN", cursor, "COUNT", 100)
            seen.update(some)
            if seen and len(seen) < 400:  # the table grows under the scan
                c.send(b"".join(encode("SET", f"new:{len(seen)}:{i}", "x")
                                for i in range(2000)))
                for _ in range(2000):
                    c.reply()
            if cursor == b"0":
                break
        assert keys <= seen, f"{len(keys - seen)} keys were not scanned"
        equal(set(c("KEYS", "key:1?")), {b"key:%d" % i for i in range(10, 20)})
        equal(set(c("KEYS", "k*:1[0-2]")), {b"key:10", b"key:11", b"key:12"})
        equal(set(c("KEYS", "k[^a-d]y:7")), {b"key:7"})
        equal(c("KEYS", "key:\\?"), [])
        equal(c("KEYS", "*a*a*a*a*a*a*a*b"), [])
        equal(c("SCAN", 0, "MATCH", "none*", "COUNT", 1 << 20), [b"0", []])
        raises("cursor", c, "SCAN", "x")
        raises("syntax", c, "SCAN", 0, "COUNT")
        raises("syntax", c, "SCAN", 0, "COUNT", 0)
        equal(c("FLUSHALL"), "OK")
        equal(c("DBSIZE"), 0)
        equal(c("KEYS", "*"), [])


def digest(exe):
    with server(exe) as s, server(exe) as t:
        a, b = s.connect(), t.connect()
        items = [(f"k{i}", "v" * (i % 50)) for i in range(2000)]
        for k, v in items:
            a("SET", k, v)
        random.Random(1).shuffle(items)
        for k, v in items:
            b("SET", k, v)
        equal(a("DEBUG", "DIGEST"), b("DEBUG", "DIGEST"))
        b("SET", "k7", "other")
        assert a("DEBUG", "DIGEST") != b("DEBUG", "DIGEST")


def front_desk(exe):
    with server(exe) as s:
        c = s.connect()
        equal(c("SELECT", 0), "OK")
        raises("DB index", c, "SELECT", 1)
        equal(c("CLIENT", "SETNAME", "x"), "OK")
        equal(c("COMMAND"), [])
        equal(c("COMMAND", "DOCS"), [])
        equal(c("CONFIG", "GET", "save"), [b"save", b""])
        equal(c("CONFIG", "GET", "appendonly"), [b"appendonly", b"no"])
        equal(c("CONFIG", "GET", "other"), [])
        info = c("INFO").decode()
        assert "role:first" in info and "maxmemory:268435456" in info
        equal(c("QUIT"), "OK")
        assert c.at_end()
        d = s.connect()
        d.send(encode("SHUTDOWN", "NOSAVE"))
        equal(s.first.wait(10), 0)
        assert d.at_end()


def inline(exe):
    with server(exe) as s:
        c = s.connect()
        c.send(b"\r\n  \r\nSET a  b\r\nGET a\nPING\r\n")
        equal([c.reply() for _ in range(3)], ["OK", b"b", "PONG"])


def pipelined_in_pieces(exe):
    """The same commands in one piece, byte by byte, and cut at random."""
    big = random.Random(2).randbytes(70000)
    cmds = [("SET", "a", "1"), ("INCR", "a"), ("SET", "b", big), ("GET", "b"),
            ("MGET", "a", "none", "a"), ("ECHO", "\r\n"), ("DEL", "a", "b")]
    wire = b"".join(encode(*c) for c in cmds)
    want = ["OK", 2, "OK", big, [b"2", None, b"2"], b"\r\n", 2]
    rng = random.Random(3)
    with server(exe) as s:
        for cut in (lambda: len(wire), lambda: 1, lambda: rng.randint(1, 5000)):
            c, at = s.connect(), 0
            step = 0
            while at < len(wire):
                # byte by byte only where the framing is; the big value in larger pieces
                n = cut() if at < 500 or at > len(wire) - 500 else max(cut(), 900)
                c.send(wire[at:at + n])
                at += n
                step += 1
                if step % 50 == 0:
                    time.sleep(0.001)
            equal([c.reply() for _ in cmds], want)
            c.close()


def bad_frames(exe):
    with server(exe) as s:
        for data in (b"*1\r\n+PING\r\n", b"*x\r\n", b"*1\r\n$-5\r\n", b"*1\r\n$99999999999\r\n",
                     b"*1\r\n$4\r\nPINGxx", b"*99999999\r\n", b"*1\r\n$\r\n", b"A" * 70000,
                     b"*2\r\n$4\r\nECHO\r\n$" + b"1" * 70000):
            c = s.connect()
            try:
                c.send(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            raises("Protocol error", c.reply)
            assert c.at_end(), f"still open after {data[:30]!r}"
        c = s.connect()
        c.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk")  # gone in mid command
        c.close()
        equal(s.connect()("EXISTS", "k"), 0)
        c = s.connect()
        c.send(b"*-1\r\n*0\r\n" + encode("PING"))
        equal(c.reply(), "PONG")


def big_values(exe):
    data = random.Random(4).randbytes(64 << 20)
    with server(exe) as s:
        c = s.connect()
        equal(c("SET", "big", data), "OK")
        equal(c("STRLEN", "big"), len(data))
        assert c("GET", "big") == data, "64 MB came back changed"
        # a slow reader: what it has not read stays with it, others are served
        slow = s.connect()
        slow.send(encode("GET", "big") * 20)
        for _ in range(100):
            equal(c("PING"), "PONG")
        for _ in range(20):
            assert slow.reply() == data
        equal(c("APPEND", "big", "end"), len(data) + 3)
        assert c("GET", "big") == data + b"end"
        equal(c("DEL", "big"), 1)


def out_of_memory(exe):
    with Line(exe, "--arena", "16M", handover=False) as s:
        c = s.connect()
        value, n = b"x" * 5000, 0
        try:
            while c("SET", f"k{n}", value) == "OK":
                n += 1
                assert n < 10000
        except Exception as e:
            assert "OOM" in str(e), e
        assert n > 2800, f"only {n} values of 5000 bytes fit into 16 MB"
        for key in ("k0", f"k{n - 1}"):
            equal(c("GET", key), value)
        raises("OOM", c, "GETSET", "k1", b"y" * 100000)
        equal(c("GET", "k1"), value)
        raises("OOM", c, "APPEND", "k1", b"y" * 9000)
        raises("OOM", c, "MSET", "k1", b"y" * 9000)
        equal(c("GET", "k1"), value)
        # freed neighbours become room for what is larger than each of them
        equal(c("DEL", *[f"k{i}" for i in range(n)]), n)
        equal(c("SET", "large", b"z" * (4 << 20)), "OK")
        # and an empty store has all of it in one piece
        equal(c("FLUSHALL"), "OK")
        equal(c("SET", "large", b"z" * (15 << 20)), "OK")
        equal(c("STRLEN", "large"), 15 << 20)


def against_a_model(exe):
    """Random commands, compared with a dict; sizes that make blocks split and merge."""
    rng, model = random.Random(5), {}
    with Line(exe, "--arena", "64M", handover=False) as s:
        c = s.connect()
        for _ in range(30000):
            k = b"k%d" % rng.randrange(600)
            op = rng.random()
            if op < 0.45:
                v = bytes([rng.randrange(256)]) * int(2 ** rng.uniform(0, 15))
                c("SET", k, v)
                model[k] = v
            elif op < 0.6:
                v = b"+" * rng.randrange(300)
                model[k] = model.get(k, b"") + v
                equal(c("APPEND", k, v), len(model[k]))
            elif op < 0.75:
                equal(c("DEL", k), int(model.pop(k, None) is not None))
            else:
                equal(c("GET", k), model.get(k))
        equal(c("DBSIZE"), len(model))
        for k, v in model.items():
            equal(c("GET", k), v)
        c("DEL", *model.keys())
        used = [i for i in c("INFO").decode().split("\r\n") if i.startswith("used_memory:")]
        assert int(used[0].split(":")[1]) < 100000, f"the empty store uses {used}"


def distribution_clients(exe):
    with server(exe, tcp=True) as s:
        cli = ["redis-cli", "-p", str(s.port)]
        assert wait_for(lambda: subprocess.run(cli + ["ping"], capture_output=True)
                        .stdout == b"PONG\n")
        subprocess.run(cli + ["set", "from", "cli"], check=True, capture_output=True)
        out = subprocess.run(cli + ["get", "from"], check=True, capture_output=True)
        equal(out.stdout, b"cli\n")
        for extra in ([], ["-P", "16"]):
            out = subprocess.run(["redis-benchmark", "-p", str(s.port), "-n", "5000", "-c", "10",
                                  "-t", "ping,set,get,incr,mset", "--csv", *extra],
                                 capture_output=True, text=True, timeout=60)
            equal(out.returncode, 0)
            text = out.stdout + out.stderr
            assert "rror" not in text and "WARN" not in text, text
            equal(len(out.stdout.strip().splitlines()), 7)


if __name__ == "__main__":
    run([strings, numbers, expiry, key_space, digest, front_desk, inline, pipelined_in_pieces,
         bad_frames, big_values, out_of_memory, against_a_model, distribution_clients])
