#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What runs on the fault path and in ferry tasks refers to nothing but itself: no libc (its
# functions, its data, its allocator), nothing that a compiler or sanitizer adds, no
# thread-local storage. $1: the build directory.
#
# From outside the fault-path libraries only these may be named; they are plain memory or
# code without libc, too.
allowed='^(_GLOBAL_OFFSET_TABLE_|mf_inject_plan)$'

cd "$1" || exit 1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

complain() {
	echo "faultpath: $1"
	shift
	cat "$@"
	failed=1
}

libs=$(ls lib/*/libmf-*-fp.a)
if [ -z "$libs" ]; then
	echo "faultpath: there are no lib/*/libmf-*-fp.a in $1"
	exit 1
fi

# shellcheck disable=SC2086
nm $libs | awk 'NF == 3 && $2 != "U" { print $3 }' | sort -u >"$dir/defined"
# shellcheck disable=SC2086
nm -A --undefined-only $libs >"$dir/named" 2>&1
[ -s "$dir/defined" ] || complain 'no symbols at all' /dev/null
awk 'NR == FNR { mine[$1]; next }
	NF >= 2 && $(NF - 1) == "U" && !($NF in mine) && $NF !~ allowed { print "    " $0; found = 1 }
	END { exit found }' allowed="$allowed" "$dir/defined" "$dir/named" >"$dir/strange" ||
	complain 'named from outside:' "$dir/strange"

# shellcheck disable=SC2086
objdump -d -r $libs >"$dir/code"
grep -q '^Disassembly of section' "$dir/code" || complain 'no code at all' /dev/null
grep -n -E '%fs:|%gs:|tpidr_el0|R_[A-Z0-9_]*(TPOFF|TLSGD|TLSLD|DTPOFF|TLSDESC|TLSIE|TLSLE)' \
	"$dir/code" >"$dir/tls" && complain 'thread-local storage:' "$dir/tls"

# Lazy binding would run the dynamic linker in the middle of a fault.
readelf -d lib/libmemferry.so 2>&1 | grep -q -E 'BIND_NOW|FLAGS_1.*NOW' ||
	complain 'libmemferry.so is bound lazily' /dev/null

exit $failed
