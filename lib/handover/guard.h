/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guard: a ferry task in the successor's space. It holds the userfaultfd in a
 * descriptor table of its own (an application that closes all its descriptors must not
 * turn missing pages into zeros), watches the source's ferry task by its pidfd and its
 * heartbeat, and ends the arrangement: releases the ranges when all has arrived, or
 * poisons what is missing when the other side is lost.
 */
#ifndef MF_HANDOVER_GUARD_H
#define MF_HANDOVER_GUARD_H

#include "base/types.h"
#include "handover/shared.h"

struct mf_guard_region {
	u64 addr;
	u64 len;
	u64 page_size;
	u32 keep_dontfork; /* the application had asked for MADV_DONTFORK itself */
	u32 thp;	   /* the application had asked for MADV_HUGEPAGE */
	u32 poisoned;	   /* parts of it are */
};

struct mf_guard {
	struct mf_shared *sh;
	int uffd;
	int pagemap; /* of this space */
	int maps;    /* of this space */
	int ferry_pidfd;
	int main_pidfd; /* of the process whose space this is */
	int bell;	/* eventfd: the ferry or the main process wants us to look */
	int ferry_bell; /* eventfd: wakes the ferry's pilot */
	int done;	/* eventfd: written once the outcome is final */
	int notice_fd;	/* -1: none */
	s32 ferry_pid;	/* for messages */
	const u32 *why; /* over TCP: what the fetcher says, enum mf_fetch_why; else NULL */
	u64 stall_ns;	/* no heartbeat for so long: the ferry is lost */
	u32 said_bad;	/* that pages could not be read in the source */
	u32 hurry;	/* the main process has done with us */
	u32 beat;	/* counts the guard's rounds: a stopped guard is noticed */
	u32 poisoned;	/* anything at all is */
	u32 n_poisoned; /* of the moved ranges */
	u32 n_released; /* of regions and moved ranges */
	u32 n_regions;
	struct mf_guard_region *region;
	u64 map[512];
};

int mf_guard_main(void *guard);

/* in guard_range.c */
/*
 * Read all waiting messages: threads in madvise() or mremap() go on. Faults are forgotten,
 * ranges that were moved are noted. False: they are too many. Only when the ferry is gone.
 */
bool mf_guard_read_events(struct mf_guard *g);
/*
 * Unregister all ranges, which wakes everybody, and let forks see them again; when called
 * again, those that were noted since.
 */
void mf_guard_release(struct mf_guard *g);
/*
 * Poison what is missing in a range, in all ranges. Returns how many pages it were;
 * *ret_unable is set if some could not be.
 */
u64 mf_guard_poison(struct mf_guard *g, u64 at, u64 len, u64 page_size, bool *ret_unable);
/*
 * Learn of ranges that the successor moved with mremap() and that the ferry, now dead, had
 * read of but not noted. False: there are too many.
 */
bool mf_guard_take_inbox(struct mf_guard *g);
void mf_guard_wake_all(const struct mf_guard *g);
u64 mf_guard_poison_moved(struct mf_guard *g, bool *ret_unable);
u64 mf_guard_poison_all(struct mf_guard *g, bool *ret_unable);

#endif /* MF_HANDOVER_GUARD_H */
