/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fetcher's side towards its own space: faults, discards, and pages put in place. */
#include "handover/tcp_fetch.h"
#include "uffd/event.h"

#include "base/faultpath.h"

#define NAP_NS ((s64)MF_NSEC_PER_MSEC)

static void set_bit(u64 *bits, u64 i)
{
	bits[i / 64] |= (u64)1 << (i % 64);
}

static void clear_bit(u64 *bits, u64 i)
{
	bits[i / 64] &= ~((u64)1 << (i % 64));
}

/* ------------------------------------------------------------------ asking */

static bool ask(struct mf_fetch *f, struct mf_tx *tx, u32 wire, u64 offset, u64 len)
{
	struct mf_msg_page_req q = { .region = wire, .offset = offset, .len = len };
	struct mf_wire_header h;
	size_t size;
	u8 *at;

	if (!mf_tx_room(tx))
		return false;
	at = mf_tx_at(tx, &h, &size);
	mf_tx_put(tx, mf_wire_encode_page_req(at, size, &h, &q));
	return true;
}

static void start_clock(struct mf_fetch *f, u64 unit, u64 now)
{
	u32 i;

	for (i = 0; i < MF_FETCH_TIMED; i++) {
		if (f->timed[i].unit)
			continue;
		f->timed[i].unit = unit + 1;
		f->timed[i].ns = now;
		return;
	}
}

static void stop_clock(struct mf_fetch *f, u64 unit)
{
	u32 i;

	for (i = 0; i < MF_FETCH_TIMED; i++) {
		if (f->timed[i].unit != unit + 1)
			continue;
		mf_hist_add(&f->sh->serve, mf_now_ns() - f->timed[i].ns);
		f->timed[i].unit = 0;
		return;
	}
}

static void on_fault(struct mf_fetch *f, const struct mf_event *ev)
{
	const struct mf_seg *s = mf_drain_seg(f->d, ev->addr);
	const struct mf_drain_region *r;
	u64 dst, src, unit;

	mf_add(&f->sh->faults, 1);
	if (!s) {
		/* memory that mremap() added: it was never the source's, and is zero */
		mf_drain_zeros(f->d, mf_align_down(ev->addr, MF_PAGE_SIZE), MF_PAGE_SIZE);
		return;
	}
	r = &f->d->region[s->region];
	dst = mf_align_down(ev->addr, r->page_size);
	src = s->src + (dst - s->dst);
	unit = mf_fetch_unit(r, src);
	if (mf_drain_discarded(f->d, r, src)) {
		mf_drain_zeros(f->d, dst, r->page_size);
	} else if (mf_fetch_bit(f->got, unit)) {
		mf_op_wake(f->d->uffd, dst, r->page_size); /* it came meanwhile */
	} else if (!mf_fetch_bit(f->asked, unit)) {
		if (!ask(f, &f->urgent_tx, f->wire[s->region], src - r->src, r->page_size)) {
			mf_op_wake(f->d->uffd, dst, r->page_size); /* to fault again */
			return;
		}
		set_bit(f->asked, unit);
		f->n_waiting++;
		start_clock(f, unit, mf_now_ns());
	}
}

/*
 * Who waits for a page in a range that was discarded or moved must ask again: for the page
 * comes to another place now, or not at all.
 */
static void on_event(struct mf_fetch *f, const struct mf_event *ev)
{
	mf_drain_event(f->d, ev);
	if (ev->kind == MF_EVENT_REMOVE || ev->kind == MF_EVENT_REMAP)
		mf_op_wake(f->d->uffd, ev->addr, ev->len);
}

void mf_fetch_read_uffd(struct mf_fetch *f)
{
	struct mf_event ev[MF_UFFD_BATCH];
	long n, i;

	do {
		n = mf_event_read(f->d->uffd, ev, MF_UFFD_BATCH);
		/* events first: a fault beside one may be about what it has changed */
		for (i = 0; i < n; i++)
			if (ev[i].kind != MF_EVENT_FAULT)
				on_event(f, &ev[i]);
		for (i = 0; i < n; i++)
			if (ev[i].kind == MF_EVENT_FAULT)
				on_fault(f, &ev[i]);
	} while (n == MF_UFFD_BATCH);
}

/* ------------------------------------------------------------------- hints */

static void hint_range(struct mf_fetch *f, u64 at, u64 end)
{
	const struct mf_drain_region *r;
	const struct mf_seg *s;
	u64 from, to;

	while (at < end) {
		s = mf_drain_seg(f->d, at);
		if (!s)
			return;
		r = &f->d->region[s->region];
		to = mf_min(end, s->dst + s->len);
		from = s->src + (mf_align_down(at, r->page_size) - s->dst) - r->src;
		if (!ask(f, &f->bulk_tx, f->wire[s->region], from,
			 mf_align_up(s->src + (to - s->dst) - r->src - from, r->page_size)))
			return;
		at = to;
	}
}

/* Only a wish, asked for on the bulk connection: the source moves it to the front there. */
void mf_fetch_hints(struct mf_fetch *f)
{
	struct mf_shared *sh = f->sh;
	u32 head = mf_load(&sh->hint_head), n;

	for (n = 0; sh->hint_tail != head && n < MF_HINTS; n++) {
		struct mf_shared_range h = sh->hint[sh->hint_tail % MF_HINTS];

		mf_store(&sh->hint_tail, sh->hint_tail + 1);
		if (!mf_range_bad(h.addr, h.len))
			hint_range(f, h.addr, h.addr + h.len);
	}
}

/* ----------------------------------------------------------------- placing */

static void note_got(struct mf_fetch *f, const struct mf_drain_region *r, u64 src)
{
	u64 unit = mf_fetch_unit(r, src);

	if (mf_fetch_bit(f->got, unit))
		return;
	set_bit(f->got, unit);
	f->bytes_got += r->page_size;
	mf_store(&f->sh->bytes_done, f->bytes_got);
	if (!mf_fetch_bit(f->asked, unit))
		return;
	clear_bit(f->asked, unit);
	f->n_waiting--;
	stop_clock(f, unit);
}

/* The segment that holds @src of region number @index; regions are few, moves are rare. */
static const struct mf_seg *seg_of(const struct mf_drain *d, u32 index, u64 src)
{
	u32 i;

	for (i = 0; i < d->n_segs; i++)
		if (d->seg[i].region == index && src - d->seg[i].src < d->seg[i].len)
			return &d->seg[i];
	return NULL;
}

/* How much of [src, src + len) can be placed in one call. 0: @src itself is not wanted. */
static u64 wanted(const struct mf_fetch *f, const struct mf_drain_region *r, u64 src, u64 len,
		  u64 *ret_dst)
{
	const struct mf_seg *s = seg_of(f->d, (u32)(r - f->d->region), src);
	u64 at, end;

	if (!s)
		return 0; /* unmapped, and something else lies there */
	*ret_dst = s->dst + (src - s->src);
	end = mf_min(src + len, s->src + s->len);
	for (at = src; at < end && !mf_fetch_bit(f->got, mf_fetch_unit(r, at)) &&
		       !mf_drain_discarded(f->d, r, at);)
		at += r->page_size;
	return at - src;
}

/* What a refusal of the kernel means: how far to go on, and with what limit. */
static u64 refused(struct mf_fetch *f, const struct mf_drain_region *r, long err, u64 dst,
		   u64 tried, u64 *limit)
{
	switch (err) {
	case -EEXIST:
		mf_op_wake(f->d->uffd, dst, r->page_size);
		return r->page_size;
	case -EAGAIN:
		/* a thread is inside madvise() or the like: hear what it does first */
		mf_fetch_read_uffd(f);
		mf_sys_sched_yield();
		return 0;
	case -ENOMEM:
		mf_sys_ppoll(NULL, 0, NAP_NS);
		mf_add(&f->sh->beat, 1);
		return 0;
	case -ENOENT:
	case -EINVAL:
		/* across a border of mappings, or nothing is mapped there any more */
		if (tried == r->page_size)
			return r->page_size;
		*limit = r->page_size;
		return 0;
	case -ESRCH:
		mf_sys_exit_group(2); /* the space is gone */
	}
	mf_fetch_fail(f, MF_WHY_KERNEL);
}

static void put(struct mf_fetch *f, const struct mf_drain_region *r, u64 src, const u8 *data,
		u64 len)
{
	u64 at = 0, step, done, dst = 0, i, limit = len;
	long err;

	while (at < len) {
		step = wanted(f, r, src + at, mf_min(limit, len - at), &dst);
		if (!step) {
			note_got(f, r, src + at);
			at += r->page_size;
			continue;
		}
		err = mf_op_copy(f->d->uffd, dst, (u64)(data + at), step, 0, &done);
		mf_add(&f->sh->pages_copy, done / MF_PAGE_SIZE);
		for (i = 0; i < done; i += r->page_size)
			note_got(f, r, src + at + i);
		at += done;
		if (err == 0 || (err == -EAGAIN && done))
			continue;
		step = refused(f, r, err, dst + done, step - done, &limit);
		if (step)
			note_got(f, r, src + at);
		at += step;
	}
}

/*
 * A hole stays one: nothing is placed, but who waits for it, or comes later, gets zeros at
 * once.
 */
static void put_zeros(struct mf_fetch *f, const struct mf_drain_region *r, u64 src, u64 len)
{
	bool waited;
	u64 at, dst;

	for (at = src; at < src + len; at += r->page_size) {
		u64 unit = mf_fetch_unit(r, at);

		if (mf_fetch_bit(f->got, unit))
			continue;
		waited = mf_fetch_bit(f->asked, unit);
		if (wanted(f, r, at, r->page_size, &dst)) {
			set_bit(f->d->zero_bits, unit);
			if (waited)
				mf_drain_zeros(f->d, dst, r->page_size);
			else
				mf_add(&f->sh->pages_zero, r->page_size / MF_PAGE_SIZE);
		}
		note_got(f, r, at);
	}
}

static void put_poison(struct mf_fetch *f, const struct mf_drain_region *r, u64 src, u64 len)
{
	u64 at, dst, done;
	u32 tries;
	long err = 0;

	for (at = src; at < src + len; at += r->page_size) {
		for (tries = 0; tries < 1000 && wanted(f, r, at, r->page_size, &dst); tries++) {
			err = mf_op_poison(f->d->uffd, dst, r->page_size, 0, &done);
			if (err != -EAGAIN)
				break;
			mf_fetch_read_uffd(f);
			mf_sys_sched_yield();
		}
		if (err && err != -EEXIST && err != -ENOENT)
			mf_fetch_fail(f, MF_WHY_KERNEL);
		mf_add(&f->sh->pages_poisoned, err ? 0 : r->page_size / MF_PAGE_SIZE);
		note_got(f, r, at);
	}
}

void mf_fetch_page(struct mf_fetch *f, const struct mf_wire_header *h, const u8 *payload)
{
	const u8 *data = payload + MF_WIRE_PAGE_FIXED_BYTES;
	const struct mf_drain_region *r;
	struct mf_msg_page m;

	if (mf_wire_decode_page(payload, h->len, &m) || m.region >= f->n_wire)
		mf_fetch_fail(f, MF_WHY_NONSENSE);
	r = &f->d->region[f->local[m.region]];
	if (m.offset >= r->len || m.len > r->len - m.offset ||
	    !mf_is_aligned(m.offset | m.len, r->page_size))
		mf_fetch_fail(f, MF_WHY_NONSENSE);
	if (m.flags & MF_WIRE_PAGE_ZERO) {
		put_zeros(f, r, r->src + m.offset, m.len);
	} else if (m.flags & MF_WIRE_PAGE_POISON) {
		put_poison(f, r, r->src + m.offset, m.len);
	} else {
		if (mf_crc32c(0, data, m.len) != m.crc)
			mf_fetch_fail(f, MF_WHY_CHECKSUM);
		put(f, r, r->src + m.offset, data, m.len);
	}
	mf_fetch_ack(f, m.region, m.offset, m.len);
}
