#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# bench.sh [KIND...]: run the measurements (default: all), as tables here and as JSON in
# $BUILD/bench/. Leave the machine alone meanwhile.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
[ $# -gt 0 ] || set -- fault bulk handover
mkdir -p "$build/bench"
for kind in "$@"; do
	echo "== memferry bench $kind"
	"$build/memferry" bench "$kind" --json >"$build/bench/$kind.json"
	echo "   $build/bench/$kind.json"
done
