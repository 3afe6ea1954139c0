#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Build twice (as shipped; with sanitizers and fault injection), run the tests in both, and
# count. The last line is the count. BUILD, T (one test's name) and STRICT come from make.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
count=$build/check-count.txt

stop() {
	echo "check: $1" >&2
	mkdir -p "$build"
	echo '0 passed, 1 failed, 0 skipped' | tee "$count"
	exit 1
}

# prepare DIR SETUP-ARGUMENTS...: an existing directory keeps its options
prepare() {
	dir=$1
	echo "check: building $dir"
	if [ ! -f "$dir/build.ninja" ]; then
		meson setup "$@" >"$dir.log" 2>&1 || {
			cat "$dir.log"
			return 1
		}
		rm -f "$dir.log"
	fi
	ninja -C "$dir" --quiet
}

# run DIR ARGUMENTS...: failures are in the log that summary.py reads
run() {
	dir=$1
	shift
	rm -f "$dir/meson-logs/testlog.json"
	# shellcheck disable=SC2086
	meson test -C "$dir" --no-rebuild "$@" ${T-} </dev/null
}

prepare "$build" || stop "the build failed"
prepare build-asan -Dbuildtype=debugoptimized -Db_sanitize=address,undefined \
	-Db_lundef=false -Dinject=true || stop "the sanitizer build failed"

run "$build"
if [ -n "${T-}" ]; then
	run build-asan --no-suite asan-skip
else
	run build-asan --no-suite asan-skip --no-suite structure --no-suite slow
fi

strict=
[ -z "${STRICT-}" ] || [ "${STRICT-}" = 0 ] || strict=--strict
scripts/summary.py $strict --count-file "$count" "$build" build-asan
