/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The shared page: a sealed memfd that source, successor, ferry task and guard map.
 *
 * It holds the commit word. Whoever wants to decide the attempt swaps it away from OPEN;
 * exactly one compare-and-swap succeeds, and everybody else learns the verdict by reading:
 *
 *	successor: OPEN -> COMMITTED	the memory is mine
 *	successor: OPEN -> CANCELLED	I could not load the state, or waited too long
 *	source:    OPEN -> ABORTED	I waited too long, or the other side died
 *
 * A process that is stopped at a bad moment and wakes up late finds its swap refused.
 * Fixed-width fields, host byte order (one machine). Readers check what they read: the
 * other side may be buggy. Nothing in here is used as an address of memory to move but
 * hints, which are checked against the regions agreed on over the socket.
 */
#ifndef MF_HANDOVER_SHARED_H
#define MF_HANDOVER_SHARED_H

#include "base/hist.h"
#include "base/types.h"

#define MF_SHARED_MAGIC 0x3148534dU
#define MF_SHARED_BYTES ((u64)32 * 1024)

enum mf_word {
	MF_WORD_OPEN = 0,
	MF_WORD_COMMITTED = 1,
	MF_WORD_ABORTED = 2,
	MF_WORD_CANCELLED = 3,
};

enum mf_phase {
	MF_PHASE_PREPARE = 0, /* faults are served by copies, nothing is dropped */
	MF_PHASE_DRAIN = 1,
	MF_PHASE_DRAINED = 2,  /* ferry: nothing is left here; holes are still served */
	MF_PHASE_RELEASED = 3, /* guard: no longer registered; the ferry may go */
	MF_PHASE_LOST = 4,     /* guard: ferry is gone, the missing is poisoned */
};

enum mf_fatal {
	MF_FATAL_NONE = 0,
	MF_FATAL_REMAPS = 1,  /* too many mremap() calls to follow during one drain */
	MF_FATAL_PAGE = 2,    /* a page could be neither brought nor poisoned */
	MF_FATAL_PROMISE = 3, /* discarded or moved, after a promise not to */
};

#define MF_INBOX 16
#define MF_HINTS 64
#define MF_REMAPS 256

struct mf_shared_range {
	u64 addr;
	u64 len;
};

/* A range that was mremap()ed before all of it had arrived. */
struct mf_shared_remap {
	u64 addr;
	u64 len;
	u64 page_size;
	u32 dontfork; /* as its region was in the source */
	u32 unused;
};

struct mf_shared {
	u32 magic;
	u32 bytes;
	u64 epoch;
	u32 word;  /* enum mf_word */
	u32 phase; /* enum mf_phase */
	u32 beat;  /* the ferry's pilot counts its rounds: a stopped ferry is noticed */
	u32 placement;
	u32 place_ns[4]; /* what each MF_PLACE_* cost when measured */

	u64 t_attach_ns; /* CLOCK_MONOTONIC, the same for all processes of a machine */
	u64 t_quiesce_ns;
	u64 t_commit_ns;
	u64 t_drained_ns;

	/* counters; each has one writing task, readers look on */
	u64 bytes_total;
	u64 bytes_done;
	u64 pages_move;
	u64 pages_give;
	u64 pages_copy;
	u64 pages_fd;
	u64 pages_zero;
	u64 pages_poisoned;
	u64 pages_released;
	u64 pages_huge; /* put together again by the guard */
	u64 faults;

	/* hints: the successor's threads write under hint_gate, the pilot reads */
	u32 hint_gate;
	u32 hint_head;
	u32 hint_tail;
	u32 fatal;    /* enum mf_fatal: why the ferry had to end the successor */
	u32 n_remaps; /* ranges that were mremap()ed under way, for the guard */
	/*
	 * The ferry reads userfaultfd messages straight into here. The kernel lets a thread
	 * of the successor go on when its mremap() has been read, so a ferry that dies right
	 * then must leave behind where to: the guard looks, if inbox_open is set.
	 */
	u32 inbox_open;
	u32 no_events;		/* MF_SUCCESSOR_FIXED_MAPPINGS: no gate; an event ends it */
	u64 inbox[MF_INBOX][4]; /* struct uffd_msg */
	struct mf_shared_range hint[MF_HINTS];
	struct mf_shared_remap remap[MF_REMAPS];

	struct mf_hist serve; /* by the pilot */
	struct mf_hist fault; /* by the successor's sampling thread */
};

_Static_assert(sizeof(struct mf_shared) <= MF_SHARED_BYTES, "the shared page's size is wire");

#endif /* MF_HANDOVER_SHARED_H */
