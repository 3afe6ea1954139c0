#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Which room includes which. The table is docs/hacking.md's; a wrong include fails here with
# its file and line. $1: the source directory.
cd "$1" || exit 1
exec python3 - <<'PY'
import glob, os, re, sys

ROOMS = {
    "base": [],
    "uffd": ["base"],
    "ferry": ["base", "uffd"],
    "mover": ["base", "uffd", "ferry"],
    "wire": ["base"],
    "handover": ["base", "uffd", "ferry", "mover", "wire"],
}
SEES_UAPI = {"uffd", "ferry", "mover", "handover"}
# what stands on the public header alone; cli and bench are two halves of one program
OUTSIDE = {"cli": ["cli", "bench"], "bench": ["bench", "cli"], "examples": ["examples"]}
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')

wrong = seen = 0


def complain(path, number, text):
    global wrong
    wrong += 1
    print(f"{path}:{number}: {text}")


def includes(path):
    global seen
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        match = INCLUDE.match(line)
        if match:
            seen += 1
            yield number, match.group(1) == '"', match.group(2)


def check_room(room, path):
    for number, quoted, name in includes(path):
        first, _, rest = name.partition("/")
        if rest and first in ROOMS:
            if first != room and first not in ROOMS[room]:
                complain(path, number, f"{room} may not include {name}")
        elif name == "memferry_uffd.h":
            if room not in SEES_UAPI:
                complain(path, number, f"{room} may not include the kernel interface")
        elif quoted and name != "memferry.h":
            if not os.path.exists(os.path.join(os.path.dirname(path), name)):
                complain(path, number, f"{name} is not in this room: say room/header.h")


def check_outside(place, path):
    for number, quoted, name in includes(path):
        if name == "memferry.h":
            continue
        if name.split("/")[0] in ROOMS or name == "memferry_uffd.h":
            complain(path, number, f"{place} stands on <memferry.h> alone, not on {name}")
        elif quoted:
            full = os.path.normpath(os.path.join(os.path.dirname(path), name))
            if full.split("/")[0] not in OUTSIDE[place]:
                complain(path, number, f"{place} stands on <memferry.h> alone, not on {full}")
            elif not os.path.exists(full) and not os.path.exists(full + ".in"):
                complain(path, number, f"there is no {full}")


def check_build_file(path):
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        code = line.split("#")[0]
        for word in ("lib_inc", "uapi_inc", "rooms_dep"):
            if word in code:
                complain(path, number, f"{word} opens the library's rooms to this directory")


for room in os.listdir("lib"):
    if os.path.isdir(os.path.join("lib", room)) and room not in ROOMS:
        complain(f"lib/{room}", 0, "a room that is not in the table")
for room in ROOMS:
    for path in sorted(glob.glob(f"lib/{room}/*.[ch]")):
        check_room(room, path)
for place in OUTSIDE:
    for path in sorted(glob.glob(f"{place}/**/*.[ch]", recursive=True)):
        check_outside(place, path)
    for path in sorted(glob.glob(f"{place}/**/meson.build", recursive=True)):
        check_build_file(path)
if seen < 100:
    complain("lib", 0, f"only {seen} includes found: is this the source directory?")
sys.exit(1 if wrong else 0)
PY
