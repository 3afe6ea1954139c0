#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What tests/contain promises: $1 is the program.
contain=$1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

check() { # NAME EXPECTED-STATUS ACTUAL-STATUS
	if [ "$2" -eq "$3" ]; then
		echo "ok - $1"
	else
		echo "not ok - $1: status $3, expected $2"
		cat "$dir/err"
		failed=1
	fi
}

holds() { # NAME COMMAND...
	name=$1
	shift
	if "$@" >"$dir/out" 2>&1; then
		echo "ok - $name"
	else
		echo "not ok - $name: $*"
		cat "$dir/out" "$dir/err"
		failed=1
	fi
}

gone() { # PID-FILE
	[ -s "$1" ] && ! kill -0 "$(cat "$1")" 2>/dev/null
}

for status in 0 1 77; do
	"$contain" -- sh -c "exit $status" 2>"$dir/err"
	check "status $status passes through" $status $?
done
"$contain" -- sh -c 'kill -SEGV $$' 2>"$dir/err"
check 'death by a signal is 128 + N' 139 $?
"$contain" -- /nonexistent/program 2>"$dir/err"
check 'a program that is not there' 127 $?
"$contain" -- echo hello >"$dir/hello" 2>"$dir/err"
holds 'output passes through' grep -qx hello "$dir/hello"

mkdir "$dir/reports"
MF_TIME_SCALE=1 "$contain" -t 1 -o "$dir/reports" -- \
	sh -c "echo \$\$ >$dir/hung; sleep 600; true" 2>"$dir/err"
check 'a hanging program is ended' 124 $?
holds 'the hung shell is dead' gone "$dir/hung"
holds 'the report names the waiting thread' grep -q '(sleep) state S' "$dir/err"
holds 'the report tells the system call' grep -q 'syscall [0-9]' "$dir/err"
if [ "$(id -u)" -eq 0 ] && [ -s /proc/self/stack ]; then
	holds 'the report shows the kernel stack' grep -q 'nanosleep' "$dir/err"
fi
holds 'the report is in the directory, too' grep -rq '(sleep) state S' "$dir/reports"

"$contain" -g 100 -- sh -c "setsid sh -c 'echo \$\$ >$dir/escaped; sleep 600; true' &
	while [ ! -s $dir/escaped ]; do sleep 0.02; done" 2>"$dir/err"
check 'an escaped grandchild is a leak' 125 $?
holds 'the grandchild is dead' gone "$dir/escaped"
holds 'the leak is named' grep -q 'left processes behind' "$dir/err"

"$contain" -l -- sh -c "setsid sh -c 'echo \$\$ >$dir/allowed; sleep 600; true' &
	while [ ! -s $dir/allowed ]; do sleep 0.02; done; exit 3" 2>"$dir/err"
check 'with -l leftovers are not held against it' 3 $?
holds 'but they are dead' gone "$dir/allowed"

"$contain" -t 60 -- sh -c "echo \$\$ >$dir/asked; sleep 600; true" 2>"$dir/err" &
outer=$!
while [ ! -s "$dir/asked" ]; do sleep 0.02; done
kill -TERM $outer
wait $outer
check 'SIGTERM ends the tree' 124 $?
holds 'the asked one is dead' gone "$dir/asked"

exit $failed
