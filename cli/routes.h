/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which of memferry's routes need which items of the probe, and what a machine offers. */
#ifndef MF_CLI_ROUTES_H
#define MF_CLI_ROUTES_H

#include <stdbool.h>
#include <stddef.h>

#include <memferry.h>

#define ROUTE_NEEDS_MAX 16

struct route {
	const char *name;
	const char *about;
	const char *needs[ROUTE_NEEDS_MAX];  /* without one of these there is no such route */
	const char *better[ROUTE_NEEDS_MAX]; /* it works without, but not as well */
};

enum route_state {
	ROUTE_NO,
	ROUTE_LIMITED, /* only for faults from user mode */
	ROUTE_YES,
};

extern const struct route routes[];
extern const size_t n_routes;

/*
 * What a probe says about a route, and in @why which item it fails for, or what is missing
 * to have it in full; "" if nothing is.
 */
enum route_state route_state(const struct mf_probe *probe, const struct route *route, char *why,
			     size_t size);
const char *route_state_name(enum route_state state);
/* The names of routes whose @list has the item, with commas; "" if none. */
void routes_with(const char *item, bool better, char *buf, size_t size);

#endif /* MF_CLI_ROUTES_H */
