#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Markdown tables out of the JSON of memferry bench, for docs/performance.md.

usage: tables.py fault.json bulk.json handover.json >tables.md
"""
import json
import sys


def size(n):
    for unit, shift in ("G", 30), ("M", 20), ("K", 10):
        if n >= 1 << shift and n % (1 << shift) == 0:
            return f"{n >> shift}{unit}"
    return str(n)


def number(v, digits=1):
    return "–" if v is None else f"{v:.{digits}f}"


def table(head, lines):
    print("| " + " | ".join(head) + " |")
    print("|" + "|".join("---" if i == 0 else "---:" for i in range(len(head))) + "|")
    for line in lines:
        print("| " + " | ".join(line) + " |")
    print()


def where(doc):
    print(f"{doc['machine']}, {doc['cpus']} CPUs, Linux {doc['kernel']}, "
          f"THP {doc['thp']}, memferry {doc['version']}"
          + (f" at {doc['commit']}" if "commit" in doc else "") + ".\n")


def fault(doc):
    def who(r):
        place = {"same": "same CPU", "spin": "other CPU, spinning",
                 "sleep": "other CPU, asleep"}[r["placement"]]
        by = {"process": "ferry task" if r["op"] == "move" else "process",
              "in-thread": "SIGBUS handler"}.get(r["handler"], r["handler"])
        if r["handler"] in ("in-thread", "kernel"):
            return f"{r['op']} | {by} | –"
        return f"{r['op']} | {by} | {place}"

    rows = [r for r in doc["rows"] if r["threads"] == 1]
    idle = {who(r): r for r in rows if r["load"] == "idle"}
    busy = {who(r): r for r in rows if r["load"] == "writer"}
    print("One faulting thread, in µs:\n")
    table(("op", "handler", "where", "p50", "p99", "p99.9", "max",
           "p50 with a writer", "p99 with a writer"),
          [(name, *(number(r[k], 1 if k == "max_us" else 2)
                    for k in ("p50_us", "p99_us", "p999_us", "max_us")),
            number(busy.get(name, {}).get("p50_us"), 2),
            number(busy.get(name, {}).get("p99_us"), 2)) for name, r in idle.items()])
    counts = sorted({r["threads"] for r in doc["rows"]})
    print("Several faulting threads, idle, p50 / p99 in µs:\n")
    lines = []
    for name in idle:
        if name.split(" | ")[0] not in ("move", "copy"):
            continue
        line = [name]
        for n in counts:
            r = [r for r in doc["rows"]
                 if who(r) == name and r["threads"] == n and r["load"] == "idle"]
            line.append(f"{r[0]['p50_us']:.1f} / {r[0]['p99_us']:.1f}" if r else "–")
        lines.append(line)
    table(("op", "handler", "where", *(f"{n}" for n in counts)), lines)


def bulk(doc):
    ops = ("move", "copy", "memcpy", "process_vm_readv")
    calls = sorted({r["call_bytes"] for r in doc["rows"]})
    value = {(r["op"], r["page"], r["call_bytes"]): r["gb_per_s"] for r in doc["rows"]}
    print("GB/s, medians:\n")
    table(("call", *(f"{op} {page}" for page in ("4k", "thp") for op in ops)),
          [(size(c), *(number(value.get((op, page, c)), 2)
                       for page in ("4k", "thp") for op in ops)) for c in calls])


def handover(doc):
    for n in sorted({r["bytes"] for r in doc["rows"]}):
        print(f"{size(n)}:\n")
        lines = []
        for r in doc["rows"]:
            if r["bytes"] != n:
                continue
            f = r.get("fault_us", {})
            lines.append((r["way"], r["page"], number(r.get("blackout_ms"), 2),
                          number(r["total_s"], 3), number(r.get("drain_gb_per_s"), 2),
                          number(f.get("p50")), number(f.get("p99")), number(f.get("p999")),
                          number(r["extra_ram_mib"])))
        table(("way", "page", "blackout ms", "total s", "drain GB/s", "fault p50 µs",
               "p99 µs", "p99.9 µs", "extra MiB"), lines)


for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as f:
        document = json.load(f)
    print(f"### {document['bench']}\n")
    where(document)
    {"fault": fault, "bulk": bulk, "handover": handover}[document["bench"]](document)
    if document["ratios"]:
        table(("ratio", "value"),
              [(f"`{k}`", number(v, 2)) for k, v in document["ratios"].items()])
    for skip in document["skipped"]:
        print(f"- not measured: {skip['row']}: {skip['why']}")
    if document["skipped"]:
        print()
