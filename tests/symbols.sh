#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A public call is in four places or in none: MF_API in memferry.h, the version map, the
# shared library's symbols, and a man page. $1: source directory, $2: build directory.
src=$1
build=$2
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

sed -n 's/^MF_API.*[ *]\(mf_[a-z0-9_]*\)(.*/\1/p' "$src/include/memferry.h" | sort >"$dir/header"
sed -n 's/^[[:space:]]*\(mf_[a-z0-9_]*\);$/\1/p' "$src/lib/libmemferry.map" | sort >"$dir/map"
nm -D --defined-only "$build/lib/libmemferry.so" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
	sort >"$dir/library"
if [ "$(wc -l <"$dir/header")" -lt 40 ] ||
	[ "$(wc -l <"$dir/header")" -ne "$(grep -c '^MF_API' "$src/include/memferry.h")" ]; then
	echo "symbols: cannot read the header: $(wc -l <"$dir/header") calls found"
	failed=1
fi

compare() { # A B
	comm -23 "$dir/$1" "$dir/$2" >"$dir/only"
	if [ -s "$dir/only" ]; then
		echo "symbols: in the $1, not in the $2:" $(cat "$dir/only")
		failed=1
	fi
}

compare header map
compare map header
compare header library
compare library header

for call in $(cat "$dir/header"); do
	if ! grep -qw "$call" "$src"/docs/man/* 2>/dev/null; then
		echo "symbols: no man page has $call"
		failed=1
	fi
done
exit $failed
