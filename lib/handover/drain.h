/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The program of the ferry task in the source's space: serve the successor's faults,
 * and after the commit move everything over and give the source's pages back.
 *
 * Two threads in one task. The *pilot* reads fault messages and serves them, on the
 * faulting thread's CPU where that is fastest. The *drainer* goes over the blocks (2 MiB
 * of the source's addresses) in order of need: where faults were, hinted, the rest.
 *
 * Lock order: gate. It is the only lock; see gate_why in drain.c.
 */
#ifndef MF_HANDOVER_DRAIN_H
#define MF_HANDOVER_DRAIN_H

#include "base/types.h"
#include "handover/shared.h"
#include "mover/mover.h"

#define MF_BLOCK_SIZE MF_PMD_SIZE
#define MF_BLOCK_PAGES (MF_BLOCK_SIZE / MF_PAGE_SIZE)
#define MF_HOT_QUEUE 4096 /* power of two */
#define MF_DROP_QUEUE 512 /* power of two */
#define MF_EXTRA_SEGS 256
#define MF_CPU_MASK_BYTES 128

/* A region of the source, and where its pages are bound for. */
struct mf_drain_region {
	u64 src;
	u64 len;
	u64 dst;
	u64 page_size;
	u32 hugetlb;
	u32 dontfork; /* by the application's own wish */
	u32 thp;      /* huge pages if it could be: dropped block by block only */
	u32 first_block;
	u32 n_blocks;
	u64 first_page; /* index of its first bit in zero_bits, in units of page_size */
};

/* A piece of a region at its present place in the successor; mremap() splits them. */
struct mf_seg {
	u64 dst;
	u64 len;
	u64 src;
	u32 region;
};

/* Single producer (pilot), single consumer (drainer). */
struct mf_hot_queue {
	u32 head;
	u32 tail;
	u32 block[MF_HOT_QUEUE];
};

struct mf_drop_queue {
	u32 head;
	u32 tail;
	u64 page[MF_DROP_QUEUE];
};

struct mf_drain {
	struct mf_shared *sh;
	struct mf_mover copier; /* before the commit, and where the mover is refused */
	struct mf_mover mover;	/* the best route there is */
	int uffd;
	int pagemap;	  /* of the source's own space */
	int mem;	  /* the same, as /proc/self/mem; -1: not to be had */
	int peer_pidfd;	  /* of the successor */
	int peer_pagemap; /* of its space */
	int bell;	  /* eventfd: somebody wants the pilot's attention */
	int guard_bell;	  /* eventfd: we want the guard's */
	int self_pidfd;	  /* drainer's: of this task */
	u64 zeros;	  /* a never written mapping, as long as the largest page */
	u64 bounce[2];	  /* as long each: for pages that must be read through mem */
	u32 word_seen;

	u32 n_regions;
	u32 n_blocks;
	u32 n_segs;
	u32 max_segs;
	struct mf_drain_region *region; /* ascending src */
	struct mf_seg *seg;		/* ascending dst; pilot writes under gate */
	u8 *block_done;			/* drainer's */
	u64 *zero_bits; /* page was discarded by the successor; pilot writes under gate */

	u32 gate;
	u32 wanted; /* the pilot wants the gate: the drainer stands back */
	u32 kick;   /* futex for the drainer */
	u64 last_fault_ns;
	u64 ahead_dst; /* a fault here goes on where the last one ended */
	u32 ahead;     /* pages that the last fault was answered with */
	struct mf_hot_queue hot;
	struct mf_drop_queue drop;

	/* where to run */
	u32 placement;
	u32 no_events;	 /* the successor promised not to discard or move: no gate needed */
	u32 ordinary;	 /* no real-time priority for the pilot */
	s32 cpu;	 /* the pilot is pinned there; -1: not */
	s32 cpu_avoided; /* what the drainer made of it */
	u64 cpu_checked_ns;
	u8 cpus[MF_CPU_MASK_BYTES]; /* allowed to us at start */

	u32 troubles; /* calls in a row that failed as they never should */
	void *drainer_stack_top;
	u64 map[MF_BLOCK_PAGES]; /* drainer's pagemap buffer */
};

/* Task function: arg is a struct mf_drain that nobody else touches any more. */
int mf_drain_main(void *drain);

/*
 * Bytes for a struct mf_drain with all its tables; and laying them out in zeroed memory of
 * that size. @region is sorted by src and complete but for the block and page numbers.
 */
u64 mf_drain_bytes(const struct mf_drain_region *region, u32 n_regions);
void mf_drain_layout(struct mf_drain *d, const struct mf_drain_region *region, u32 n_regions);

struct mf_event;
/* in drain.c: up to MF_INBOX messages; clear sh->inbox_open when they were dealt with */
long mf_drain_inbox(struct mf_drain *d, struct mf_event *ev);

/* in drain_fault.c: what the pilot does with messages */
const struct mf_seg *mf_drain_seg(const struct mf_drain *d, u64 dst);
void mf_drain_event(struct mf_drain *d, const struct mf_event *ev);
void mf_drain_fault(struct mf_drain *d, const struct mf_event *ev);
void mf_drain_hints(struct mf_drain *d);
/* Bounce buffers: each thread has its own. */
enum { MF_BOUNCE_PILOT, MF_BOUNCE_DRAINER };
/*
 * Give one page that cannot be read where it lies (the region is PROT_NONE), through a
 * bounce buffer. An mf_outcome or -errno; MF_UNREADABLE: its content is really lost.
 */
int mf_drain_rescue(struct mf_drain *d, u64 dst, u64 src, u64 page_size, int bounce,
		    u64 *ret_done);
bool mf_drain_discarded(const struct mf_drain *d, const struct mf_drain_region *r, u64 src);
void mf_drain_zeros(struct mf_drain *d, u64 dst, u64 page_size);
/*
 * What MF_EXISTS for @dst means: MF_EXISTS, or MF_NO_MEMORY, since the kernel (6.18 and
 * before) says EEXIST for a huge page, too, when it has none left.
 */
int mf_drain_exists(const struct mf_drain *d, const struct mf_drain_region *r, u64 dst);
/* 0: poisoned, or there is nothing to poison; -errno: it could not be done now. */
long mf_drain_poison(struct mf_drain *d, u64 dst, u64 page_size);
/* No way on: end the successor, the guard tells why (enum mf_fatal). */
void mf_drain_fatal(struct mf_drain *d, u32 why);

/* in drain_block.c: what the drainer does */
int mf_drainer_main(void *drain);
/* Give pages of this space back to the system. */
void mf_drain_drop(const struct mf_drain_region *r, u64 start, u64 len);

/* in drain_cpu.c: where the pilot runs */
void mf_drain_cpu_init(struct mf_drain *d);
/* This thread sits on CPU @at (-1: anywhere) and would rather on @cpu. Where it is then. */
s32 mf_cpu_sit(const u8 *allowed, s32 at, s32 cpu);
void mf_drain_go_first(bool ordinary);
void mf_drain_cpu_follow(struct mf_drain *d, u32 tid);
void mf_drain_cpu_avoid(struct mf_drain *d);

#endif /* MF_HANDOVER_DRAIN_H */
