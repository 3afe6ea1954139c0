#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# clang-format, clang-tidy and cppcheck over the C sources under version control. Fails if
# any of them has something to say.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
failed=0

report() { # NAME STATUS
	if [ "$2" -eq 0 ]; then
		echo "lint: $1: clean"
	else
		echo "lint: $1: see above"
		failed=1
	fi
}

all=$(git ls-files '*.c' '*.h')

# shellcheck disable=SC2086
clang-format --dry-run -Werror $all
report clang-format $?

# Only what the build compiles: the flags come from there, without those that only gcc knows.
mkdir -p "$build/lint"
compiled=$(python3 - "$build" <<'PY'
import json, os, sys
build = sys.argv[1]
gcc_only = ("-fno-tree-loop-distribute-patterns",)
commands = [c for c in json.load(open(os.path.join(build, "compile_commands.json")))
            if c["file"].endswith(".c")]
for c in commands:
    c["command"] = " ".join(w for w in c["command"].split(" ") if w not in gcc_only)
with open(os.path.join(build, "lint", "compile_commands.json"), "w") as out:
    json.dump(commands, out)
files = (os.path.relpath(os.path.join(c["directory"], c["file"])) for c in commands)
print("\n".join(f for f in dict.fromkeys(files) if not f.startswith((build, ".."))))
PY
)
status=0
for file in $compiled; do
	clang-tidy --quiet -p "$build/lint" --warnings-as-errors='*' \
		--extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-ignored-optimization-argument \
		"$file" 2>"$build/tidy.err" || {
		status=1
		grep -v 'warnings\? generated\|^Suppressed\|^Use -' "$build/tidy.err"
	}
done
report clang-tidy $status

# shellcheck disable=SC2086
cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --library=posix,gnu \
	--library=scripts/cppcheck.cfg \
	--enable=warning,portability,performance --suppressions-list=scripts/cppcheck.txt \
	-D__x86_64__ -D_GNU_SOURCE -I include -I lib -I uapi $(git ls-files '*.c')
report cppcheck $?
exit $failed
