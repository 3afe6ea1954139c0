/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moving pages between spaces: one interface over several routes.
 *
 *	route	give (ours -> theirs)		take (theirs -> ours)
 *	move	UFFDIO_MOVE, same space		UFFDIO_MOVE, same space
 *	xmove	UFFDIO_MOVE across spaces	UFFDIO_MOVE, TAKE mode
 *	ferry	as copy				write-protect, read, the ferry task drops
 *	copy	UFFDIO_COPY			-
 *
 * Callers see bytes and a named outcome, never the route; which route each page went is
 * counted. Everything here is safe on the fault path: no allocation, no libc, and no
 * function pointers, so that the code has no relocations.
 */
#ifndef MF_MOVER_MOVER_H
#define MF_MOVER_MOVER_H

#include "base/types.h"

/*
 * What became of a request. Negative values are errors nobody expects; these are the
 * weather, and the direct caller handles each.
 */
enum mf_outcome {
	MF_MOVED = 0,  /* all of it */
	MF_PARTLY,     /* *ret_done bytes; ask again behind them to learn why it stopped */
	MF_EXISTS,     /* the next page is already there: go on behind it */
	MF_HOLE,       /* the next source page was never populated */
	MF_BUSY,       /* pinned, shared by fork or KSM: not by this route */
	MF_CHANGING,   /* the mappings are changing: read events, then ask again */
	MF_GONE,       /* the space has no such range (any more), or is gone itself */
	MF_NO_MEMORY,  /* the receiver's limit; page untouched */
	MF_UNREADABLE, /* the source page's content is lost (hwpoison, unmapped) */
};

enum mf_route {
	MF_ROUTE_NONE = 0,
	MF_ROUTE_MOVE,
	MF_ROUTE_XMOVE,
	MF_ROUTE_FERRY,
	MF_ROUTE_COPY,
	MF_ROUTES,
};

struct mf_ring;

struct mf_mover {
	enum mf_route give;
	enum mf_route take;
	int uffd; /* of their space */
	/* take by ferry: */
	int mem;	      /* their /proc/PID/mem, readable: never waits in a fault */
	int pagemap;	      /* their /proc/PID/pagemap */
	struct mf_ring *ring; /* of the ferry task in their space */
	u64 pages[MF_ROUTES]; /* given or taken, 4 KiB units, by route; relaxed atomics */
};

/* What can be picked from; as found by probing, never by version. */
struct mf_mover_caps {
	bool same_space;
	bool move;  /* UFFDIO_MOVE works in one space */
	bool xmove; /* the userfaultfd has MOVE_CROSS_MM (and, to take, MOVE_TAKE) */
	bool ferry; /* there is a ferry task in the other space */
};

/* Choose the best routes for what there is. */
void mf_mover_pick(struct mf_mover *m, const struct mf_mover_caps *caps);

#define MF_GIVE_DONTWAKE (1u << 0)

/*
 * Put our pages [src, src+len) at [dst, dst+len) of the userfaultfd's space. By `copy`
 * and `ferry` our pages stay as they were (the caller drops them when it may); by `move`
 * and `xmove` they are gone from here. *ret_done counts the bytes done and is always
 * written.
 * Returns an mf_outcome or -errno.
 */
int mf_mover_give(struct mf_mover *m, u64 dst, u64 src, u64 len, unsigned int flags,
		  u64 *ret_done);

/*
 * Take the pages of [src, src+len) (at most 512 pages, one bit each in @ret_present)
 * out of their space into our memory at [dst, dst+len). Holes have their bit clear and
 * their part of dst is unspecified. Does not wake.
 *
 * By `move` and `xmove` dst must be empty, else MF_EXISTS; by `move` it must also be
 * registered with the userfaultfd.
 *
 * By `ferry` the caller must have the range registered MISSING|WP and must neither lift
 * the protection nor fill missing pages of it meanwhile: a thread that writes there
 * waits, and faults again, now missing, when it is woken. If the userfaultfd reports
 * REMOVE events, then the drop is one, and another thread must read it meanwhile. What
 * `ferry` cannot see is a page that a device writes to (pinned): such memory must be kept
 * out of it.
 *
 * MF_MOVED: bits say what was taken, the rest was holes. MF_PARTLY: bits say what was
 * taken, the rest is where it was, and its protection lifted. Anything else: nothing was
 * taken; MF_BUSY: the ferry could not drop it or is dead; MF_CHANGING: mappings change,
 * or a page was discarded under our eyes; MF_UNREADABLE: a page's content is lost;
 * -EOPNOTSUPP: there is no route. An error that leaves bits set (-EINPROGRESS: the ferry
 * hangs and cannot be killed) means that these pages were read and nobody knows whether
 * they were dropped: the window stays protected.
 */
int mf_mover_take(struct mf_mover *m, u64 dst, u64 src, u64 len, u64 ret_present[8]);

const char *mf_route_name(enum mf_route route);

#endif /* MF_MOVER_MOVER_H */
