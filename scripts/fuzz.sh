#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Build the fuzzers with clang and libFuzzer and run each for FUZZ_SECONDS. What they find is
# left in build-fuzz/crashes/; the corpus grows in build-fuzz/corpus/.
set -eu
cd "$(dirname "$0")/.."
dir=build-fuzz
if [ ! -f $dir/build.ninja ]; then
	CC=clang meson setup $dir -Dlibfuzzer=true -Dbuildtype=debugoptimized
fi
ninja -C $dir --quiet
mkdir -p $dir/crashes
ran=0
for fuzzer in "$dir"/fuzz/*; do
	[ -f "$fuzzer" ] && [ -x "$fuzzer" ] || continue
	name=$(basename "$fuzzer")
	seeds=
	[ ! -d "fuzz/corpus/$name" ] || seeds=fuzz/corpus/$name
	mkdir -p "$dir/corpus/$name"
	echo "fuzz: $name for ${FUZZ_SECONDS:-30} s"
	# shellcheck disable=SC2086
	"$fuzzer" -max_total_time="${FUZZ_SECONDS:-30}" -timeout=10 -print_final_stats=1 \
		-artifact_prefix="$dir/crashes/" "$dir/corpus/$name" $seeds
	ran=$((ran + 1))
done
[ $ran -gt 0 ] || {
	echo "fuzz: no fuzzers were built" >&2
	exit 1
}
