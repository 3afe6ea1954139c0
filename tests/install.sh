#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What a user of the installed library has: header, both libraries, pkg-config file, command,
# man pages. Installs into an empty place, builds the examples and README.md's programs from
# there alone, and runs them. $1: source directory, $2: build directory.
src=$1
build=$2
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

step() { # WHAT COMMAND...
	what=$1
	shift
	if "$@" >"$dir/out" 2>&1; then
		echo "ok - $what"
	else
		echo "not ok - $what: $*"
		tail -n 40 "$dir/out"
		failed=1
		return 1
	fi
}

present() { # SHELL-PATTERN
	[ -n "$(find "$dir/root" -path "$1" -print -quit)" ]
}

DESTDIR=$dir/root step 'meson install' meson install -C "$build" --no-rebuild || exit 1
pc=$(find "$dir/root" -name memferry.pc)
step 'pkg-config file' test -f "$pc" || exit 1

export PKG_CONFIG_PATH="${pc%/*}" PKG_CONFIG_SYSROOT_DIR="$dir/root"
export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
cflags="-Wall -Wextra -Wno-unused-parameter -Werror $(pkg-config --cflags memferry)"
shared=$(pkg-config --libs memferry)
static=$(pkg-config --libs --static memferry)
libdir=${pc%/pkgconfig/*}
step 'one header is installed' \
	test "$(find "$dir/root" -name '*.h' | xargs -n 1 basename)" = memferry.h
step 'pkg-config points into the install place' \
	sh -c "case '$cflags' in *$dir/root*) ;; *) exit 1 ;; esac"
step 'the command runs' env LD_LIBRARY_PATH="$libdir" \
	"$(find "$dir/root" -path '*/bin/memferry')" --version
step 'no build path stays in the library' sh -c \
	"! readelf -d '$libdir/libmemferry.so' | grep -E 'RPATH|RUNPATH'"
step 'man page of the command' present '*/man1/memferry.1*'
step 'man pages of the calls' present '*/man3/memferry_*.3*'
step 'bash completion' present '*/bash-completion/completions/memferry'

header='#include <memferry.h>'
for std in c99 c11 gnu17; do
	echo "$header" >"$dir/header.c"
	# shellcheck disable=SC2086
	step "the header is $std" gcc -std=$std -pedantic -fsyntax-only $cflags "$dir/header.c"
done
cat >"$dir/header.cc" <<'CC'
#include <memferry.h>
int main()
{
	mf_source_opts opts{};
	opts.size = sizeof opts;
	return mf_version() == nullptr;
}
CC
for std in c++11 c++17; do
	# shellcheck disable=SC2086
	step "the header is $std" \
		g++ -std=$std -pedantic $cflags "$dir/header.cc" -o "$dir/cc" $shared
done

# each example: one directory, or one file
for example in "$src"/examples/*; do
	name=$(basename "$example" .c)
	if [ -d "$example" ]; then
		sources=$(find "$example" -maxdepth 1 -name '*.c' ! -name '*_test.c')
	else
		case $example in *.c) sources=$example ;; *) continue ;; esac
	fi
	[ -n "$sources" ] || continue
	# shellcheck disable=SC2086
	step "example $name, shared" \
		gcc -D_GNU_SOURCE -O2 $cflags $sources -o "$dir/$name" $shared -lm
	# shellcheck disable=SC2086
	step "example $name, static" \
		gcc -D_GNU_SOURCE -O2 $cflags $sources -o "$dir/$name-static" -static $static -lm
	ldd "$dir/$name-static" 2>&1 | grep -q memferry && step 'really static' false
done

# README.md's programs: blocks of C whose first line is a comment with the file's name
awk -v dir="$dir" '/^```c$/ { getline; name = $2; inside = name ~ /\.c$/ }
	/^```$/ { inside = 0 }
	inside { print > (dir "/readme-" name) }' "$src/README.md"
for kind in shared static; do
	for name in source successor; do
		eval libs=\$$kind
		[ $kind = shared ] || libs="-static $libs"
		# shellcheck disable=SC2086
		step "README.md's $name, $kind" gcc -D_GNU_SOURCE -O2 $cflags \
			"$dir/readme-$name.c" -o "$dir/$name" $libs || exit 1
	done
	rm -f "$dir/socket"
	LD_LIBRARY_PATH=$libdir "$dir/source" "unix:$dir/socket" >"$dir/log" 2>&1 &
	source=$!
	tries=0
	while [ ! -S "$dir/socket" ] && [ $tries -lt 500 ]; do
		sleep 0.02
		tries=$((tries + 1))
	done
	step "README.md's successor takes over, $kind" \
		env LD_LIBRARY_PATH="$libdir" "$dir/successor" "unix:$dir/socket"
	[ $failed -eq 0 ] || kill $source 2>/dev/null
	wait $source
	status=$?
	step "README.md's source ends well, $kind" test $status -eq 0 || cat "$dir/log"
done
exit $failed
