/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The drainer: moves what is left, block by block, and gives the source's pages back. */
#include <linux/mman.h>

#include "base/gate.h"
#include "handover/drain.h"
#include "uffd/op.h"

#include "base/faultpath.h"

#define PM_POPULATED (((u64)1 << 63) | ((u64)1 << 62))

/*
 * How much is copied while the gate is held, in pages: a fault that comes meanwhile waits
 * for it. Larger calls are cheaper a page, so they are small only while faults come.
 */
#define BITE_QUIET 64
#define BITE_BUSY 8
#define BUSY_NS (500 * MF_NSEC_PER_USEC)

#define STAND_BACK_SPINS 2000
#define STAND_BACK_NS ((s64)50 * MF_NSEC_PER_USEC)
#define WAIT_CHANGING_NS ((s64)50 * MF_NSEC_PER_USEC)
#define WAIT_MEMORY_NS ((s64)10 * MF_NSEC_PER_MSEC)
#define WAIT_TROUBLE_NS ((s64)MF_NSEC_PER_MSEC)
#define DROP_BATCH 64
#define IDLE_NS ((s64)100 * MF_NSEC_PER_MSEC)
#define TROUBLES_MAX 200
#define SWEEPS 3

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

enum { BLOCK_TODO, BLOCK_DONE, BLOCK_AGAIN };

/* One block's share of one region, in source addresses. */
struct block {
	const struct mf_drain_region *r;
	u32 index;
	u64 start, end;
	u64 populated; /* pages, 4 KiB units */
};

static void nap(struct mf_drain *d, s64 ns)
{
	u32 kick = mf_load(&d->kick);

	mf_sys_futex_wait(&d->kick, kick, ns);
}

static void find_block(struct mf_drain *d, u32 index, struct block *b)
{
	u32 i = 0;
	u64 base;

	while (i + 1 < d->n_regions && d->region[i + 1].first_block <= index)
		i++;
	b->r = &d->region[i];
	b->index = index;
	b->populated = 0;
	base = mf_align_down(b->r->src, MF_BLOCK_SIZE) +
	       (u64)(index - b->r->first_block) * MF_BLOCK_SIZE;
	b->start = mf_max(base, b->r->src);
	b->end = mf_min(base + MF_BLOCK_SIZE, b->r->src + b->r->len);
}

/* ------------------------------------------------------------------ giving */

/*
 * The longest run from @src on that may be given in one call: not discarded, within one
 * segment and @limit. Returns its length; 0 with *ret_skip set if @src itself may not.
 * Under the gate.
 */
static u64 givable(struct mf_drain *d, const struct mf_drain_region *r, u64 src, u64 limit,
		   u64 *ret_dst)
{
	u64 end = src + limit, at;
	u32 i;

	for (i = 0; i < d->n_segs; i++) {
		const struct mf_seg *s = &d->seg[i];

		if (&d->region[s->region] != r || src - s->src >= s->len)
			continue;
		end = mf_min(end, s->src + s->len);
		for (at = src; at < end && !mf_drain_discarded(d, r, at);)
			at += r->page_size;
		*ret_dst = s->dst + (src - s->src);
		return at - src;
	}
	return 0;
}

static void count_given(struct mf_drain *d, const struct mf_mover *m, u64 bytes)
{
	if (bytes)
		mf_add(m->give == MF_ROUTE_XMOVE ? &d->sh->pages_give : &d->sh->pages_copy,
		       bytes / MF_PAGE_SIZE);
}

static int give_once(struct mf_drain *d, const struct mf_drain_region *r, u64 dst, u64 src,
		     u64 len, u64 *ret_done)
{
	int out = mf_mover_give(&d->mover, dst, src, len, 0, ret_done);

	count_given(d, &d->mover, *ret_done);
	if (out == MF_BUSY && d->mover.give != d->copier.give) {
		out = mf_mover_give(&d->copier, dst, src, len, 0, ret_done);
		count_given(d, &d->copier, *ret_done);
	}
	if (out == MF_UNREADABLE) {
		out = mf_drain_rescue(d, dst, src, r->page_size, MF_BOUNCE_DRAINER, ret_done);
		count_given(d, &d->copier, *ret_done);
	}
	return out == MF_EXISTS ? mf_drain_exists(d, r, dst) : out;
}

/*
 * A page that could not be given is poisoned, and one that cannot even be poisoned ends the
 * successor: it must not be taken for one that has arrived. Returns how far to go on.
 */
static u64 lose(struct mf_drain *d, u64 dst, u64 page_size, s64 *ret_nap)
{
	if (mf_drain_poison(d, dst, page_size) == 0) {
		d->troubles = 0;
		return page_size;
	}
	if (++d->troubles > 2 * TROUBLES_MAX)
		mf_drain_fatal(d, MF_FATAL_PAGE);
	*ret_nap = WAIT_TROUBLE_NS;
	return 0;
}

/* An error that should not be: perhaps it goes away. */
static u64 trouble(struct mf_drain *d, u64 dst, u64 page_size, s64 *ret_nap)
{
	*ret_nap = WAIT_TROUBLE_NS;
	if (++d->troubles > TROUBLES_MAX)
		return lose(d, dst, page_size, ret_nap);
	return 0;
}

/* The pilot goes first; it holds the gate for a microsecond or two. */
static void stand_back(struct mf_drain *d)
{
	int i;

	for (i = 0; i < STAND_BACK_SPINS && mf_load(&d->wanted); i++)
		mf_cpu_relax();
	while (mf_load(&d->wanted))
		mf_sys_futex_wait(&d->wanted, 1, STAND_BACK_NS);
}

/*
 * Give up to @limit bytes at @src. Returns how far to go on; 0: not now, after a nap of
 * *ret_nap.
 */
static u64 bite(struct mf_drain *d, const struct mf_drain_region *r, u64 src, u64 limit,
		s64 *ret_nap)
{
	u64 dst = 0, done = 0, len;
	int out;

	if (!d->no_events) {
		stand_back(d);
		mf_gate_lock(&d->gate);
	}
	len = givable(d, r, src, limit, &dst);
	out = len ? give_once(d, r, dst, src, len, &done) : MF_EXISTS;
	if (!d->no_events)
		mf_gate_unlock(&d->gate);

	switch (out) {
	case MF_MOVED:
	case MF_PARTLY:
		d->troubles = 0;
		return done;
	case MF_CHANGING:
		*ret_nap = WAIT_CHANGING_NS;
		return done;
	case MF_NO_MEMORY:
		*ret_nap = WAIT_MEMORY_NS;
		return done;
	case MF_UNREADABLE:
		return lose(d, dst, r->page_size, ret_nap);
	case MF_EXISTS: /* or discarded, or no longer followed */
	case MF_HOLE:
	case MF_GONE: /* not mapped there any more */
		return r->page_size;
	default:
		return trouble(d, dst, r->page_size, ret_nap);
	}
}

static u64 bite_limit(const struct mf_drain *d, u64 left)
{
	bool busy = !d->no_events &&
		    mf_now_ns() - __atomic_load_n(&d->last_fault_ns, __ATOMIC_RELAXED) <
			    BUSY_NS;

	return mf_min(left, (busy ? BITE_BUSY : BITE_QUIET) * MF_PAGE_SIZE);
}

static void drop_queued(struct mf_drain *d, u64 at_least);

static void give_run(struct mf_drain *d, const struct mf_drain_region *r, u64 src, u64 end)
{
	u64 step;
	s64 wait;

	while (src < end) {
		wait = 0;
		step = bite(d, r, src, mf_max(bite_limit(d, end - src), r->page_size), &wait);
		src += step;
		mf_drain_cpu_avoid(d);
		drop_queued(d, DROP_BATCH);
		if (wait)
			nap(d, wait);
	}
}

/* ---------------------------------------------------------------- dropping */

void mf_drain_drop(const struct mf_drain_region *r, u64 start, u64 len)
{
	if (r->hugetlb) {
		/* unmapped, so that the reservation goes back to the pool with the page */
		mf_sys_munmap((void *)start, len);
		return;
	}
	if (mf_sys_madvise((void *)start, len, MADV_DONTNEED) == 0)
		return;
	if (mf_sys_madvise((void *)start, len, MADV_DONTNEED_LOCKED) == 0)
		return;
	/* mlocked, and the kernel is older than 5.18 */
	mf_sys_munlock((void *)start, len);
	mf_sys_madvise((void *)start, len, MADV_DONTNEED);
}

static const struct mf_drain_region *region_of(const struct mf_drain *d, u64 src)
{
	u32 i;

	for (i = 0; i < d->n_regions; i++)
		if (src - d->region[i].src < d->region[i].len)
			return &d->region[i];
	return NULL;
}

struct iov { /* struct iovec */
	u64 base, len;
};

/* Each call interrupts the CPUs that run this space, so many pages go in one, if it can be. */
static void drop_pages(struct mf_drain *d, const struct iov *iov, u64 n)
{
	const struct mf_drain_region *r;
	long done = mf_sys_process_madvise(d->self_pidfd, iov, n, MADV_DONTNEED);
	u64 i;

	/* older kernels do not let even a process itself; mlocked pages want another call */
	for (i = done > 0 ? (u64)done / MF_PAGE_SIZE : 0; i < n; i++) {
		r = region_of(d, iov[i].base);
		if (r)
			mf_drain_drop(r, iov[i].base, iov[i].len);
	}
	mf_add(&d->sh->pages_released, n);
}

/*
 * Single pages that the pilot gave on a fault. They are dropped here and not there: the
 * drop interrupts every CPU that runs this space, and the pilot's is the wrong one.
 */
static void drop_queued(struct mf_drain *d, u64 at_least)
{
	struct mf_drop_queue *q = &d->drop;
	struct iov iov[DROP_BATCH];
	u64 n;

	while (mf_load(&q->head) - q->tail >= at_least && q->tail != mf_load(&q->head)) {
		for (n = 0; n < DROP_BATCH && q->tail != mf_load(&q->head); n++) {
			iov[n].base = q->page[q->tail % MF_DROP_QUEUE];
			iov[n].len = MF_PAGE_SIZE;
			mf_store(&q->tail, q->tail + 1);
		}
		drop_pages(d, iov, n);
	}
}

/* ------------------------------------------------------------------ blocks */

/* Call give_run() for each run of populated pages. -errno if that cannot be known. */
static long give_populated(struct mf_drain *d, struct block *b)
{
	u64 n = (b->end - b->start) / MF_PAGE_SIZE, i = 0, from;
	long got;

	got = mf_sys_pread(d->pagemap, d->map, n * 8, b->start / MF_PAGE_SIZE * 8);
	if (got != (long)(n * 8))
		return got < 0 ? got : -EIO;
	while (i < n) {
		if (!(d->map[i] & PM_POPULATED)) {
			i++;
			continue;
		}
		for (from = i; i < n && (d->map[i] & PM_POPULATED);)
			i++;
		b->populated += i - from;
		give_run(d, b->r, b->start + from * MF_PAGE_SIZE, b->start + i * MF_PAGE_SIZE);
	}
	return 0;
}

/* Hugetlb pages may be larger than a block: the block that a page starts in moves it. */
static void give_huge(struct mf_drain *d, struct block *b)
{
	u64 at = mf_align_up(b->start, b->r->page_size), entry;

	for (; at < b->end; at += b->r->page_size) {
		entry = 0;
		if (mf_sys_pread(d->pagemap, &entry, 8, at / MF_PAGE_SIZE * 8) != 8)
			entry = PM_POPULATED; /* who knows: giving a hole does no harm */
		if (entry & PM_POPULATED) {
			give_run(d, b->r, at, at + b->r->page_size);
			b->populated += b->r->page_size / MF_PAGE_SIZE;
		}
		mf_drain_drop(b->r, at, b->r->page_size);
	}
}

static void drain_block(struct mf_drain *d, u32 index)
{
	struct block b;

	if (d->block_done[index] == BLOCK_DONE)
		return;
	find_block(d, index, &b);
	if (b.r->hugetlb) {
		give_huge(d, &b);
	} else {
		if (give_populated(d, &b))
			give_run(d, b.r, b.start, b.end);
		mf_drain_drop(b.r, b.start, b.end - b.start);
	}
	mf_add(&d->sh->pages_released, b.populated);
	if (d->block_done[index] == BLOCK_TODO)
		mf_add(&d->sh->bytes_done, b.end - b.start);
	d->block_done[index] = BLOCK_DONE;
}

static void drain_hot(struct mf_drain *d)
{
	struct mf_hot_queue *q = &d->hot;
	u32 block;

	while (q->tail != mf_load(&q->head)) {
		block = q->block[q->tail % MF_HOT_QUEUE];
		mf_store(&q->tail, q->tail + 1);
		if (block < d->n_blocks)
			drain_block(d, block);
	}
}

static void drain_all(struct mf_drain *d)
{
	u32 i;

	for (i = 0; i < d->n_blocks; i++) {
		drain_hot(d);
		drop_queued(d, DROP_BATCH);
		drain_block(d, i);
	}
	drain_hot(d);
	drop_queued(d, 1);
}

/*
 * Done means that nothing is left, not that we think so: look again. A fault on a hole
 * may have left a page behind meanwhile.
 */
static bool block_empty(struct mf_drain *d, u32 index)
{
	struct block b;
	u64 n, i;

	find_block(d, index, &b);
	if (b.r->hugetlb)
		return true; /* unmapped */
	n = (b.end - b.start) / MF_PAGE_SIZE;
	if (mf_sys_pread(d->pagemap, d->map, n * 8, b.start / MF_PAGE_SIZE * 8) !=
	    (long)(n * 8))
		return true;
	for (i = 0; i < n; i++)
		if (d->map[i] & PM_POPULATED)
			return false;
	return true;
}

static void sweep(struct mf_drain *d)
{
	bool again = true;
	u32 i, n;

	for (n = 0; again && n < SWEEPS; n++) {
		again = false;
		for (i = 0; i < d->n_blocks; i++) {
			if (block_empty(d, i))
				continue;
			again = true;
			d->block_done[i] = BLOCK_AGAIN;
			drain_block(d, i);
		}
	}
}

int mf_drainer_main(void *drain)
{
	struct mf_drain *d = drain;
	u64 one = 1;

	d->cpu_avoided = -1;
	d->self_pidfd = (int)mf_sys_pidfd_open((pid_t)mf_sys_getpid());
	while (mf_load(&d->sh->word) != MF_WORD_COMMITTED)
		nap(d, IDLE_NS);
	drain_all(d);
	sweep(d);
	mf_store(&d->sh->t_drained_ns, mf_now_ns());
	mf_store(&d->sh->bytes_done, mf_load(&d->sh->bytes_total));
	mf_cas32(&d->sh->phase, MF_PHASE_DRAIN, MF_PHASE_DRAINED);
	mf_sys_write(d->guard_bell, &one, sizeof(one));
	for (;;) { /* the pilot still serves holes, and ends us all */
		drop_queued(d, 1);
		nap(d, IDLE_NS);
	}
}
