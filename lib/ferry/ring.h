/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Orders to a ferry task in another process, through a page that both map.
 *
 * The page is a memfd, sealed against shrinking, mapped MAP_SHARED by both. Neither side
 * trusts it: the ferry reads each order once into its own memory and then checks that it
 * stays within the ranges that its process consented to when it started the task; the
 * monitor takes nothing from it but a number that it asked for.
 *
 * A slot's life, with who makes each step. Slots are used in turn:
 *
 *	        monitor           ferry             ferry          monitor
 *	FREE ------------> POSTED ------> RUNNING ---------> DONE ---------> FREE
 *	                     |                                 ferry
 *	                     +-----> CANCELLED (monitor) ----------------> FREE
 *
 * POSTED is left by compare-and-swap, so an order that was cancelled never runs and one
 * that runs cannot be cancelled. The fields of an order are plain memory: they are
 * written before the release store of POSTED (result: of DONE) and read after the
 * acquire load that saw it.
 *
 * Going to sleep is the place for a lost wake-up. The bell is a counter, `asleep` says
 * whether ringing it takes a system call:
 *
 *	monitor				ferry
 *	-------				-----
 *					b = bell
 *					slot is FREE: nothing to do
 *	slot = POSTED
 *	bell++
 *					asleep = 1
 *	== fence ==			== fence ==
 *	asleep? -> futex_wake(bell)	futex_wait(bell, b)
 *
 * Each side stores, then loads what the other stored. Without the fences both loads may
 * overtake the stores: the monitor sees asleep == 0 and does not wake, the ferry sees
 * bell == b and sleeps on a posted order. With them at least one of the two sees the
 * other's store. `waiting` and the slot's state are the same pattern for the way back.
 * All sleeps are bounded all the same, because the other side may be dead, and a bound is
 * how that is found: by its pidfd.
 */
#ifndef MF_FERRY_RING_H
#define MF_FERRY_RING_H

#include "base/sys.h"

#define MF_RING_SLOTS 32
#define MF_RING_BYTES MF_PAGE_SIZE

enum mf_ring_opcode {
	MF_RING_NOP = 1,
	/* discard [addr, addr+len), mlocked or not; result 0 or -errno */
	MF_RING_DROP,
	/* UFFDIO_MOVE arg -> addr with mode bits in flags; result bytes, or -errno if none */
	MF_RING_MOVE,
	MF_RING_EXIT,
};

struct mf_ring_order {
	u32 op;
	u32 flags;
	u64 addr;
	u64 len;
	u64 arg;
};

struct mf_ring_slot {
	u32 state; /* futex */
	u32 waiting;
	struct mf_ring_order order;
	s64 result;
	u64 unused[2];
};

struct mf_ring_page {
	u32 bell; /* futex */
	u32 asleep;
	u32 unused[14];
	struct mf_ring_slot slot[MF_RING_SLOTS];
};

_Static_assert(sizeof(struct mf_ring_slot) == 64, "one slot, one cache line");
_Static_assert(sizeof(struct mf_ring_page) <= MF_RING_BYTES, "the ring is one page");

/* ------------------------------------------------------ the monitor's side */

/* The monitor's handle: private memory of its process, usable by all its threads. */
struct mf_ring {
	struct mf_ring_page *page;
	int pidfd;   /* of the ferry task */
	u32 lock;    /* futex: 0 free, 1 held, 2 held and wanted */
	u32 next;    /* behind the lock */
	u32 spin_ns; /* how long to look before sleeping */
};

/* @page: all zero (a fresh memfd is). */
void mf_ring_init(struct mf_ring *ring, struct mf_ring_page *page, int ferry_pidfd,
		  u32 spin_ns);
/* -EAGAIN: every slot is in use; -ESRCH: the ferry is dead. */
int mf_ring_post(struct mf_ring *ring, const struct mf_ring_order *order, u32 *ret_ticket);
/*
 * Wait for what was posted, once per ticket.
 * 0: it ran, *ret_result is what the ferry said.
 * -ETIMEDOUT: it did not run within @timeout_ns and never will.
 * -ESRCH: the ferry died, or hung for twice @timeout_ns and was killed for it. It may have
 * done all, part or nothing of the order, and does no more: look at the memory.
 */
int mf_ring_wait(struct mf_ring *ring, u32 ticket, s64 timeout_ns, s64 *ret_result);
/* Post and wait; waits for a slot too. Returns as mf_ring_wait(). */
int mf_ring_call(struct mf_ring *ring, const struct mf_ring_order *order, s64 timeout_ns,
		 s64 *ret_result);

/* -------------------------------------------------------- the ferry's side */

struct mf_ferry_range {
	u64 start, end;
};

/* What the ferry's own process tells it; memory that is always present. */
struct mf_ferry {
	struct mf_ring_page *page;
	int uffd;	   /* for MOVE, -1: none */
	int monitor_pidfd; /* -1: the monitor's death is not watched */
	u32 spin_ns;
	u32 n_ranges;
	const struct mf_ferry_range *range; /* orders outside of these are refused */
};

#define MF_FERRY_EXITED 0   /* it was told to */
#define MF_FERRY_ORPHANED 1 /* the monitor is dead */

/* A task function, see mf_task_start(); @ferry is a struct mf_ferry. */
int mf_ferry_loop(void *ferry);

#endif /* MF_FERRY_RING_H */
