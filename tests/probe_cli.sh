#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# memferry probe as people and programs call it. $1: memferry, $2: probe_launch, which runs
# a program under a seccomp filter; $3: the completion script.
memferry=$1 launch=$2 completion=$3
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

ok() { # name, then the command that must succeed
	local name=$1
	shift
	if "$@" >"$work/out" 2>&1; then
		echo "ok - $name"
	else
		echo "not ok - $name"
		sed 's/^/# /' "$work/out"
		failed=1
	fi
}

skipped() { echo "ok - $1 # SKIP $2"; }

status_is() { # wanted status, then the command
	local want=$1
	shift
	"$@" >"$work/stdout" 2>"$work/stderr"
	local got=$?
	[ $got = "$want" ] || {
		echo "status $got, not $want: $*"
		cat "$work/stdout" "$work/stderr"
		return 1
	}
}

cat >"$work/check.py" <<'PY'
import json, sys
d = json.load(open(sys.argv[1]))
assert d["schema"] == 1, d["schema"]
for key in "machine", "kernel", "user", "items", "routes":
    assert key in d, key
assert d["user"]["uid"] == int(sys.argv[2]), d["user"]
states = {}
for item in d["items"]:
    assert set(item) == {"name", "group", "state", "why", "remedy", "about"}, item
    assert item["state"] in ("supported", "missing", "denied", "unknown"), item
    assert item["name"] not in states, item["name"]
    assert item["why"] and item["about"], item
    states[item["name"]] = item["state"]
assert len(states) > 50, len(states)
routes = {r["name"]: r["state"] for r in d["routes"]}
assert set(routes) == {"move", "copy", "ferry", "xmove", "hand-over"}, routes
for want in sys.argv[3:]:
    name, _, state = want.partition("=")
    got = states.get(name) or routes.get(name)
    assert got == state, f"{name} is {got}, not {state}"
print("\n".join(states))
PY

json() { # uid, expectations (space separated), then the command in front of memferry
	local uid=$1 wants=$2
	shift 2
	"$@" "$memferry" probe --json >"$work/json" || return 1
	# shellcheck disable=SC2086
	python3 "$work/check.py" "$work/json" "$uid" $wants
}

explain_each() {
	local item n=0
	json "$(id -u)" "" >/dev/null || return 1
	for item in $(python3 "$work/check.py" "$work/json" "$(id -u)"); do
		status_is 0 "$memferry" probe --explain "$item" || return 1
		grep -q "^$item is " "$work/stdout" && grep -q "^what " "$work/stdout" &&
			grep -q "^tried " "$work/stdout" && grep -q "^to do " "$work/stdout" &&
			grep -Eq "^(needed by|helps) " "$work/stdout" || {
			cat "$work/stdout"
			return 1
		}
		n=$((n + 1))
	done
	[ $n -gt 50 ]
}

table() {
	status_is 0 "$memferry" probe || return 1
	grep -Eq '^  ioctl\.copy +(supported|missing|denied|unknown) ' "$work/stdout" &&
		grep -q '^What memferry can do here' "$work/stdout" &&
		grep -Eq '^  hand-over +(yes|no|limited) ' "$work/stdout" &&
		! grep -q $'\033' "$work/stdout"
}

coloured() { # on a terminal, and not with NO_COLOR
	TERM=xterm script -qec "'$memferry' probe" "$work/tty" </dev/null >/dev/null
	grep -q $'\033\[32m' "$work/tty" || return 1
	TERM=xterm NO_COLOR=1 script -qec "'$memferry' probe" "$work/tty" </dev/null >/dev/null
	! grep -q $'\033\[' "$work/tty"
}

no_room() { # the output must not get lost without a word
	status_is 1 sh -c "'$memferry' probe >/dev/full"
}

few_fds() {
	status_is 1 prlimit --nofile=5:5 "$memferry" probe || return 1
	grep -q 'ulimit' "$work/stderr" || return 1
	status_is 0 prlimit --nofile=6:4096 "$memferry" probe
}

closed_fds() { status_is 0 sh -c "'$memferry' probe --explain ioctl.copy 0<&- 2>&-"; }

complete() {
	local reply
	reply=$(bash -c '. "$1"
		COMP_WORDS=($2) COMP_CWORD=$3 COMP_LINE=$2
		_memferry
		printf "%s\n" "${COMPREPLY[@]}"' - "$completion" "$1" "$2")
	echo "$reply"
	grep -qx -- "$3" <<<"$reply"
}

# a kernel without any userfaultfd is no failure, but little is left to look at
"$memferry" probe --json >"$work/json" || exit 1
has() { python3 -c 'import json, sys
sys.exit(not any(i["name"] == sys.argv[2] and i["state"] == "supported"
                 for i in json.load(open(sys.argv[1]))["items"]))' "$work/json" "$1"; }

ok "json" json "$(id -u)" ""
ok "table" table
ok "explain of each item" explain_each
ok "usage: unknown item" status_is 2 "$memferry" probe --explain nonsense
ok "usage: unknown option" status_is 2 "$memferry" probe --nonsense
ok "usage: operand" status_is 2 "$memferry" probe nonsense
ok "usage: json and explain" status_is 2 "$memferry" probe --json --explain ioctl.copy
ok "help" status_is 0 "$memferry" probe --help
ok "no such command" status_is 2 "$memferry" nonsense
ok "version" status_is 0 "$memferry" --version
ok "output that cannot be written" no_room
ok "few descriptors" few_fds
ok "no standard input or error" closed_fds
if script -qec true /dev/null </dev/null >/dev/null 2>&1; then
	ok "colours" coloured
else
	skipped "colours" "no script(1), or no pseudo-terminals"
fi

nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
if [ "$(id -u)" = 0 ] && "${nobody[@]}" test -x "$memferry"; then
	wants="feature.event_fork=denied"
	if [ "$(cat /proc/sys/vm/unprivileged_userfaultfd)" = 0 ]; then
		wants="$wants access.syscall=denied"
	fi
	has access.user_mode_only && wants="$wants access.user_mode_only=supported ioctl.copy=supported"
	ok "as nobody" json 65534 "$wants" "${nobody[@]}"
	ok "as nobody, under seccomp: EPERM" json 65534 \
		"access.syscall=denied access.user_mode_only=denied sem.memfd_seal=supported" \
		"${nobody[@]}" "$launch" EPERM
else
	skipped "as nobody" "not root, or the build directory is not open to others"
fi

if "$launch" EPERM true; then
	refused="access.syscall=denied access.user_mode_only=denied sem.memfd_seal=supported"
	for how in EPERM ENOSYS KILL; do
		ok "under seccomp: $how" json "$(id -u)" "$refused" "$launch" $how
	done
else
	skipped "under seccomp" "filters cannot be installed here"
fi

ok "completes commands" complete "memferry pr" 1 probe
ok "completes options" complete "memferry probe --j" 2 --json
complete_options() { # every option that a command's help names
	local command option
	for command in probe demo bench; do
		"$memferry" $command --help >"$work/help" || return 1
		for option in $(grep -o -- ' --[a-z]*' "$work/help" | sort -u); do
			complete "memferry $command x --" 3 "$option" || {
				echo "$command $option is not completed"
				return 1
			}
		done
	done
}
ok "completes every option" complete_options
ok "completes items" env "PATH=$(dirname "$memferry"):$PATH" bash -c "$(declare -f complete)
	completion='$completion'; complete 'memferry probe --explain ioctl.c' 3 ioctl.copy"
exit $failed
