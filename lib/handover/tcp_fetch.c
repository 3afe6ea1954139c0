/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fetcher's loop and its side towards the source. */
#include "handover/tcp_fetch.h"

#include <asm/errno.h>

#include "base/sys.h"

#include "base/faultpath.h"

#define BEAT_NS ((s64)50 * MF_NSEC_PER_MSEC)
#define PAGE_ROOM (MF_WIRE_HEADER_BYTES + MF_WIRE_MAX_PAGE)
#define TX_ROOM (64 * MF_KIB)
/* Acknowledged at the latest; until then one frame says it of as much as lies together. */
#define ACK_BYTES (256 * MF_KIB)
#define ACK_FRAMES 64
#define LATE_STEP 4096

/* ------------------------------------------------------------------ tables */

struct sizes {
	u64 drain, local, wire, got, asked, bulk_rx, urgent_rx, bulk_tx, urgent_tx, total;
	u64 n_units;
};

static u64 take(u64 *at, u64 bytes, u64 align)
{
	u64 here = mf_align_up(*at, align);

	*at = here + bytes;
	return here;
}

static void measure(const struct mf_drain_region *region, u32 n, u32 n_wire, struct sizes *s)
{
	u64 at = sizeof(struct mf_fetch), bits;
	u32 i;

	s->n_units = 0;
	for (i = 0; i < n; i++)
		s->n_units += region[i].len / region[i].page_size;
	bits = (s->n_units + 63) / 64 * sizeof(u64);
	s->drain = take(&at, mf_drain_bytes(region, n), 64);
	s->local = take(&at, n_wire * sizeof(u32), 64);
	s->wire = take(&at, n * sizeof(u32), 64);
	s->got = take(&at, bits, 64);
	s->asked = take(&at, bits, 64);
	s->bulk_tx = take(&at, TX_ROOM, 64);
	s->urgent_tx = take(&at, TX_ROOM, 64);
	/* so that what follows a PAGE's head starts a page: the kernel copies it from there */
	s->bulk_rx = take(&at, PAGE_ROOM + MF_PAGE_SIZE, MF_PAGE_SIZE) + MF_PAGE_SIZE - MF_PAGE_HEAD;
	s->urgent_rx =
		take(&at, PAGE_ROOM + MF_PAGE_SIZE, MF_PAGE_SIZE) + MF_PAGE_SIZE - MF_PAGE_HEAD;
	s->total = mf_align_up(at, MF_PAGE_SIZE);
}

u64 mf_fetch_bytes(const struct mf_drain_region *region, u32 n_regions, u32 n_wire)
{
	struct sizes s;

	measure(region, n_regions, n_wire, &s);
	return s.total;
}

void mf_fetch_layout(struct mf_fetch *f, const struct mf_drain_region *region, u32 n_regions,
		     const u32 *wire, u32 n_wire)
{
	struct sizes s;
	u32 i;

	measure(region, n_regions, n_wire, &s);
	f->d = (void *)((u64)f + s.drain);
	mf_drain_layout(f->d, region, n_regions);
	f->n_wire = n_wire;
	f->n_units = s.n_units;
	f->local = (void *)((u64)f + s.local);
	f->wire = (void *)((u64)f + s.wire);
	f->got = (void *)((u64)f + s.got);
	f->asked = (void *)((u64)f + s.asked);
	for (i = 0; i < n_regions; i++) {
		f->wire[i] = wire[i];
		f->local[wire[i]] = i;
		f->bytes_total += region[i].len;
	}
	f->bulk_rx = (struct mf_rx){ .buf = (void *)((u64)f + s.bulk_rx), .room = PAGE_ROOM,
				     .eager = MF_PAGE_HEAD };
	f->urgent_rx = (struct mf_rx){ .buf = (void *)((u64)f + s.urgent_rx), .room = PAGE_ROOM,
				       .eager = MF_PAGE_HEAD + MF_PAGE_SIZE };
	f->bulk_tx = (struct mf_tx){ .buf = (void *)((u64)f + s.bulk_tx), .room = TX_ROOM };
	f->urgent_tx = (struct mf_tx){ .buf = (void *)((u64)f + s.urgent_tx), .room = TX_ROOM };
}

/* -------------------------------------------------------- acknowledgements */

void mf_fetch_ack(struct mf_fetch *f, u32 wire, u64 offset, u64 len)
{
	struct mf_fetch_ack *last = &f->ack[(f->ack_head - 1) % MF_FETCH_ACKS];

	if (f->word_seen != MF_WORD_COMMITTED)
		return; /* ack_late() makes up for it */
	f->ack_bytes += len;
	if (f->ack_head != f->ack_tail && last->region == wire &&
	    last->offset + last->len == offset) {
		last->len += len;
		return;
	}
	f->ack[f->ack_head++ % MF_FETCH_ACKS] = (struct mf_fetch_ack){ wire, offset, len };
}

/* From the commit on the bulk connection is ours to send on. */
static void send_acks(struct mf_fetch *f)
{
	struct mf_wire_header h;
	size_t size;
	u8 *at;

	while (f->ack_tail != f->ack_head && mf_tx_room(&f->bulk_tx)) {
		const struct mf_fetch_ack *a = &f->ack[f->ack_tail++ % MF_FETCH_ACKS];
		struct mf_msg_ack m = { .region = a->region, .offset = a->offset, .len = a->len };

		at = mf_tx_at(&f->bulk_tx, &h, &size);
		mf_tx_put(&f->bulk_tx, mf_wire_encode_ack(at, size, &h, &m));
	}
	if (f->ack_tail == f->ack_head)
		f->ack_bytes = 0;
}

/* What came before the commit, a piece at a time. Twice does no harm. */
static void ack_late(struct mf_fetch *f)
{
	const struct mf_drain_region *r;
	u64 n;

	for (n = 0; n < LATE_STEP && f->late_region < f->d->n_regions && mf_fetch_ack_room(f); n++) {
		r = &f->d->region[f->late_region];
		if (f->late_src >= r->len) {
			f->late_region++;
			f->late_src = 0;
			continue;
		}
		if (mf_fetch_bit(f->got, mf_fetch_unit(r, r->src + f->late_src)))
			mf_fetch_ack(f, f->wire[f->late_region], f->late_src, r->page_size);
		f->late_src += r->page_size;
	}
}

static bool all_acked(const struct mf_fetch *f)
{
	return f->ack_head == f->ack_tail && mf_tx_empty(&f->bulk_tx) &&
	       f->late_region == f->d->n_regions;
}

/* --------------------------------------------------------------- receiving */

void mf_fetch_fail(struct mf_fetch *f, enum mf_fetch_why why)
{
	/* our end closes both connections and lets the guard do the rest */
	mf_store(&f->why, (u32)why);
	mf_sys_exit_group(3);
}

static void on_frame(struct mf_fetch *f, struct mf_rx *rx, const struct mf_wire_header *h,
		     const u8 *payload)
{
	if (h->type == MF_MSG_PAGE)
		mf_fetch_page(f, h, payload);
	else if (h->type == MF_MSG_DRAINED && rx == &f->bulk_rx)
		f->drained = true;
	else
		mf_fetch_fail(f, MF_WHY_NONSENSE);
}

static void receive(struct mf_fetch *f, struct mf_rx *rx)
{
	struct mf_wire_header h;
	const u8 *payload;
	long r = mf_rx_fill(rx);

	if (r == -EPIPE && !f->complete)
		mf_fetch_fail(f, MF_WHY_CLOSED);
	if (r == -EPIPE)
		rx->sock = -1;
	if (r)
		return;
	f->last_sign_ns = mf_now_ns();
	while ((r = mf_rx_frame(rx, &h, &payload)) == 1) {
		on_frame(f, rx, &h, payload);
		mf_rx_next(rx, &h);
	}
	if (r < 0)
		mf_fetch_fail(f, MF_WHY_NONSENSE);
}

/* -------------------------------------------------------------------- loop */

static bool committed(const struct mf_fetch *f)
{
	return f->word_seen == MF_WORD_COMMITTED;
}

static void look_at_word(struct mf_fetch *f)
{
	u32 word = mf_load(&f->sh->word);

	if (word == f->word_seen)
		return;
	f->word_seen = word;
	if (word != MF_WORD_COMMITTED)
		mf_sys_exit_group(0);
	mf_cas32(&f->sh->phase, MF_PHASE_PREPARE, MF_PHASE_DRAIN);
	f->last_sign_ns = mf_now_ns();
}

static void look_for_the_end(struct mf_fetch *f)
{
	u64 one = 1;

	if (mf_load(&f->sh->phase) >= MF_PHASE_RELEASED)
		mf_sys_exit_group(0); /* closes both connections: the answer to DRAINED */
	if (f->complete || !f->drained || f->bytes_got < f->bytes_total || !all_acked(f))
		return;
	f->complete = true;
	mf_store(&f->sh->t_drained_ns, mf_now_ns());
	mf_cas32(&f->sh->phase, MF_PHASE_DRAIN, MF_PHASE_DRAINED);
	mf_sys_write(f->guard_bell, &one, sizeof(one));
}

/*
 * Silence is a loss while there is something to wait for. Time in which we did not run
 * ourselves counts little: after a pause of this machine the source gets another chance.
 */
static void look_for_silence(struct mf_fetch *f)
{
	bool waiting = !f->complete && (committed(f) || f->n_waiting);
	u64 now = mf_now_ns(), pause = now - f->last_loop_ns;

	f->last_loop_ns = now;
	if (!waiting || pause > f->stall_ns / 2)
		f->last_sign_ns = now;
	else if (now > f->last_sign_ns && now - f->last_sign_ns > f->stall_ns)
		mf_fetch_fail(f, MF_WHY_SILENT);
}

static void send_all(struct mf_fetch *f, bool idle)
{
	u32 n;

	if (committed(f)) {
		ack_late(f);
		n = f->ack_head - f->ack_tail;
		if (n && (idle || n >= ACK_FRAMES || f->ack_bytes >= ACK_BYTES))
			send_acks(f);
		if (mf_tx_push(&f->bulk_tx) && !f->complete)
			mf_fetch_fail(f, MF_WHY_CLOSED);
	}
	if (mf_tx_push(&f->urgent_tx) && !f->complete)
		mf_fetch_fail(f, MF_WHY_CLOSED);
}

enum { AT_UFFD, AT_URGENT, AT_BULK, AT_BELL, AT_MAIN, AT_MAX };

static void await(struct mf_fetch *f, struct pollfd *p)
{
	short in = mf_fetch_ack_room(f) ? POLLIN : 0;
	u32 i;

	p[AT_URGENT].fd = f->urgent_rx.sock;
	p[AT_URGENT].events = (short)(in | (mf_tx_empty(&f->urgent_tx) ? 0 : POLLOUT));
	p[AT_BULK].fd = committed(f) ? f->bulk_rx.sock : -1;
	p[AT_BULK].events = (short)(in | (mf_tx_empty(&f->bulk_tx) ? 0 : POLLOUT));
	for (i = 0; i < AT_MAX; i++)
		p[i].revents = 0;
	mf_sys_ppoll(p, AT_MAX,
		     committed(f) && f->late_region < f->d->n_regions ? 0 : BEAT_NS);
}

int mf_fetch_main(void *fetch)
{
	struct mf_fetch *f = fetch;
	struct pollfd p[AT_MAX] = {
		[AT_UFFD] = { .fd = f->d->uffd, .events = POLLIN },
		[AT_BELL] = { .fd = f->bell, .events = POLLIN },
		[AT_MAIN] = { .fd = f->d->peer_pidfd, .events = POLLIN },
	};
	u64 count;

	f->last_loop_ns = mf_now_ns();
	for (;;) {
		await(f, p);
		mf_add(&f->sh->beat, 1);
		if (p[AT_MAIN].revents)
			mf_sys_exit_group(0);
		if (p[AT_BELL].revents)
			mf_sys_read(f->bell, &count, sizeof(count));
		look_at_word(f);
		if (p[AT_BELL].revents && committed(f))
			mf_fetch_hints(f);
		if (p[AT_UFFD].revents)
			mf_fetch_read_uffd(f);
		mf_tx_push(&f->urgent_tx);
		if (p[AT_URGENT].revents & ~POLLOUT)
			receive(f, &f->urgent_rx);
		if (p[AT_BULK].revents & ~POLLOUT)
			receive(f, &f->bulk_rx);
		send_all(f, !(p[AT_BULK].revents & POLLIN));
		look_for_the_end(f);
		look_for_silence(f);
	}
}
