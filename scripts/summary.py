#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Read Meson's test logs, show what failed and what was skipped, and count.

Programs that print "ok ..." and "not ok ..." lines (cmocka does, told so by the
environment) are counted by these lines, others as one test. The exit status of the
program has the last word: one that failed without a "not ok" line counts as one failure
more. The last line of output is "N passed, N failed, N skipped"; the exit status is 0
only if something passed and nothing failed.
"""
import argparse
import json
import os
import re
import sys

OK = re.compile(r"ok\b")
SKIP = re.compile(r"(not )?ok\b.*#\s*skip\b\s*(.*)", re.IGNORECASE)
SHOWN_LINES = 150


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


def read_log(build):
    path = os.path.join(build, "meson-logs", "testlog.json")
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            return [json.loads(line) for line in log if line.strip()]
    except FileNotFoundError:
        return []


def sub_tests(text):
    """The count by lines, and the reasons of skips."""
    count, reasons = Count(), []
    for line in text.splitlines():
        skip = SKIP.match(line)
        if skip:
            count.skipped += 1
            reasons.append(skip.group(2))
        elif line.startswith("not ok"):
            count.failed += 1
        elif OK.match(line):
            count.passed += 1
    return count, reasons


def judge(test):
    """One program: its count, and why it skipped."""
    count, reasons = sub_tests(test.get("stdout", ""))
    result = test["result"]
    if result == "SKIP":
        if not count.skipped:
            count.skipped = 1
            lines = (test.get("stdout", "") + test.get("stderr", "")).strip().splitlines()
            reasons.append(lines[-1] if lines else "no reason given")
    elif result in ("OK", "EXPECTEDFAIL"):
        if count.failed:
            reasons.append("it printed 'not ok' and exited with 0")
        elif not count.passed and not count.skipped:
            count.passed = 1
    elif not count.failed:
        count.failed = 1
    return count, reasons


def show_failure(build, test):
    print(f"\n==== failed: {test['name']} in {build}/: {test['result']}, "
          f"status {test.get('returncode')}, {test.get('duration', 0):.1f} s")
    for stream in ("stdout", "stderr"):
        lines = test.get(stream, "").splitlines()
        if len(lines) > SHOWN_LINES:
            print(f"({stream}: the last {SHOWN_LINES} of {len(lines)} lines; all of it is in "
                  f"{build}/meson-logs/testlog.txt)")
        for line in lines[-SHOWN_LINES:]:
            print(f"    {line}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strict", action="store_true", help="a skipped test is a failure")
    parser.add_argument("--count-file", help="write the last line here, too")
    parser.add_argument("build", nargs="+", help="build directories")
    args = parser.parse_args()

    total, skips = Count(), []
    for build in args.build:
        for test in read_log(build):
            count, reasons = judge(test)
            total.add(count)
            if count.failed:
                show_failure(build, test)
            if count.skipped:
                skips.append((test["name"], build, count.skipped, reasons))
    if skips:
        print("\nskipped:" if not args.strict else "\nskipped (which counts as failed):")
    for name, build, n, reasons in skips:
        text = "; ".join(dict.fromkeys(r for r in reasons if r))
        print(f"  {name} in {build}/ ({n}): {text}")
    if args.strict:
        total.failed += total.skipped
        total.skipped = 0

    line = f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped"
    if args.count_file:
        with open(args.count_file, "w", encoding="utf-8") as out:
            print(line, file=out)
    print(flush=True)
    print(line, flush=True)
    return 0 if total.passed and not total.failed else 1


if __name__ == "__main__":
    sys.exit(main())
