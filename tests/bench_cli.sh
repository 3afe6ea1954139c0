#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The output of memferry bench: valid JSON, the promised keys, values that can be true.
# No expectation about time: that is what the user runs it for.
#
# usage: bench_cli.sh PROGRAM
set -u
memferry=$1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

check() { # NAME COMMAND...
	name=$1
	shift
	if "$@" >"$dir/log" 2>&1; then
		echo "ok - $name"
	else
		echo "not ok - $name"
		sed 's/^/# /' "$dir/log"
		failed=1
	fi
}

refused() { # ARGUMENT...: a usage error, told on stderr
	"$memferry" bench "$@" >"$dir/out" 2>"$dir/err"
	[ $? -eq 2 ] && [ -s "$dir/err" ] && [ ! -s "$dir/out" ]
}

run_json() { # MEASUREMENT
	timeout 60 "$memferry" bench "$1" --quick --json --plot "$dir/$1.png" >"$dir/$1.json"
}

valid() { # MEASUREMENT
	python3 - "$1" "$dir/$1.json" <<'PY'
import json, sys
name, path = sys.argv[1:]
doc = json.load(open(path))

def need(obj, key, kind):
    assert key in obj, f"no {key} in {obj}"
    assert isinstance(obj[key], kind), f"{key} is {obj[key]!r}"
    return obj[key]

assert need(doc, "schema", int) == 1
assert need(doc, "bench", str) == name
for key in "machine", "kernel", "thp":
    assert need(doc, key, str)
assert need(doc, "cpus", int) >= 1
need(doc, "ratios", dict)
for skip in need(doc, "skipped", list):
    assert need(skip, "row", str) and need(skip, "why", str)
rows = need(doc, "rows", list)
assert rows, f"no rows: {doc['skipped']}"
assert all(v > 0 for v in doc["ratios"].values())

def fault(row):
    assert need(row, "op", str) in ("move", "copy", "zeropage", "zeropage-bare",
                                    "first-touch-write", "first-touch-read")
    assert need(row, "handler", str) in ("thread", "process", "in-thread", "kernel")
    assert need(row, "placement", str) in ("same", "spin", "sleep")
    assert need(row, "load", str) in ("idle", "writer")
    assert need(row, "threads", int) >= 1 and need(row, "count", int) > 0
    v = [need(row, k, float) for k in ("p50_us", "p99_us", "p999_us", "max_us")]
    assert 0 < v[0] and v == sorted(v), v

def bulk(row):
    assert need(row, "op", str) in ("move", "copy", "memcpy", "process_vm_readv")
    assert need(row, "page", str) in ("4k", "thp")
    assert need(row, "call_bytes", int) % 4096 == 0
    assert 0 < row["gb_per_s_min"] <= need(row, "gb_per_s", float) <= row["gb_per_s_max"]

def handover(row):
    way = need(row, "way", str)
    assert need(row, "page", str) in ("4k", "thp") and need(row, "bytes", int) > 0
    assert need(row, "total_s", float) > 0 and need(row, "extra_ram_bytes", int) >= 0
    if not way.startswith("uffd-copy"):
        assert 0 < need(row, "blackout_ms", float) <= row["total_s"] * 1000 + 0.001
    if "fault_us" in row: # nothing to tell if all had arrived before the first touch
        f = need(row, "fault_us", dict)
        assert 0 < f["p50"] <= f["p99"] <= f["p999"], f

for row in rows:
    {"fault": fault, "bulk": bulk, "handover": handover}[name](row)

def key(row):
    return tuple(row.get(k) for k in ("op", "handler", "placement", "threads", "load",
                                      "page", "call_bytes", "way", "bytes"))
assert len({key(r) for r in rows}) == len(rows), "a row is there twice"
PY
}

# what every machine that memferry supports can measure
complete() { # MEASUREMENT KEY=VALUE...: some row has all of these
	python3 - "$dir/$1.json" "$@" <<'PY'
import json, sys
rows = json.load(open(sys.argv[1]))["rows"]
want = dict(a.split("=") for a in sys.argv[3:])
assert any(all(str(r.get(k)) == v for k, v in want.items()) for r in rows), want
PY
}

drawn() { # MEASUREMENT
	head -c 8 "$dir/$1.png" | od -An -tx1 | grep -q '89 50 4e 47'
}

check "no measurement is a usage error" refused
check "an unknown measurement is a usage error" refused speed
check "--rounds 0 is a usage error" refused fault --rounds 0
check "--sizes 3K is a usage error" refused handover --sizes 3K

for m in fault bulk handover; do
	check "bench $m --quick --json runs" run_json $m
	check "bench $m: JSON as documented" valid $m
	command -v gnuplot >/dev/null && check "bench $m --plot draws a PNG" drawn $m
done
check "bench fault has the floor" complete fault op=first-touch-write handler=kernel
check "bench fault has COPY on the same CPU" complete fault op=copy placement=same
check "bench bulk has memcpy" complete bulk op=memcpy page=4k
check "bench handover has memferry" complete handover way=memferry page=4k
check "bench handover has stop-and-copy" complete handover way=stop-and-copy page=4k
exit $failed
