/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the pilot does with the messages of the successor's userfaultfd. */
#include "base/gate.h"
#include "handover/drain.h"
#include "uffd/event.h"

#include "base/faultpath.h"

#define AHEAD_MAX ((u64)16)
#define CHANGING_NAP_NS ((s64)20 * MF_NSEC_PER_USEC)

#define PM_POPULATED (((u64)1 << 63) | ((u64)1 << 62)) /* present or swapped */

/* The segment that holds successor address @dst, or NULL. */
const struct mf_seg *mf_drain_seg(const struct mf_drain *d, u64 dst)
{
	u32 lo = 0, hi = d->n_segs, mid;

	while (lo < hi) {
		mid = (lo + hi) / 2;
		if (d->seg[mid].dst <= dst)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == 0 || dst - d->seg[lo - 1].dst >= d->seg[lo - 1].len)
		return NULL;
	return &d->seg[lo - 1];
}

static u64 page_bit(const struct mf_drain_region *r, u64 src)
{
	return r->first_page + (src - r->src) / r->page_size;
}

bool mf_drain_discarded(const struct mf_drain *d, const struct mf_drain_region *r, u64 src)
{
	u64 bit = page_bit(r, src);

	return d->zero_bits[bit / 64] >> (bit % 64) & 1;
}

/* ------------------------------------------------------------------ events */

static void note_discarded(struct mf_drain *d, u64 start, u64 end)
{
	u32 i;

	for (i = 0; i < d->n_segs; i++) {
		const struct mf_seg *s = &d->seg[i];
		const struct mf_drain_region *r = &d->region[s->region];
		u64 from = mf_max(start, s->dst), to = mf_min(end, s->dst + s->len);
		u64 bit;

		for (; from < to; from += r->page_size) {
			bit = page_bit(r, s->src + (from - s->dst));
			d->zero_bits[bit / 64] |= (u64)1 << (bit % 64);
		}
	}
}

/* Make @dst the start of a segment, if it lies inside one. */
static bool split_at(struct mf_drain *d, u64 dst)
{
	struct mf_seg *s = (struct mf_seg *)mf_drain_seg(d, dst);
	u64 head;
	u32 i;

	if (!s || s->dst == dst)
		return true;
	if (d->n_segs == d->max_segs)
		return false;
	for (i = d->n_segs++; &d->seg[i] > s; i--)
		d->seg[i] = d->seg[i - 1];
	head = dst - s->dst;
	s[1].dst += head;
	s[1].src += head;
	s[1].len -= head;
	s->len = head;
	return true;
}

static void sort_segs(struct mf_drain *d)
{
	struct mf_seg s;
	u32 i, k;

	for (i = 1; i < d->n_segs; i++) {
		s = d->seg[i];
		for (k = i; k > 0 && d->seg[k - 1].dst > s.dst; k--)
			d->seg[k] = d->seg[k - 1];
		d->seg[k] = s;
	}
}

/* What lay in [start, start + len) was unmapped: something else has come to lie there. */
static void forget_segs(struct mf_drain *d, u64 start, u64 len)
{
	u32 i, kept = 0;

	for (i = 0; i < d->n_segs; i++)
		if (d->seg[i].dst - start >= len)
			d->seg[kept++] = d->seg[i];
	d->n_segs = kept;
}

/* For the guard, which poisons or releases it in the end. */
static void tell_remapped(struct mf_drain *d, u64 to, u64 len)
{
	struct mf_shared_remap *re = &d->sh->remap[d->sh->n_remaps];
	const struct mf_seg *s = mf_drain_seg(d, to);
	const struct mf_drain_region *r = s ? &d->region[s->region] : NULL;

	*re = (struct mf_shared_remap){ .addr = to,
					.len = len,
					.page_size = r ? r->page_size : MF_PAGE_SIZE,
					.dontfork = r ? r->dontfork : 0 };
	mf_store(&d->sh->n_remaps, d->sh->n_remaps + 1);
}

/* The successor moved a range while parts of it had not arrived: follow it. */
static void note_remapped(struct mf_drain *d, u64 from, u64 to, u64 len)
{
	u32 i;

	if (d->sh->n_remaps >= MF_REMAPS || !split_at(d, from) || !split_at(d, from + len) ||
	    !split_at(d, to) || !split_at(d, to + len)) {
		/*
		 * We cannot follow any more, and what has not arrived would read as
		 * zeros at its new place.
		 */
		mf_drain_fatal(d, MF_FATAL_REMAPS);
		return;
	}
	forget_segs(d, to, len);
	for (i = 0; i < d->n_segs; i++)
		if (d->seg[i].dst >= from && d->seg[i].dst < from + len)
			d->seg[i].dst += to - from;
	sort_segs(d);
	tell_remapped(d, to, len);
}

/* Under the gate. */
void mf_drain_event(struct mf_drain *d, const struct mf_event *ev)
{
	switch (ev->kind) {
	case MF_EVENT_REMOVE:
		note_discarded(d, ev->addr, ev->addr + ev->len);
		break;
	case MF_EVENT_REMAP:
		note_remapped(d, ev->addr, ev->to, ev->len);
		break;
	case MF_EVENT_FORK: /* not asked for: the regions are MADV_DONTFORK */
		if (ev->fd >= 0)
			mf_sys_close(ev->fd);
		break;
	}
}

/* ------------------------------------------------------------------ faults */

void mf_drain_fatal(struct mf_drain *d, u32 why)
{
	mf_store(&d->sh->fatal, why);
	mf_sys_pidfd_send_signal(d->peer_pidfd, 9 /* SIGKILL */);
}

long mf_drain_poison(struct mf_drain *d, u64 dst, u64 page_size)
{
	u64 one = 1, done;
	long r = mf_op_poison(d->uffd, dst, page_size, 0, &done);

	if (r == 0) {
		mf_add(&d->sh->pages_poisoned, page_size / MF_PAGE_SIZE);
		mf_sys_write(d->guard_bell, &one, sizeof(one)); /* it tells */
		return 0;
	}
	mf_op_wake(d->uffd, dst, page_size); /* faults again if need be */
	return r == -EEXIST || r == -ENOENT || r == -ESRCH ? 0 : r;
}

int mf_drain_exists(const struct mf_drain *d, const struct mf_drain_region *r, u64 dst)
{
	u64 entry = 0;

	if (!r->hugetlb)
		return MF_EXISTS;
	mf_sys_pread(d->peer_pagemap, &entry, sizeof(entry), dst / MF_PAGE_SIZE * 8);
	return entry & PM_POPULATED ? MF_EXISTS : MF_NO_MEMORY;
}

int mf_drain_rescue(struct mf_drain *d, u64 dst, u64 src, u64 page_size, int bounce,
		    u64 *ret_done)
{
	*ret_done = 0;
	/* /proc/self/mem looks past the protection, as a debugger does */
	if (d->mem < 0 ||
	    mf_sys_pread(d->mem, (void *)d->bounce[bounce], page_size, src) != (long)page_size)
		return MF_UNREADABLE;
	return mf_mover_give(&d->copier, dst, d->bounce[bounce], page_size, 0, ret_done);
}

/*
 * How much to give at once, in bytes: more when faults walk forward through memory, one
 * page when they jump. 0 if the page at @src is a hole.
 */
static u64 run_at(struct mf_drain *d, const struct mf_seg *s, u64 dst, u64 src)
{
	const struct mf_drain_region *r = &d->region[s->region];
	u64 map[AHEAD_MAX], n, i;

	d->ahead = dst == d->ahead_dst ? (u32)mf_min(2 * d->ahead, AHEAD_MAX) : 1;
	n = mf_min(d->ahead, (s->dst + s->len - dst) / MF_PAGE_SIZE);
	if (r->hugetlb)
		n = 1;
	/* if it cannot be read, copying one page is right in any case */
	if (mf_sys_pread(d->pagemap, map, n * 8, src / MF_PAGE_SIZE * 8) != (long)(n * 8))
		return r->page_size;
	for (i = 0; i < n && (map[i] & PM_POPULATED); i++)
		if (i && mf_drain_discarded(d, r, src + i * MF_PAGE_SIZE))
			break;
	return r->hugetlb ? i * r->page_size : i * MF_PAGE_SIZE;
}

/* UFFDIO_ZEROPAGE does not know huge pages; d->zeros is a mapping that was never written. */
void mf_drain_zeros(struct mf_drain *d, u64 dst, u64 page_size)
{
	u64 done;
	long r;

	if (page_size == MF_PAGE_SIZE)
		r = mf_op_zeropage(d->uffd, dst, page_size, 0, &done);
	else
		r = mf_op_copy(d->uffd, dst, d->zeros, page_size, 0, &done);

	if (r == 0)
		mf_add(&d->sh->pages_zero, page_size / MF_PAGE_SIZE);
	else
		mf_op_wake(d->uffd, dst, page_size);
}

/* Let the drainer go on around here, and drop what is now there twice. */
static void tell_drainer(struct mf_drain *d, const struct mf_drain_region *r, u64 src, u64 len)
{
	struct mf_hot_queue *hot = &d->hot;
	struct mf_drop_queue *drop = &d->drop;
	u32 block = r->first_block + (u32)(src / MF_BLOCK_SIZE - r->src / MF_BLOCK_SIZE);

	if (hot->head - mf_load(&hot->tail) < MF_HOT_QUEUE) {
		hot->block[hot->head % MF_HOT_QUEUE] = block;
		mf_store(&hot->head, hot->head + 1);
	}
	/*
	 * A full queue does no harm: the block's turn drops the page too. Out of a huge
	 * page nothing is dropped singly: it would be split, free no memory, and make the
	 * block's own turn slow.
	 */
	if (r->hugetlb || r->thp)
		return;
	for (; len && drop->head - mf_load(&drop->tail) < MF_DROP_QUEUE; len -= MF_PAGE_SIZE) {
		drop->page[drop->head % MF_DROP_QUEUE] = src;
		mf_store(&drop->head, drop->head + 1);
		src += MF_PAGE_SIZE;
	}
}

static int give_run(struct mf_drain *d, const struct mf_drain_region *r, u64 dst, u64 src,
		    u64 len, u64 *ret_done)
{
	bool draining = mf_load(&d->sh->word) == MF_WORD_COMMITTED;
	struct mf_mover *m = draining ? &d->mover : &d->copier;
	int out;

	out = mf_mover_give(m, dst, src, len, 0, ret_done);
	if (m != &d->copier && out == MF_BUSY) {
		m = &d->copier;
		out = mf_mover_give(m, dst, src, len, 0, ret_done);
	}
	if (out == MF_UNREADABLE) {
		m = &d->copier;
		out = mf_drain_rescue(d, dst, src, r->page_size, MF_BOUNCE_PILOT, ret_done);
	}
	if (*ret_done)
		mf_add(m->give == MF_ROUTE_XMOVE ? &d->sh->pages_give : &d->sh->pages_copy,
		       *ret_done / MF_PAGE_SIZE);
	return out == MF_EXISTS ? mf_drain_exists(d, r, dst) : out;
}

static void serve_from(struct mf_drain *d, const struct mf_drain_region *r, u64 dst, u64 src,
		       u64 len)
{
	u64 done;

	switch (give_run(d, r, dst, src, len, &done)) {
	case MF_MOVED:
	case MF_PARTLY: /* the page that was asked for is there */
		d->ahead_dst = dst + done;
		tell_drainer(d, r, src, done);
		break;
	case MF_CHANGING:
		/*
		 * Some thread of the successor is inside madvise() or the like, and has
		 * yet to run before a copy is let in. Nothing is kept here: woken, the
		 * thread faults again and the message comes back.
		 */
		mf_sys_futex_wait(&d->kick, mf_load(&d->kick), CHANGING_NAP_NS);
		mf_op_wake(d->uffd, dst, r->page_size);
		break;
	case MF_NO_MEMORY:
		mf_sys_futex_wait(&d->kick, mf_load(&d->kick), (s64)MF_NSEC_PER_MSEC);
		mf_op_wake(d->uffd, dst, r->page_size);
		break;
	case MF_UNREADABLE:
		mf_drain_poison(d, dst, r->page_size);
		break;
	case MF_EXISTS:
	case MF_GONE: /* no longer registered: it finds out itself */
		mf_op_wake(d->uffd, dst, r->page_size);
		break;
	default: /* not to be expected: again, but not as fast as we can */
		mf_sys_futex_wait(&d->kick, mf_load(&d->kick), (s64)MF_NSEC_PER_MSEC);
		mf_op_wake(d->uffd, dst, r->page_size);
		break;
	}
}

void mf_drain_fault(struct mf_drain *d, const struct mf_event *ev)
{
	const struct mf_seg *s = mf_drain_seg(d, ev->addr);
	const struct mf_drain_region *r;
	u64 start = mf_now_ns(), dst, src, run;

	mf_add(&d->sh->faults, 1);
	d->last_fault_ns = start;
	if (!s) {
		/* memory that mremap() added: it was never ours, and is zero */
		mf_drain_zeros(d, mf_align_down(ev->addr, MF_PAGE_SIZE), MF_PAGE_SIZE);
		return;
	}
	r = &d->region[s->region];
	dst = mf_align_down(ev->addr, r->page_size);
	src = s->src + (dst - s->dst);
	run = mf_drain_discarded(d, r, src) ? 0 : run_at(d, s, dst, src);
	if (run)
		serve_from(d, r, dst, src, run);
	else if (!r->hugetlb && (ev->flags & MF_FAULT_WRITE) && !mf_drain_discarded(d, r, src))
		/* a hole that is about to be written: cheaper as a page of its own at once */
		serve_from(d, r, dst, src, r->page_size);
	else
		mf_drain_zeros(d, dst, r->page_size);
	mf_hist_add(&d->sh->serve, mf_now_ns() - start);
}

/* ------------------------------------------------------------------- hints */

static void hint_range(struct mf_drain *d, u64 dst, u64 len)
{
	u64 at = mf_align_down(dst, MF_PAGE_SIZE), end = dst + len;
	const struct mf_drain_region *r;
	const struct mf_seg *s;
	u32 block, n;

	for (n = 0; at < end && n < MF_HOT_QUEUE; n++, at += MF_BLOCK_SIZE) {
		s = mf_drain_seg(d, at);
		if (!s)
			continue;
		r = &d->region[s->region];
		block = r->first_block + (u32)((s->src + (at - s->dst)) / MF_BLOCK_SIZE -
					       r->src / MF_BLOCK_SIZE);
		if (d->hot.head - mf_load(&d->hot.tail) >= MF_HOT_QUEUE)
			return;
		d->hot.block[d->hot.head % MF_HOT_QUEUE] = block;
		mf_store(&d->hot.head, d->hot.head + 1);
	}
}

/* Whatever stands in the ring is only a wish: ranges outside the regions are skipped. */
void mf_drain_hints(struct mf_drain *d)
{
	struct mf_shared *sh = d->sh;
	u32 head = mf_load(&sh->hint_head), n;

	for (n = 0; sh->hint_tail != head && n < MF_HINTS; n++) {
		struct mf_shared_range h = sh->hint[sh->hint_tail % MF_HINTS];

		mf_store(&sh->hint_tail, sh->hint_tail + 1);
		if (!mf_range_bad(h.addr, h.len))
			hint_range(d, h.addr, h.len);
	}
}
