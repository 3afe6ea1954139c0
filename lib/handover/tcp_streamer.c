/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The streamer: sends what is left, takes acknowledgements, drops what was acknowledged. */
#include <asm/errno.h>

#include "base/gate.h"
#include "handover/tcp_drain.h"

#include "base/faultpath.h"

#define PM_POPULATED (((u64)1 << 63) | ((u64)1 << 62))

/*
 * So much may be on its way without an acknowledgement: enough for a fast network's delay,
 * little enough to be no second copy of the memory.
 */
#define WINDOW_PAGES (8 * MF_MIB / MF_PAGE_SIZE)
/*
 * How much goes into one frame, in pages. The successor handles a frame as a whole before
 * it looks for faults again, so frames are small while there are faults.
 */
#define FRAME_QUIET 128
#define FRAME_BUSY 16
#define BUSY_NS (500 * MF_NSEC_PER_USEC)
#define IDLE_NS ((s64)100 * MF_NSEC_PER_MSEC)

/* ------------------------------------------------------------------- where */

static const struct mf_tcp_region *region_of(const struct mf_tcp_drain *d, u64 page)
{
	u32 lo = 0, hi = d->n_regions, mid;

	while (lo + 1 < hi) {
		mid = (lo + hi) / 2;
		if (d->region[mid].first_page <= page)
			lo = mid;
		else
			hi = mid;
	}
	return &d->region[lo];
}

static u64 addr_of(const struct mf_tcp_region *r, u64 page)
{
	return r->src + (page - r->first_page) * MF_PAGE_SIZE;
}

static u64 page_at(const struct mf_tcp_region *r, u64 addr)
{
	return r->first_page + (addr - r->src) / MF_PAGE_SIZE;
}

static bool sent(const struct mf_tcp_drain *d, u64 page)
{
	return mf_bit(d->streamed, page) || mf_bit(d->answered, page) || mf_bit(d->acked, page);
}

/* The block around a page becomes what is streamed next. */
static void aim(struct mf_tcp_drain *d, u64 page)
{
	const struct mf_tcp_region *r = region_of(d, page);
	u64 block = mf_align_down(addr_of(r, page), MF_BLOCK_SIZE);

	d->at = page_at(r, mf_max(block, r->src));
	d->end = page_at(r, mf_min(block + MF_BLOCK_SIZE, r->src + r->len));
	d->map_first = MF_TCP_NONE;
}

static bool aim_hot(struct mf_tcp_drain *d)
{
	u64 page;

	if (d->hot.tail != mf_load(&d->hot.head)) {
		page = d->hot.page[d->hot.tail % MF_TCP_HOT];
		mf_store(&d->hot.tail, d->hot.tail + 1);
	} else if (d->wish_tail != d->wish_head) {
		page = d->wish[d->wish_tail++ % MF_TCP_WISHES];
	} else {
		return false;
	}
	aim(d, page);
	return true;
}

/* Move to the next page that was not sent. False: there is none. */
static bool advance(struct mf_tcp_drain *d)
{
	for (;;) {
		for (; d->at < d->end; d->at++)
			if (!sent(d, d->at))
				return true;
		if (aim_hot(d))
			continue;
		if (d->next == d->n_pages)
			return false;
		aim(d, d->next);
		d->next = d->end;
	}
}

/* -------------------------------------------------------------------- what */

/* The pagemap entries of the pages that are being streamed. */
static bool populated(struct mf_tcp_drain *d, const struct mf_tcp_region *r, u64 page)
{
	u64 n = d->end - page, i;

	if (d->map_first == MF_TCP_NONE) {
		for (i = 0; i < n; i++)
			d->map[i] = PM_POPULATED; /* if it cannot be known, sending is right */
		mf_sys_pread(d->pagemap, d->map, n * 8, addr_of(r, page) / MF_PAGE_SIZE * 8);
		d->map_first = page;
	}
	return d->map[page - d->map_first] & PM_POPULATED;
}

/* As page flags: ZERO, POISON, or 0 for one with contents. */
static u32 kind_of(struct mf_tcp_drain *d, const struct mf_tcp_region *r, u64 page)
{
	if (!populated(d, r, page))
		return MF_WIRE_PAGE_ZERO;
	if (!r->readable)
		return mf_tcp_read_hidden(d, addr_of(r, page), d->hidden_buf, r->page_size)
			       ? 0
			       : MF_WIRE_PAGE_POISON;
	return mf_tcp_is_zero((const void *)addr_of(r, page), r->page_size) ? MF_WIRE_PAGE_ZERO
									    : 0;
}

static u64 frame_limit(const struct mf_tcp_drain *d, const struct mf_tcp_region *r, u32 kind)
{
	u64 last = __atomic_load_n(&d->last_request_ns, __ATOMIC_RELAXED);
	u64 pages = FRAME_QUIET;

	if (!r->readable)
		return 1; /* what hidden_buf holds */
	if (kind)
		return d->end - d->at; /* without bytes */
	if (last && mf_now_ns() - last < BUSY_NS)
		pages = FRAME_BUSY;
	return mf_max(pages, r->page_size / MF_PAGE_SIZE);
}

/* The pages from d->at on that go into one frame. */
static u64 run_of(struct mf_tcp_drain *d, const struct mf_tcp_region *r, u32 kind)
{
	u64 step = r->page_size / MF_PAGE_SIZE, limit = frame_limit(d, r, kind), n = step;

	while (n < limit && d->at + n < d->end && !sent(d, d->at + n) &&
	       kind_of(d, r, d->at + n) == kind)
		n += step;
	return n;
}

static void count_sent(struct mf_tcp_drain *d, u32 kind, u64 n)
{
	u64 *counter = kind == MF_WIRE_PAGE_ZERO     ? &d->sh->pages_zero
		       : kind == MF_WIRE_PAGE_POISON ? &d->sh->pages_poisoned
						     : &d->sh->pages_copy;
	u64 i;

	for (i = 0; i < n; i++)
		mf_bit_set(d->streamed, d->at + i);
	d->in_flight += n;
	mf_add(counter, n);
}

static struct mf_wire_header next_header(struct mf_tcp_drain *d)
{
	return (struct mf_wire_header){
		.version = MF_WIRE_VERSION_MAX,
		.epoch = d->epoch,
		.seq = d->bulk_seq++,
	};
}

static void frame_empty(struct mf_tcp_drain *d, u16 type)
{
	struct mf_wire_header h = next_header(d);

	mf_wire_encode_empty(d->head, sizeof(d->head), &h, type);
	d->iov[0] = (struct iovec){ d->head, MF_WIRE_HEADER_BYTES };
	d->n_iov = 1;
}

static void frame_pages(struct mf_tcp_drain *d)
{
	const struct mf_tcp_region *r = region_of(d, d->at);
	u32 kind = kind_of(d, r, d->at);
	u64 n = run_of(d, r, kind), src = addr_of(r, d->at);
	struct mf_wire_header h = next_header(d);
	struct mf_msg_page m = {
		.region = (u32)(r - d->region),
		.flags = kind,
		.offset = src - r->src,
		.len = n * MF_PAGE_SIZE,
	};
	void *from;

	d->n_iov = 1;
	if (!kind) {
		from = r->readable ? (void *)src : d->hidden_buf;
		m.crc = mf_crc32c(0, from, m.len);
		d->iov[1] = (struct iovec){ from, m.len };
		d->n_iov = 2;
	}
	mf_wire_encode_page(d->head, sizeof(d->head), &h, &m);
	d->iov[0] = (struct iovec){ d->head, sizeof(d->head) };
	count_sent(d, kind, n);
	d->at += n;
}

/* The next frame to send, if there is one and the window allows. */
static void next_frame(struct mf_tcp_drain *d)
{
	if (d->in_flight >= WINDOW_PAGES || d->drained_sent)
		return;
	if (advance(d)) {
		frame_pages(d);
	} else {
		frame_empty(d, MF_MSG_DRAINED);
		d->drained_sent = true;
	}
}

/* --------------------------------------------------------- acknowledgements */

/*
 * Pages are dropped by the block: what is dropped singly costs an interrupt of the other
 * CPUs each, and takes huge pages apart.
 */
static void drop_block(struct mf_tcp_drain *d, const struct mf_tcp_region *r, u64 page)
{
	u64 base = mf_align_down(addr_of(r, page), MF_BLOCK_SIZE);
	u64 start = mf_max(base, r->src), end = mf_min(base + MF_BLOCK_SIZE, r->src + r->len);
	struct mf_drain_region as = { .hugetlb = r->hugetlb };

	mf_drain_drop(&as, start, end - start);
	mf_add(&d->sh->pages_released, (end - start) / MF_PAGE_SIZE);
}

static void count_acked(struct mf_tcp_drain *d, const struct mf_tcp_region *r, u64 page)
{
	u64 addr = addr_of(r, page), base = mf_align_down(addr, MF_BLOCK_SIZE), n;
	u16 *count =
		&d->block_acked[r->first_block + addr / MF_BLOCK_SIZE - r->src / MF_BLOCK_SIZE];

	d->n_acked++;
	if (mf_bit(d->streamed, page))
		d->in_flight--;
	mf_add(&d->sh->bytes_done, MF_PAGE_SIZE);
	n = (mf_min(base + MF_BLOCK_SIZE, r->src + r->len) - mf_max(base, r->src)) /
	    MF_PAGE_SIZE;
	if (++*count == n)
		drop_block(d, r, page);
}

static void on_ack(struct mf_tcp_drain *d, const struct mf_msg_ack *a)
{
	const struct mf_tcp_region *r = mf_tcp_piece(d, a->region, a->offset, a->len);
	u64 page, end, from;

	if (!r)
		mf_tcp_leave(d, 3);
	page = r->first_page + a->offset / MF_PAGE_SIZE;
	end = page + a->len / MF_PAGE_SIZE;
	while (page < end) {
		for (; page < end && mf_bit(d->acked, page); page++)
			;
		mf_gate_lock(&d->gate);
		for (from = page;
		     page < end && page - from < MF_BLOCK_PAGES && !mf_bit(d->acked, page);
		     page++)
			mf_bit_set(d->acked, page);
		mf_gate_unlock(&d->gate);
		for (; from < page; from++)
			count_acked(d, r, from);
	}
}

/* The successor's application would like this soon: no answer of its own. */
static void on_wish(struct mf_tcp_drain *d, const struct mf_msg_page_req *q)
{
	const struct mf_tcp_region *r = mf_tcp_piece(d, q->region, q->offset, q->len);
	u64 at;

	if (!r)
		mf_tcp_leave(d, 3);
	for (at = q->offset; at < q->offset + q->len; at += MF_BLOCK_SIZE) {
		if (d->wish_head - d->wish_tail == MF_TCP_WISHES)
			return;
		d->wish[d->wish_head++ % MF_TCP_WISHES] = r->first_page + at / MF_PAGE_SIZE;
	}
}

static void on_frame(struct mf_tcp_drain *d, const struct mf_wire_header *h, const u8 *payload)
{
	struct mf_msg_page_req q;
	struct mf_msg_ack a;

	if (h->type == MF_MSG_ACK && !mf_wire_decode_ack(payload, h->len, &a))
		on_ack(d, &a);
	else if (h->type == MF_MSG_PAGE_REQ && !mf_wire_decode_page_req(payload, h->len, &q))
		on_wish(d, &q);
	else
		mf_tcp_leave(d, 3); /* also an ABORT: it did not learn of the commit in time */
}

static void __attribute__((noreturn)) finish(struct mf_tcp_drain *d)
{
	if (d->n_acked < d->n_pages || !d->drained_sent)
		mf_tcp_leave(d, 2); /* the successor is gone, and not because it has all */
	mf_store(&d->sh->t_drained_ns, mf_now_ns());
	mf_cas32(&d->sh->phase, MF_PHASE_DRAIN, MF_PHASE_DRAINED);
	mf_tcp_leave(d, 0);
}

/* Only between frames: what an acknowledgement drops must not be half sent. */
static void take_acks(struct mf_tcp_drain *d)
{
	struct mf_wire_header h;
	const u8 *payload;
	long r;

	while ((r = mf_rx_fill(&d->bulk_rx)) == 0) {
		d->last_sign_ns = mf_now_ns();
		while ((r = mf_rx_frame(&d->bulk_rx, &h, &payload)) == 1) {
			on_frame(d, &h, payload);
			mf_rx_next(&d->bulk_rx, &h);
		}
		if (r < 0)
			mf_tcp_leave(d, 3);
	}
	if (r == -EPIPE)
		finish(d);
}

/* -------------------------------------------------------------------- loop */

static void wait_for_peer(struct mf_tcp_drain *d)
{
	struct pollfd p = { .fd = d->bulk_rx.sock, .events = d->n_iov ? POLLOUT : POLLIN };
	u64 before = mf_now_ns(), now;

	mf_task_poll(&p, 1, (s64)mf_min((u64)IDLE_NS, d->stall_ns / 4));
	now = mf_now_ns();
	/* time in which we ourselves did not run does not count against it */
	if (now - before > d->stall_ns / 2)
		d->last_sign_ns += now - before;
	if (now > d->last_sign_ns && now - d->last_sign_ns > d->stall_ns)
		mf_tcp_leave(d, 2);
}

int mf_tcp_streamer_main(void *drain)
{
	struct mf_tcp_drain *d = drain;
	int r;

	while (mf_load(&d->sh->word) != MF_WORD_COMMITTED)
		mf_sys_futex_wait(&d->kick, 0, IDLE_NS);
	d->last_sign_ns = mf_now_ns();
	frame_empty(d, MF_MSG_COMMITTED);
	for (;;) {
		if (!d->n_iov) {
			take_acks(d);
			next_frame(d);
		}
		if (!d->n_iov) {
			wait_for_peer(d);
			continue;
		}
		r = mf_iov_push(d->bulk_rx.sock, d->iov, d->n_iov);
		if (r < 0)
			finish(d);
		if (r == 1)
			d->n_iov = 0;
		else
			wait_for_peer(d);
	}
}
