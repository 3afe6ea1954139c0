#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""memferry demo: its output is what it promises, it finds lost data, and leaves nothing."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from ferrykv_lib import equal, wait_for

TOP = {"schema": int, "machine": str, "kernel": str, "thp": str, "verified": bool,
       "values": int, "lost": int, "handovers": list, "client_ms": dict}
ROW = {"blackout_ms": float, "total_s": float, "faults": int, "fault_us": dict,
       "gb_per_s": float, "pages": dict, "extra_ram_bytes": int, "client_ms": dict}

# A server that hands over faithfully but for what it changes right before it does.
SABOTEUR = """#!/usr/bin/env python3
import os, re, socket, sys
if "--takeover" in sys.argv:
    at = sys.argv[sys.argv.index("--takeover") + 1]
    s = socket.socket(socket.AF_UNIX)
    s.connect(os.path.join(os.path.dirname(at[len("unix:"):]), "clients"))
    s.sendall(b"{command}\\r\\n")
    s.recv(100)
    s.close()
os.execv("{server}", ["{server}"] + sys.argv[1:])
"""


def demo(memferry, *args, tmp, timeout=100):
    return subprocess.run([memferry, "demo", *args], capture_output=True, text=True,
                          timeout=timeout, env={**os.environ, "TMPDIR": tmp})


def check_types(where, obj, types):
    for key, kind in types.items():
        assert key in obj, f"{where} has no {key}"
        assert isinstance(obj[key], kind), f"{where}.{key} is {obj[key]!r}, not {kind}"


def check_json(text):
    result = json.loads(text)
    check_types("demo", result, TOP)
    equal(result["schema"], 1)
    equal(result["verified"], True)
    equal(result["lost"], 0)
    assert result["values"] > 3000
    equal(len(result["handovers"]), 2)
    for row in result["handovers"]:
        check_types("handovers[]", row, ROW)
        check_types("pages", row["pages"], dict.fromkeys(("move", "give", "copy", "fd"), int))
        check_types("fault_us", row["fault_us"], dict.fromkeys(("p50", "p99", "p999"), float))
        for window in ("before", "during", "after"):
            check_types(window, row["client_ms"][window],
                        dict.fromkeys(("p50", "p99", "max"), float))
        moved = row["pages"]["move"] + row["pages"]["give"] + row["pages"]["copy"]
        assert moved * 4096 > 48 << 20, f"only {moved} pages were moved"
        assert 0 < row["blackout_ms"] < 1000 * row["total_s"]
        assert row["faults"] > 0 and row["gb_per_s"] > 0
    return result


def whole(memferry, server, tmp):
    png = os.path.join(tmp, "demo.png")
    r = demo(memferry, "--size", "64M", "--handovers", "2", "--json", "--plot", png, tmp=tmp)
    assert r.returncode == 0, r.stderr
    result = check_json(r.stdout)
    last = r.stderr.strip().splitlines()[-1]
    equal(last, f"every value verified ({result['values']} values, 3 times)")
    with open(png, "rb") as f:
        equal(f.read(4), b"\x89PNG")
    os.unlink(png)


def table(memferry, server, tmp):
    r = demo(memferry, "--size", "16M", "--handovers", "1", "--thp", "--server", server, tmp=tmp)
    assert r.returncode == 0, r.stderr
    lines = r.stdout.strip().splitlines()
    assert lines[-1].startswith("every value verified ("), lines[-1]
    for word in ("blackout", "drain speed", "faults served", "pages by move", "peak extra RAM",
                 "hand-over 1 before", "hand-over 1 during", "hand-over 1 after"):
        assert word in r.stdout, f"the table has no {word!r}"


def sabotage(memferry, server, tmp):
    """What a successor loses, changes, or answers with an error is found."""
    for command in ("DEL demo:00000005", "APPEND demo:00000005 x", "SET demo:00000005 x"):
        path = os.path.join(tmp, "saboteur")
        with open(path, "w") as f:
            f.write(SABOTEUR.replace("{command}", command).replace("{server}", server))
        os.chmod(path, 0o700)
        r = demo(memferry, "--size", "16M", "--handovers", "1", "--json", "--server", path,
                 tmp=tmp)
        os.unlink(path)
        equal(r.returncode, 1)
        result = json.loads(r.stdout)
        equal(result["verified"], False)
        assert result["lost"] > 0, f"{command} was not noticed"
        assert "every value verified" not in r.stdout + r.stderr


def interrupted(memferry, server, tmp):
    p = subprocess.Popen([memferry, "demo", "--size", "64M"], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, env={**os.environ, "TMPDIR": tmp})
    try:
        time.sleep(3.2)  # in the first hand-over, or close to it
        assert os.listdir(tmp), "it had not begun"
        p.send_signal(signal.SIGINT)
        out = p.communicate(timeout=60)[0]
    finally:
        p.kill()
        p.wait()
    equal(p.returncode, 128 + signal.SIGINT)
    assert "every value verified" not in out


def usage(memferry, server, tmp):
    for args in (["--size", "1"], ["--size", "x"], ["--handovers", "0"], ["--nonsense"],
                 ["word"], ["--size"]):
        equal(demo(memferry, *args, tmp=tmp).returncode, 2)
    r = demo(memferry, "--help", tmp=tmp)
    assert r.returncode == 0 and "usage: memferry demo" in r.stdout
    r = demo(memferry, "--server", "/nonexistent", tmp=tmp)
    equal(r.returncode, 1)
    assert "/nonexistent" in r.stderr, r.stderr


def main():
    memferry, server, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    failed = False
    for test in (usage, whole, table, sabotage, interrupted):
        if names and test.__name__ not in names:
            continue
        tmp = tempfile.mkdtemp(prefix="mf-demo-test-", dir="/tmp")
        try:
            test(memferry, server, tmp)
            assert wait_for(lambda: not os.listdir(tmp), 5), f"left behind: {os.listdir(tmp)}"
            print(f"ok - {test.__name__}", flush=True)
        except Exception as e:
            failed = True
            for line in f"{type(e).__name__}: {e}".splitlines():
                print(f"# {line}")
            print(f"not ok - {test.__name__}", flush=True)
        shutil.rmtree(tmp, ignore_errors=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
