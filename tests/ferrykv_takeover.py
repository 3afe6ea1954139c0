#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A ferrykv succeeds another one: under load, in mid command, refused, killed."""
import os
import random
import signal
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
from ferrykv_lib import Conn, Line, encode, equal, run, wait_for


def fill(c, n=3000, seed=1):
    """n values of mixed sizes, all different; returns them."""
    rng = random.Random(seed)
    values = {b"key:%d" % i: rng.randbytes(int(10 ** rng.uniform(1, 4.5))) for i in range(n)}
    for k, v in values.items():
        c.send(encode("SET", k, v))
        equal(c.reply(), "OK")
    return values


def check(c, values):
    for k, v in values.items():
        if c("GET", k) != v:
            raise AssertionError(f"{k} is wrong or missing")
    equal(c("DBSIZE"), len(values))


def succeed(line, *args):
    """One hand-over that must work; the new server and its INFO."""
    old = line.procs[-1]
    new = line.takeover(*args)
    info = line.settled(new.pid)
    assert info, "no successor took over and settled"
    equal(old.wait(20), 0)
    return new, info


def everything_is_there(exe):
    with Line(exe, "--arena", "256M") as s:
        c = s.connect()
        values = fill(c)
        c("SET", "short", "x", "PX", 86400000)
        digest = c("DEBUG", "DIGEST")
        new, info = succeed(s)
        equal(info["role"], "successor")
        equal(info["handovers"], "1")
        equal(info["bytes_done"], info["bytes_total"])
        equal(info["pages_poisoned"], "0")
        equal(c("DEBUG", "DIGEST"), digest)  # the same connection, another process
        assert 0 < c("PTTL", "short") <= 86400000
        c("DEL", "short")
        check(c, values)
        check(s.connect(), values)


def several_in_a_row(exe):
    with Line(exe, "--arena", "128M") as s:
        c = s.connect()
        values = fill(c, 1000)
        for i in range(1, 4):
            new, info = succeed(s)
            equal(info["handovers"], str(i))
            check(c, values)
            c("SET", "round", str(i))
            values[b"round"] = b"%d" % i
            c.send(encode("APPEND", "key:1", "more") + encode("DEL", "key:%d" % (i + 1)))
            values[b"key:1"] += b"more"
            del values[b"key:%d" % (i + 1)]
            equal(c.reply(), len(values[b"key:1"]))
            equal(c.reply(), 1)
        check(c, values)


def memory_kinds(exe):
    """Huge pages and locked pages arrive as what they were."""
    for extra in (["--thp"], ["--mlock"], ["--thp", "--mlock"]):
        with Line(exe, "--arena", "64M", *extra) as s:
            c = s.connect()
            values = fill(c, 500)
            new, info = succeed(s)
            check(c, values)
            if "--mlock" in extra:
                with open(f"/proc/{new.pid}/status") as f:
                    locked = [l for l in f if l.startswith("VmLck")]
                assert int(locked[0].split()[1]) > 1000, f"not locked any more: {locked}"


def in_mid_command(exe):
    """A command of which one half was sent to the old server, the other to the new one."""
    big = random.Random(7).randbytes(300000)
    wire = encode("SET", "cut", big) + encode("GET", "cut")
    cuts = [1, 5, 20, 40, 1000, 299999, len(wire) - 30, len(wire) - 1]
    with Line(exe, "--arena", "64M") as s:
        idle = s.connect()
        conns = [s.connect() for _ in cuts]
        for c, n in zip(conns, cuts):
            c.send(wire[:n])
        # the server has read what was sent, so that the halves are really in its hands
        equal(idle("PING"), "PONG")
        time.sleep(0.2)
        succeed(s)
        for c, n in zip(conns, cuts):
            c.send(wire[n:])
            equal(c.reply(), "OK")
            assert c.reply() == big, f"cut at {n} the value came back changed"
        equal(idle("PING"), "PONG")


def unsent_output(exe):
    """Replies that a slow reader had not read when the server changed."""
    big = random.Random(8).randbytes(5 << 20)
    with Line(exe, "--arena", "64M") as s:
        slow, fast = s.connect(), s.connect()
        equal(fast("SET", "big", big), "OK")
        slow.send(encode("GET", "big") * 6 + encode("ECHO", "the end"))
        equal(fast("PING"), "PONG")
        time.sleep(0.2)  # until nothing more fits into the socket
        succeed(s)
        equal(fast("PING"), "PONG")
        for _ in range(6):
            assert slow.reply() == big, "unsent output was changed"
        equal(slow.reply(), b"the end")
        # and QUIT with its answer still unsent
        slow.send(encode("GET", "big") * 3 + encode("QUIT"))
        time.sleep(0.2)
        succeed(s)
        for _ in range(3):
            assert slow.reply() == big
        equal(slow.reply(), "OK")
        assert slow.at_end()


def expiry_across(exe):
    with Line(exe, "--arena", "64M") as s:
        c = s.connect()
        c("SET", "soon", "x", "PX", 1500)
        c("SET", "late", "x", "EX", 1000)
        succeed(s)
        assert 990 < c("TTL", "late") <= 1000
        assert wait_for(lambda: c("EXISTS", "soon") == 0, 5), "soon has not expired"
        equal(c("EXISTS", "late"), 1)


def under_benchmark(exe):
    """redis-benchmark, as it comes, through two hand-overs."""
    with Line(exe, "--arena", "256M", tcp=True) as s:
        values = fill(s.connect(), 2000)
        bench = subprocess.Popen(
            ["redis-benchmark", "-p", str(s.port), "-n", "300000", "-c", "20", "-r", "5000",
             "-d", "100", "-t", "set,get,incr", "--csv"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            for _ in range(2):
                time.sleep(0.7)
                assert bench.poll() is None, "redis-benchmark was done too soon to tell"
                succeed(s)
            text = bench.communicate(timeout=60)[0]
        finally:
            bench.kill()
            bench.wait()
        equal(bench.returncode, 0)
        assert "rror" not in text, text
        equal(len(text.strip().splitlines()), 4)
        c = s.connect()
        for k, v in values.items():
            equal(c("GET", k), v)


def steady_clients(exe):
    """Clients that connect, ask, and leave all the while: none is refused or cut off."""
    with Line(exe, "--arena", "64M") as s:
        values = fill(s.connect(), 300)
        keys, stop, trouble, done = list(values), threading.Event(), [], []

        def client(seed):
            rng = random.Random(seed)
            try:
                while not stop.is_set():
                    c = s.connect()
                    for _ in range(5):
                        k = rng.choice(keys)
                        assert c("GET", k) == values[k], f"{k} is wrong"
                    c.close()
                    done.append(1)
            except Exception as e:
                trouble.append(repr(e))

        threads = [threading.Thread(target=client, args=(i,)) for i in range(3)]
        for t in threads:
            t.start()
        try:
            for _ in range(3):
                time.sleep(0.2)
                succeed(s)
        finally:
            stop.set()
            for t in threads:
                t.join()
        equal(trouble, [])
        assert len(done) > 20, f"only {len(done)} clients came"


def many_clients(exe):
    """More connections than fit into one message."""
    with Line(exe, "--arena", "64M") as s:
        conns = [s.connect() for _ in range(600)]
        for i, c in enumerate(conns):
            c.send(encode("SET", f"c{i}", str(i)))
        for c in conns:
            equal(c.reply(), "OK")
        succeed(s)
        for i, c in enumerate(conns):
            c.send(encode("GET", f"c{i}"))
        for i, c in enumerate(conns):
            equal(c.reply(), b"%d" % i)


def tokens(exe):
    with Line(exe, "--arena", "64M", handover=False) as probe:
        token = os.path.join(probe.dir, "token")
        with Line(exe, "--arena", "64M", "--token-file", token) as s:
            c = s.connect()
            values = fill(c, 100)
            assert wait_for(lambda: os.path.exists(token))
            equal(os.stat(token).st_mode & 0o777, 0o600)
            with open(token) as f:
                right = f.read()
            equal(len(right), 32)
            wrong = os.path.join(s.dir, "wrong")
            with open(wrong, "w") as f:
                f.write("00" * 16)
            none = subprocess.run([exe, "--takeover", s.address], capture_output=True,
                                  text=True, timeout=30)
            assert none.returncode == 1 and "cannot take over" in none.stderr, none
            bad = subprocess.run([exe, "--takeover", s.address, "--token-file", wrong],
                                 capture_output=True, text=True, timeout=30)
            assert bad.returncode == 1 and "token" in bad.stderr, bad
            equal(s.info()["process_id"], str(s.first.pid))
            check(c, values)
            # a refused successor used up nothing, or the file tells what is good now
            new, info = succeed(s)
            check(c, values)
            with open(token) as f:
                now = f.read()
            assert len(now) == 32 and now != right, "the token was good twice"


def not_there(exe):
    with Line(exe, "--arena", "64M") as s:
        for address in ("unix:" + s.dir + "/nobody", "nonsense", "unix:" + s.path):
            r = subprocess.run([exe, "--takeover", address], capture_output=True, text=True,
                               timeout=30)
            equal(r.returncode, 1)
            assert r.stderr.startswith("ferrykv: cannot take over: ") and len(r.stderr) > 40, r
        equal(s.connect()("PING"), "PONG")


def two_at_once(exe):
    """Two successors: one gets it, the other is told so and leaves."""
    with Line(exe, "--arena", "128M") as s:
        c = s.connect()
        values = fill(c)
        rivals = [s.takeover(), s.takeover()]
        assert wait_for(lambda: any(p.poll() is not None for p in rivals), 30), \
            "neither gave up"
        # a loser that came late enough may have succeeded the winner: then both are fine
        lost = [p for p in rivals if p.poll() not in (None, 0)]
        winner = [p for p in rivals if p not in lost][-1]
        assert s.settled(winner.pid) or s.settled(rivals[0].pid)
        if lost:
            assert "cannot take over" in s.log(lost[0]), s.log(lost[0])
            equal(lost[0].returncode, 1)
        check(c, values)


def during_the_drain(exe):
    """A takeover while the last one is still draining is refused, or waits its turn."""
    with Line(exe, "--arena", "1G") as s:
        c = s.connect()
        block = random.Random(9).randbytes(1 << 20)
        for i in range(600):
            equal(c("SET", f"b{i}", block), "OK")
        new = s.takeover()
        assert wait_for(lambda: s.info()["process_id"] == str(new.pid)), "no take-over"
        refused = 0
        while s.info()["draining"] == "1" and refused < 20:
            early = s.takeover()
            assert wait_for(lambda: early.poll() is not None or
                            s.info()["process_id"] == str(early.pid))
            if early.poll() is None:
                new = early  # it came when all had arrived
                break
            equal(early.returncode, 1)
            assert "cannot take over: " in s.log(early), s.log(early)
            refused += 1
        assert refused, "the drain was over too soon to tell"
        assert s.settled(new.pid), "the last one did not settle"
        for i in range(600):
            assert c("GET", f"b{i}") == block


def killed_before_commit(exe):
    """Successors killed at random moments: each time somebody has everything."""
    rng = random.Random(10)
    with Line(exe, "--arena", "256M") as s:
        c = s.connect()
        values = fill(c)
        killed = 0
        for _ in range(15):
            before = s.info()["process_id"]
            p = s.takeover()
            time.sleep(rng.uniform(0, 0.03))
            # only before the commit: afterwards the memory is the successor's, and gone with it
            os.kill(p.pid, signal.SIGSTOP)
            if s.log(p) == "" and p.poll() is None and asks_old(s, before):
                p.kill()
                p.wait()
                killed += 1
                check(c, values)
            else:
                os.kill(p.pid, signal.SIGCONT)
                assert s.settled(p.pid), "a successor that was not killed did not settle"
                check(c, values)
        assert killed > 3, f"only {killed} of 15 were killed in time"
        check(c, values)


def asks_old(s, pid):
    """True if the server @pid answers: nothing has been committed. It may take as long as a
    source waits for a successor that has stopped."""
    try:
        c = Conn(s.path, timeout=9)
        return b"process_id:%s\r\n" % pid.encode() in c("INFO")
    except TimeoutError:
        return False


def old_one_killed(exe):
    """Right after the commit the old server is not needed any more."""
    with Line(exe, "--arena", "512M") as s:
        c = s.connect()
        values = fill(c)
        block = random.Random(11).randbytes(1 << 20)
        for i in range(300):
            equal(c("SET", f"b{i}", block), "OK")
            values[b"b%d" % i] = block
        new = s.takeover()
        assert wait_for(lambda: s.info()["process_id"] == str(new.pid))
        if s.first.poll() is None:
            s.first.kill()
        assert s.settled(new.pid)
        check(c, values)


if __name__ == "__main__":
    run([everything_is_there, several_in_a_row, memory_kinds, in_mid_command, unsent_output,
         expiry_across, under_benchmark, steady_clients, many_clients, tokens, not_there,
         two_at_once, during_the_drain, killed_before_commit, old_one_killed])
