/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "routes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct route routes[] = {
	{
		"move",
		"pages change place within one address space, uncopied",
		{ "ioctl.register", "ioctl.move", "sem.move_same_space" },
		{ "sem.move_task", "sem.move_thp", "sem.move_busy_after_fork" },
	},
	{
		"copy",
		"pages are copied into another process's missing memory",
		{ "ioctl.register", "ioctl.copy", "sem.copy_cross", "sem.copy_wakes",
		  "sem.copy_exist" },
		{ "ioctl.zeropage", "sem.thread_id" },
	},
	{
		"ferry",
		"pages are given by copy, and taken from a process that runs a ferry task",
		{ "ioctl.register", "ioctl.copy", "sem.copy_cross", "sem.copy_wakes",
		  "sem.copy_exist", "feature.pagefault_flag_wp", "ioctl.writeprotect",
		  "sem.wp_anon", "sem.process_vm_readv" },
		{ "ioctl.zeropage", "sem.dontneed_locked" },
	},
	{
		"xmove",
		"pages change place between two processes, uncopied",
		{ "ioctl.register", "ioctl.move", "feature.move_cross_mm",
		  "sem.move_cross_give" },
		{ "feature.move_take", "sem.move_cross_take", "sem.move_thp" },
	},
	{
		"hand-over",
		"a successor takes over a running process's memory",
		{ "ioctl.register", "ioctl.copy", "ioctl.zeropage", "ioctl.wake",
		  "sem.copy_cross", "sem.copy_wakes", "sem.copy_exist", "sem.event_remove",
		  "sem.event_remap", "sem.pidfd", "sem.memfd_seal", "sem.fixed_noreplace" },
		{ "sem.poison_sigbus", "sem.thread_id", "sem.dontneed_locked",
		  "sem.hugetlb_missing" },
	},
};

const size_t n_routes = sizeof(routes) / sizeof(routes[0]);

static enum mf_probe_state state_of(const struct mf_probe *probe, const char *name)
{
	struct mf_probe_item item = { .size = sizeof(item) };

	return mf_probe_item_named(probe, name, &item) ? MF_UNKNOWN : item.state;
}

static bool has(const struct mf_probe *probe, const char *name)
{
	return state_of(probe, name) == MF_SUPPORTED;
}

static void append(char *buf, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void append(char *buf, size_t size, const char *fmt, ...)
{
	size_t len = strlen(buf);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + len, size - len, fmt, ap);
	va_end(ap);
}

/* The items of @list that are not supported, as "NAME is missing, NAME is denied". */
static void lacking(const struct mf_probe *probe, const char *const *list, char *buf,
		    size_t size)
{
	buf[0] = '\0';
	for (int i = 0; i < ROUTE_NEEDS_MAX && list[i]; i++)
		if (!has(probe, list[i]))
			append(buf, size, "%s%s is %s", buf[0] ? ", " : "", list[i],
			       mf_probe_state_name(state_of(probe, list[i])));
}

enum route_state route_state(const struct mf_probe *probe, const struct route *route, char *why,
			     size_t size)
{
	if (!has(probe, "access.syscall") && !has(probe, "access.dev") &&
	    !has(probe, "access.user_mode_only")) {
		snprintf(why, size,
			 "there is no userfaultfd for this user: access.syscall is %s",
			 mf_probe_state_name(state_of(probe, "access.syscall")));
		return ROUTE_NO;
	}
	lacking(probe, route->needs, why, size);
	if (why[0])
		return ROUTE_NO;
	lacking(probe, route->better, why, size);
	if (has(probe, "access.syscall") || has(probe, "access.dev"))
		return ROUTE_YES;
	append(why, size,
	       "%sonly access.user_mode_only: a system call on memory that has not arrived "
	       "fails with EFAULT",
	       why[0] ? ", " : "");
	return ROUTE_LIMITED;
}

const char *route_state_name(enum route_state state)
{
	static const char *const names[] = { "no", "limited", "yes" };

	return names[state];
}

void routes_with(const char *item, bool better, char *buf, size_t size)
{
	buf[0] = '\0';
	for (size_t r = 0; r < n_routes; r++) {
		const char *const *list = better ? routes[r].better : routes[r].needs;

		for (int i = 0; i < ROUTE_NEEDS_MAX && list[i]; i++)
			if (!strcmp(list[i], item))
				append(buf, size, "%s%s", buf[0] ? ", " : "", routes[r].name);
	}
}
