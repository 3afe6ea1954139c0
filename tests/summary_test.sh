#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# scripts/summary.py counts right: the figure that everybody looks at. $1: source directory.
summary=$1/scripts/summary.py
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/b/meson-logs"
failed=0

log() { # RESULT STATUS STDOUT
	printf '{"name": "n", "result": "%s", "returncode": %s, "stdout": "%s", "stderr": ""}\n' \
		"$1" "$2" "$3" >>"$dir/b/meson-logs/testlog.json"
}

expect() { # NAME LINE STATUS ARGUMENTS...
	name=$1
	line=$2
	status=$3
	shift 3
	"$summary" "$@" "$dir/b" >"$dir/out" 2>&1
	got=$?
	if [ "$(tail -n 1 "$dir/out")" = "$line" ] && [ $got -eq "$status" ]; then
		echo "ok - $name"
	else
		echo "not ok - $name: status $got, expected $status and '$line'"
		cat "$dir/out"
		failed=1
	fi
	: >"$dir/b/meson-logs/testlog.json"
}

expect 'nothing run is not a success' '0 passed, 0 failed, 0 skipped' 1
log OK 0 'some output'
expect 'a plain program is one test' '1 passed, 0 failed, 0 skipped' 0
log OK 0 '1..2\nok 1 - a\nok 2 - b\n# ok - group'
expect 'sub-tests are counted, their group is not' '2 passed, 0 failed, 0 skipped' 0
log FAIL 1 '1..3\nok 1 - a\nnot ok 2 - b\n# reason\nnot ok 3 # SKIP c\n# not ok - group'
expect 'cmocka: passed, failed, skipped' '1 passed, 1 failed, 1 skipped' 1
log FAIL 124 'ok 1 - a\n'
expect 'a program that fails without saying which' '1 passed, 1 failed, 0 skipped' 1
log TIMEOUT -9 ''
expect 'a time-out is a failure' '0 passed, 1 failed, 0 skipped' 1
log OK 0 'ok - a\nnot ok - b\n'
expect 'a failure that exits with 0 is a failure' '1 passed, 1 failed, 0 skipped' 1
log OK 0 'ok - a\n'
log SKIP 77 'needs huge pages'
expect 'a skip is a skip' '1 passed, 0 failed, 1 skipped' 0
log OK 0 'ok - a\n'
log SKIP 77 'needs huge pages'
expect 'a skip is a failure where it is strict' '1 passed, 1 failed, 0 skipped' 1 --strict

exit $failed
