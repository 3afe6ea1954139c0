/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fetcher's receiver: from the commit on, the bulk connection in both directions. */
#include "base/gate.h"
#include "handover/tcp_fetch.h"

#include "base/faultpath.h"

#define BEAT_NS ((s64)50 * MF_NSEC_PER_MSEC)
/* Acknowledged at the latest; until then one frame says it of as much as lies together. */
#define ACK_BYTES (512 * MF_KIB)
#define ACK_FRAMES 64
#define LATE_STEP 4096

/* -------------------------------------------------------- acknowledgements */

void mf_fetch_ack(struct mf_fetch *f, u32 wire, u64 offset, u64 len)
{
	struct mf_fetch_ack *last = &f->ack[(f->ack_head - 1) % MF_FETCH_ACKS];

	if (mf_load(&f->word_seen) != MF_WORD_COMMITTED)
		return; /* ack_late() makes up for it */
	f->ack_bytes += len;
	if (f->ack_head != f->ack_tail && last->region == wire &&
	    last->offset + last->len == offset) {
		last->len += len;
		return;
	}
	f->ack[f->ack_head++ % MF_FETCH_ACKS] = (struct mf_fetch_ack){ wire, offset, len };
}

static void send_acks(struct mf_fetch *f)
{
	struct mf_wire_header h;
	size_t size;
	u8 *at;

	while (f->ack_tail != f->ack_head && mf_tx_room(&f->bulk_tx)) {
		const struct mf_fetch_ack *a = &f->ack[f->ack_tail++ % MF_FETCH_ACKS];
		struct mf_msg_ack m = { .region = a->region,
					.offset = a->offset,
					.len = a->len };

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

	for (n = 0; n < LATE_STEP && f->late_region < f->d->n_regions && mf_fetch_ack_room(f);
	     n++) {
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

static bool late_done(const struct mf_fetch *f)
{
	return f->late_region == f->d->n_regions;
}

static void acknowledge(struct mf_fetch *f, bool idle)
{
	u32 n;

	mf_gate_lock(&f->gate);
	if (!late_done(f))
		ack_late(f);
	n = f->ack_head - f->ack_tail;
	if (n && (idle || n >= ACK_FRAMES || f->ack_bytes >= ACK_BYTES))
		send_acks(f);
	mf_gate_unlock(&f->gate);
	if (mf_tx_push(&f->bulk_tx) && !f->complete)
		mf_fetch_fail(f, MF_WHY_CLOSED);
}

/* -------------------------------------------------------------------- loop */

static void look_for_the_end(struct mf_fetch *f)
{
	u64 one = 1;

	if (f->complete || !f->drained || mf_load(&f->bytes_got) < f->bytes_total ||
	    f->ack_head != f->ack_tail || !mf_tx_empty(&f->bulk_tx) || !late_done(f))
		return;
	mf_store(&f->complete, 1);
	mf_store(&f->sh->t_drained_ns, mf_now_ns());
	mf_cas32(&f->sh->phase, MF_PHASE_DRAIN, MF_PHASE_DRAINED);
	mf_sys_write(f->guard_bell, &one, sizeof(one));
}

enum { AT_BULK, AT_BELL, AT_MAX };

static void await(struct mf_fetch *f, struct pollfd *p)
{
	p[AT_BULK].fd = f->bulk_rx.sock;
	p[AT_BULK].events = (short)((mf_fetch_ack_room(f) ? POLLIN : 0) |
				    (mf_tx_empty(&f->bulk_tx) ? 0 : POLLOUT));
	/* with something to say, only see whether more is coming */
	mf_stream_poll(p, AT_MAX, 1u << AT_BULK | 1u << AT_BELL,
		       late_done(f) && f->ack_head == f->ack_tail ? BEAT_NS : 0);
}

int mf_fetch_receiver_main(void *fetch)
{
	struct mf_fetch *f = fetch;
	struct pollfd p[AT_MAX] = {
		[AT_BELL] = { .fd = f->receiver_bell, .events = POLLIN },
	};
	u64 count;

	while (mf_load(&f->word_seen) != MF_WORD_COMMITTED)
		mf_sys_futex_wait(&f->kick, 0, BEAT_NS);
	for (;;) {
		await(f, p);
		if (p[AT_BELL].revents) {
			mf_sys_read(f->receiver_bell, &count, sizeof(count));
			mf_fetch_hints(f);
		}
		if (p[AT_BULK].revents & ~POLLOUT)
			mf_fetch_input(f, &f->bulk_rx);
		acknowledge(f, !(p[AT_BULK].revents & POLLIN));
		look_for_the_end(f);
	}
}
