/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fetcher's side towards its own space: faults, discards, and pages put in place. */
#include "base/gate.h"
#include "handover/tcp_fetch.h"
#include "uffd/event.h"

#include "base/faultpath.h"

#define AHEAD_MAX ((u64)16)
/* As in drain_block.c: how much is copied while the gate is held, in pages. */
#define BITE_QUIET 64
#define BITE_BUSY 16
#define BUSY_NS (500 * MF_NSEC_PER_USEC)
#define STAND_BACK_SPINS 2000
#define STAND_BACK_NS ((s64)50 * MF_NSEC_PER_USEC)
#define CHANGING_NAP_NS ((s64)20 * MF_NSEC_PER_USEC)
#define MEMORY_NAP_NS ((s64)MF_NSEC_PER_MSEC)

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

/*
 * How many pages from @dst on to ask for: one where faults jump, more where they walk
 * forward through memory.
 */
static u64 ahead(struct mf_fetch *f, const struct mf_seg *s, u64 dst, u64 src)
{
	const struct mf_drain_region *r = &f->d->region[s->region];
	u64 n, i, unit = mf_fetch_unit(r, src);

	f->ahead = dst == f->ahead_dst ? mf_min(2 * f->ahead, AHEAD_MAX) : 1;
	n = r->hugetlb ? 1 : mf_min(f->ahead, (s->dst + s->len - dst) / r->page_size);
	for (i = 1; i < n; i++)
		if (mf_fetch_bit(f->got, unit + i) || mf_fetch_bit(f->asked, unit + i))
			break;
	f->ahead_dst = dst + i * r->page_size;
	return i;
}

static void ask_around(struct mf_fetch *f, const struct mf_seg *s, u64 dst, u64 src)
{
	const struct mf_drain_region *r = &f->d->region[s->region];
	u64 n = ahead(f, s, dst, src), unit = mf_fetch_unit(r, src), i;

	if (!ask(f, &f->urgent_tx, f->wire[s->region], src - r->src, n * r->page_size)) {
		mf_op_wake(f->d->uffd, dst, r->page_size); /* to fault again */
		return;
	}
	for (i = 0; i < n; i++)
		set_bit(f->asked, unit + i);
	f->n_waiting += n;
	start_clock(f, unit, f->last_fault_ns);
}

static void on_fault(struct mf_fetch *f, const struct mf_event *ev)
{
	const struct mf_seg *s = mf_drain_seg(f->d, ev->addr);
	const struct mf_drain_region *r;
	u64 dst, src, unit;

	mf_add(&f->sh->faults, 1);
	__atomic_store_n(&f->last_fault_ns, mf_now_ns(), __ATOMIC_RELAXED);
	if (!s) {
		/* memory that mremap() added: it was never the source's, and is zero */
		mf_drain_zeros(f->d, mf_align_down(ev->addr, MF_PAGE_SIZE), MF_PAGE_SIZE);
		return;
	}
	r = &f->d->region[s->region];
	dst = mf_align_down(ev->addr, r->page_size);
	src = s->src + (dst - s->dst);
	unit = mf_fetch_unit(r, src);
	if (mf_drain_discarded(f->d, r, src))
		mf_drain_zeros(f->d, dst, r->page_size);
	else if (mf_fetch_bit(f->got, unit))
		mf_op_wake(f->d->uffd, dst, r->page_size); /* it came meanwhile */
	else if (!mf_fetch_bit(f->asked, unit))
		ask_around(f, s, dst, src);
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

static void read_under_gate(struct mf_fetch *f)
{
	struct mf_event ev[MF_INBOX];
	long n, i;

	do {
		n = mf_drain_inbox(f->d, ev);
		/* events first: a fault beside one may be about what it has changed */
		for (i = 0; i < n; i++)
			if (ev[i].kind != MF_EVENT_FAULT)
				on_event(f, &ev[i]);
		mf_store(&f->sh->inbox_open, 0);
		for (i = 0; i < n; i++)
			if (ev[i].kind == MF_EVENT_FAULT)
				on_fault(f, &ev[i]);
		if (n > 0 && ev[n - 1].kind == MF_EVENT_FAULT)
			f->last_tid = ev[n - 1].tid;
	} while (n == MF_INBOX);
}

/*
 * Announced, because else the receiver would have the gate again before a pilot that waits
 * for it is awake, and again, and again.
 */
static void pilot_lock(struct mf_fetch *f)
{
	mf_store(&f->wanted, 1);
	mf_gate_lock(&f->gate);
}

static void pilot_unlock(struct mf_fetch *f)
{
	mf_gate_unlock(&f->gate);
	mf_store(&f->wanted, 0);
}

void mf_fetch_read_uffd(struct mf_fetch *f)
{
	pilot_lock(f);
	read_under_gate(f);
	pilot_unlock(f);
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

/* Under the gate for the tables; what is asked is only queued. */
static void hint_gated(struct mf_fetch *f, u64 at, u64 end)
{
	mf_gate_lock(&f->gate);
	hint_range(f, at, end);
	mf_gate_unlock(&f->gate);
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
			hint_gated(f, h.addr, h.addr + h.len);
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

/* ---- each thread in its own way: the pilot has the gate throughout a frame, the receiver
 * takes it bite by bite */

static void lock_bite(struct mf_fetch *f, bool pilot)
{
	int i;

	if (pilot)
		return;
	for (i = 0; i < STAND_BACK_SPINS && mf_load(&f->wanted); i++)
		mf_cpu_relax();
	while (mf_load(&f->wanted))
		mf_sys_futex_wait(&f->wanted, 1, STAND_BACK_NS);
	mf_gate_lock(&f->gate);
}

static void unlock_bite(struct mf_fetch *f, bool pilot)
{
	if (!pilot)
		mf_gate_unlock(&f->gate);
}

static u64 bite_limit(const struct mf_fetch *f, const struct mf_drain_region *r, bool pilot)
{
	u64 last = __atomic_load_n(&f->last_fault_ns, __ATOMIC_RELAXED);
	bool busy = last && mf_now_ns() - last < BUSY_NS;

	return mf_max((pilot || busy ? BITE_BUSY : BITE_QUIET) * MF_PAGE_SIZE, r->page_size);
}

/* A thread is inside madvise() or the like: it goes on when the pilot has read of it. */
static void let_change(struct mf_fetch *f, bool pilot)
{
	if (pilot)
		read_under_gate(f);
	mf_sys_ppoll(NULL, 0, CHANGING_NAP_NS);
}

/* What a refusal of the kernel means: how far to go on, and after what. Not under the gate,
 * but for the pilot. */
static u64 refused(struct mf_fetch *f, const struct mf_drain_region *r, long err, u64 tried,
		   bool pilot, bool *ret_singly)
{
	switch (err) {
	case -EEXIST:
		return r->page_size;
	case -EAGAIN:
		let_change(f, pilot);
		return 0;
	case -ENOMEM:
		mf_sys_ppoll(NULL, 0, MEMORY_NAP_NS);
		mf_add(&f->sh->beat, 1);
		return 0;
	case -ENOENT:
	case -EINVAL:
		/* across a border of mappings, or nothing is mapped there any more */
		*ret_singly = true;
		return tried == r->page_size ? r->page_size : 0;
	case -ESRCH:
		mf_sys_exit_group(2); /* the space is gone */
	}
	mf_fetch_fail(f, MF_WHY_KERNEL);
}

/* One call's worth. Returns how much is done with; *ret_err is what stopped the rest. */
static u64 put_bite(struct mf_fetch *f, const struct mf_drain_region *r, u64 src,
		    const u8 *data, u64 len, u64 *ret_tried, long *ret_err)
{
	u64 dst = 0, n = wanted(f, r, src, len, &dst), done, i;

	*ret_err = 0;
	*ret_tried = n;
	if (!n) {
		note_got(f, r, src);
		return r->page_size;
	}
	*ret_err = mf_op_copy(f->d->uffd, dst, (u64)data, n, 0, &done);
	mf_add(&f->sh->pages_copy, done / MF_PAGE_SIZE);
	for (i = 0; i < done; i += r->page_size)
		note_got(f, r, src + i);
	if (*ret_err == -EEXIST && mf_drain_exists(f->d, r, dst + done) != MF_EXISTS)
		*ret_err = -ENOMEM;
	if (*ret_err == -EEXIST)
		mf_op_wake(f->d->uffd, dst + done, r->page_size);
	*ret_tried = n - done;
	return done;
}

static void put(struct mf_fetch *f, const struct mf_drain_region *r, u64 src, const u8 *data,
		u64 len, bool pilot)
{
	u64 at = 0, done, tried, skip;
	bool singly = false;
	long err;

	while (at < len) {
		u64 limit = singly ? r->page_size : bite_limit(f, r, pilot);

		lock_bite(f, pilot);
		done = put_bite(f, r, src + at, data + at, mf_min(limit, len - at), &tried,
				&err);
		at += done;
		if (err == -EEXIST)
			note_got(f, r, src + at);
		unlock_bite(f, pilot);
		if (!err || (err == -EAGAIN && done))
			continue;
		skip = refused(f, r, err, tried, pilot, &singly);
		if (!skip)
			continue;
		lock_bite(f, pilot);
		note_got(f, r, src + at);
		unlock_bite(f, pilot);
		at += skip;
	}
}

/*
 * A hole stays one: nothing is placed, but who waits for it, or comes later, gets zeros at
 * once. Under the gate.
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

/* One page; false: again, when what changes has changed. Under the gate. */
static bool put_poison(struct mf_fetch *f, const struct mf_drain_region *r, u64 src)
{
	u64 dst, done;
	long err = 0;

	if (wanted(f, r, src, r->page_size, &dst)) {
		err = mf_op_poison(f->d->uffd, dst, r->page_size, 0, &done);
		if (err == -EAGAIN)
			return false;
		if (err && err != -EEXIST && err != -ENOENT)
			mf_fetch_fail(f, MF_WHY_KERNEL);
		mf_add(&f->sh->pages_poisoned, err ? 0 : r->page_size / MF_PAGE_SIZE);
	}
	note_got(f, r, src);
	return true;
}

static void put_poisons(struct mf_fetch *f, const struct mf_drain_region *r, u64 src, u64 len,
			bool pilot)
{
	u64 at = 0;
	bool done;

	while (at < len) {
		lock_bite(f, pilot);
		done = put_poison(f, r, src + at);
		unlock_bite(f, pilot);
		if (done)
			at += r->page_size;
		else
			let_change(f, pilot);
	}
}

static void put_frame(struct mf_fetch *f, const struct mf_drain_region *r,
		      const struct mf_msg_page *m, const u8 *data, bool pilot)
{
	u64 src = r->src + m->offset;

	if (m->flags & MF_WIRE_PAGE_POISON) {
		put_poisons(f, r, src, m->len, pilot);
	} else if (m->flags & MF_WIRE_PAGE_ZERO) {
		lock_bite(f, pilot);
		put_zeros(f, r, src, m->len);
		unlock_bite(f, pilot);
	} else {
		if (mf_crc32c(0, data, m->len) != m->crc)
			mf_fetch_fail(f, MF_WHY_CHECKSUM);
		put(f, r, src, data, m->len, pilot);
	}
	lock_bite(f, pilot);
	mf_fetch_ack(f, m->region, m->offset, m->len);
	unlock_bite(f, pilot);
}

void mf_fetch_page(struct mf_fetch *f, struct mf_rx *rx, const struct mf_wire_header *h,
		   const u8 *payload)
{
	bool pilot = rx == &f->urgent_rx;
	const struct mf_drain_region *r;
	struct mf_msg_page m;

	if (mf_wire_decode_page(payload, h->len, &m) || m.region >= f->n_wire)
		mf_fetch_fail(f, MF_WHY_NONSENSE);
	r = &f->d->region[f->local[m.region]];
	if (m.offset >= r->len || m.len > r->len - m.offset ||
	    !mf_is_aligned(m.offset | m.len, r->page_size))
		mf_fetch_fail(f, MF_WHY_NONSENSE);
	if (pilot)
		pilot_lock(f);
	put_frame(f, r, &m, payload + MF_WIRE_PAGE_FIXED_BYTES, pilot);
	if (pilot)
		pilot_unlock(f);
}
