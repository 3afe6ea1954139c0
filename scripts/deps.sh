#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# deps.sh [--check] GROUP...
#
# Sees to it that the Debian packages behind the groups (build, demo, check, lint, fuzz) are
# installed. Root on a Debian-like system gets what is missing by apt-get; anybody else is
# told the packages and the command, and it stops. --check never installs. None of these
# packages starts a service.
set -eu

packages_of() {
	case $1 in
	build) echo make gcc libc6-dev meson ninja-build pkg-config libjson-c-dev libcmocka-dev ;;
	demo) echo redis-tools gnuplot-nox procps ;;
	check) echo python3 g++ binutils mandoc redis-tools procps ;;
	lint) echo clang-format clang-tidy cppcheck ;;
	fuzz) echo clang ;;
	*)
		echo "deps.sh: no such group: $1 (build, demo, check, lint, fuzz)" >&2
		exit 2
		;;
	esac
}

find_missing() {
	# shellcheck disable=SC2086
	dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' $wanted 2>/dev/null |
		awk '$1 == "ii" { print $2 }' >"$scratch/installed" || true
	for package in $wanted; do
		grep -qx "$package" "$scratch/installed" || echo "$package"
	done | sort -u | tr '\n' ' '
}

# Elsewhere the names differ: look for the programs, leave the rest to Meson.
elsewhere() {
	for program in cc meson ninja pkg-config; do
		if ! command -v $program >/dev/null; then
			echo "deps.sh: $program is missing, and this is no Debian-like system;" \
				"on Debian these packages would be needed: $wanted" >&2
			exit 1
		fi
	done
	exit 0
}

# apt's own output is long: show what says how far it is, and what went wrong.
apt() {
	rc=0
	{
		DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=600 \
			-o Dpkg::Use-Pty=0 "$@" </dev/null 2>&1 || echo $? >"$scratch/failed"
	} | awk '/^Fetched|^[EW]:|^Err|^dpkg: error/ { print; fflush() }
		/^Setting up/ && ++n % 25 == 0 { print "deps.sh: " n " packages are set up"; fflush() }'
	if [ -s "$scratch/failed" ]; then
		rc=$(cat "$scratch/failed")
		rm "$scratch/failed"
	fi
	return "$rc"
}

known() {
	# shellcheck disable=SC2086
	[ "$(apt-cache show --no-all-versions $missing 2>/dev/null | grep -c '^Package:')" -eq \
		"$(echo $missing | wc -w)" ]
}

install_missing() {
	updated=no
	if ! known; then
		echo "deps.sh: fetching the package lists"
		apt update
		updated=yes
	fi
	echo "deps.sh: installing $missing"
	# shellcheck disable=SC2086
	if ! apt install --no-install-recommends $missing; then
		[ $updated = no ] || return 1
		echo "deps.sh: that failed; once more with fresh package lists"
		apt update
		apt install --no-install-recommends $missing
	fi
}

install=yes
if [ "${1-}" = --check ]; then
	install=no
	shift
fi
wanted=
for group in "$@"; do
	wanted="$wanted $(packages_of "$group")"
done
command -v dpkg-query >/dev/null || elsewhere

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
missing=$(find_missing)
[ -n "$missing" ] || exit 0

if [ $install = no ] || [ "$(id -u)" -ne 0 ]; then
	echo "deps.sh: missing packages: $missing" >&2
	echo "deps.sh: as root: apt-get install --no-install-recommends $missing" >&2
	exit 1
fi

exec 9>"${TMPDIR:-/tmp}/memferry-deps.$(id -u).lock"
flock 9
missing=$(find_missing) # another run may have installed them meanwhile
[ -z "$missing" ] || install_missing
missing=$(find_missing)
if [ -n "$missing" ]; then
	echo "deps.sh: still missing: $missing" >&2
	exit 1
fi
