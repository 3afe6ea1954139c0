#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Can this machine run every test? Asks `memferry probe`: can.py BUILD/memferry

Exit status 0: yes; 1: no, and the reason is printed. What no released kernel has yet
(UFFDIO_MOVE across spaces) is not asked for.
"""
import json
import os
import subprocess
import sys

NEEDED = ("access.syscall", "ioctl.copy", "ioctl.writeprotect", "ioctl.poison", "ioctl.move",
          "sem.move_same_space", "sem.move_thp")
NEEDED_BYTES = 6 << 30
HUGE_POOL = "/proc/sys/vm/nr_hugepages"


def memory_available():
    with open("/proc/meminfo", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 0


def has_swap():
    with open("/proc/swaps", encoding="ascii") as lines:
        return len(lines.readlines()) > 1


def main():
    try:
        run = subprocess.run([sys.argv[1], "probe", "--json"], timeout=60, check=False,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        items = {i["name"]: i for i in json.loads(run.stdout)["items"]}
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        print(f"can: memferry probe did not answer: {error}")
        return 1
    for name in NEEDED:
        state = items.get(name, {}).get("state", "not probed")
        if state != "supported":
            print(f"can: {name} is {state}: tests that need it will be skipped")
            return 1
    if memory_available() < NEEDED_BYTES:
        print("can: little memory: the large tests will be skipped")
        return 1
    if not os.access(HUGE_POOL, os.W_OK):
        print(f"can: {HUGE_POOL} cannot be written: tests of huge pages will be skipped")
        return 1
    if not has_swap():
        print("can: no swap: tests of swapped pages will be skipped")
        return 1
    print("can: this machine can run every test")
    return 0


if __name__ == "__main__":
    sys.exit(main())
