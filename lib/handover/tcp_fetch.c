/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fetcher's pilot: faults, the urgent connection, and watching over both threads. */
#include "handover/tcp_fetch.h"

#include <asm/errno.h>

#include "ferry/clone.h"

#include "base/faultpath.h"

#define BEAT_NS ((s64)50 * MF_NSEC_PER_MSEC)
#define PAGE_ROOM (MF_WIRE_HEADER_BYTES + MF_WIRE_MAX_PAGE)
#define TX_ROOM (64 * MF_KIB)

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
	s->bulk_rx =
		take(&at, PAGE_ROOM + MF_PAGE_SIZE, MF_PAGE_SIZE) + MF_PAGE_SIZE - MF_PAGE_HEAD;
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
	f->bulk_rx = (struct mf_rx){ .buf = (void *)((u64)f + s.bulk_rx),
				     .room = PAGE_ROOM,
				     .eager = MF_PAGE_HEAD };
	f->urgent_rx = (struct mf_rx){ .buf = (void *)((u64)f + s.urgent_rx),
				       .room = PAGE_ROOM,
				       .eager = MF_PAGE_HEAD + MF_PAGE_SIZE };
	f->bulk_tx = (struct mf_tx){ .buf = (void *)((u64)f + s.bulk_tx), .room = TX_ROOM };
	f->urgent_tx = (struct mf_tx){ .buf = (void *)((u64)f + s.urgent_tx), .room = TX_ROOM };
}

/* --------------------------------------------------------------- receiving */

const char *mf_fetch_why_text(u32 why)
{
	switch (why) {
	case MF_WHY_CLOSED:
		return "a connection to it ended";
	case MF_WHY_SILENT:
		return "it has sent nothing for too long";
	case MF_WHY_CHECKSUM:
		return "a page did not arrive as it was sent (wrong checksum)";
	case MF_WHY_NONSENSE:
		return "it does not follow the protocol";
	case MF_WHY_KERNEL:
		return "a page that came from it could not be placed";
	default:
		return "the task that fetched from it was killed";
	}
}

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
		mf_fetch_page(f, rx, h, payload);
	else if (h->type == MF_MSG_DRAINED && rx == &f->bulk_rx)
		mf_store(&f->drained, 1);
	else
		mf_fetch_fail(f, MF_WHY_NONSENSE);
}

void mf_fetch_input(struct mf_fetch *f, struct mf_rx *rx)
{
	struct mf_wire_header h;
	const u8 *payload;
	long r = mf_rx_fill(rx);

	if (r == -EPIPE && !mf_load(&f->complete))
		mf_fetch_fail(f, MF_WHY_CLOSED);
	if (r == -EPIPE)
		rx->sock = -1; /* the source goes first: it knows that all is here */
	if (r)
		return;
	mf_store(&f->last_sign_ns, mf_now_ns());
	while ((r = mf_rx_frame(rx, &h, &payload)) == 1) {
		on_frame(f, rx, &h, payload);
		mf_rx_next(rx, &h);
	}
	if (r < 0)
		mf_fetch_fail(f, MF_WHY_NONSENSE);
}

/* -------------------------------------------------------------------- loop */

static void ring(int bell)
{
	u64 one = 1;

	mf_sys_write(bell, &one, sizeof(one));
}

static void start_receiver(struct mf_fetch *f)
{
	const unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
				    CLONE_THREAD | CLONE_SYSVSEM;

	if (mf_clone(flags, f->receiver_stack_top, mf_fetch_receiver_main, f) < 0)
		mf_sys_exit_group(1);
}

static void look_at_word(struct mf_fetch *f)
{
	u32 word = mf_load(&f->sh->word);

	if (word == f->word_seen)
		return;
	if (word != MF_WORD_COMMITTED)
		mf_sys_exit_group(0);
	mf_store(&f->last_sign_ns, mf_now_ns());
	mf_cas32(&f->sh->phase, MF_PHASE_PREPARE, MF_PHASE_DRAIN);
	mf_store(&f->word_seen, word);
	mf_store(&f->kick, 1);
	mf_sys_futex_wake(&f->kick, 1);
}

/*
 * Silence is a loss while there is something to wait for. Time in which we did not run
 * ourselves counts little: after a pause of this machine the source gets another chance.
 */
static void look_for_silence(struct mf_fetch *f)
{
	bool committed = f->word_seen == MF_WORD_COMMITTED;
	bool waiting = !mf_load(&f->complete) && (committed || f->n_waiting);
	u64 now = mf_now_ns(), last = mf_load(&f->last_sign_ns), pause = now - f->last_loop_ns;

	f->last_loop_ns = now;
	if (!waiting || pause > f->stall_ns / 2)
		mf_store(&f->last_sign_ns, now);
	else if (now > last && now - last > f->stall_ns)
		mf_fetch_fail(f, MF_WHY_SILENT);
}

static void push_urgent(struct mf_fetch *f)
{
	if (mf_tx_push(&f->urgent_tx) && !mf_load(&f->complete))
		mf_fetch_fail(f, MF_WHY_CLOSED);
}

enum { AT_UFFD, AT_URGENT, AT_BELL, AT_MAIN, AT_MAX };

static void await(struct mf_fetch *f, struct pollfd *p)
{
	p[AT_URGENT].fd = f->urgent_rx.sock;
	p[AT_URGENT].events = (short)((mf_fetch_ack_room(f) ? POLLIN : 0) |
				      (mf_tx_empty(&f->urgent_tx) ? 0 : POLLOUT));
	mf_stream_poll(p, AT_MAX, 1u << AT_UFFD | 1u << AT_URGENT | 1u << AT_BELL, BEAT_NS);
}

static void on_bell(struct mf_fetch *f)
{
	u64 count;

	mf_sys_read(f->bell, &count, sizeof(count));
	ring(f->receiver_bell); /* it may be about hints */
	if (mf_load(&f->sh->phase) >= MF_PHASE_RELEASED)
		mf_sys_exit_group(0); /* closes both connections: the answer to DRAINED */
}

int mf_fetch_main(void *fetch)
{
	struct mf_fetch *f = fetch;
	struct pollfd p[AT_MAX] = {
		[AT_UFFD] = { .fd = f->d->uffd, .events = POLLIN },
		[AT_BELL] = { .fd = f->bell, .events = POLLIN },
		[AT_MAIN] = { .fd = f->d->peer_pidfd, .events = POLLIN },
	};
	struct mf_brake brake = { .rounds = 0 };

	f->last_loop_ns = f->last_sign_ns = mf_now_ns();
	mf_drain_cpu_init(f->d);
	start_receiver(f);
	mf_drain_go_first(f->d->ordinary);
	for (;;) {
		await(f, p);
		mf_brake(&brake);
		mf_add(&f->sh->beat, 1);
		if (p[AT_MAIN].revents)
			mf_sys_exit_group(0);
		look_at_word(f);
		if (p[AT_BELL].revents)
			on_bell(f);
		if (p[AT_UFFD].revents)
			mf_fetch_read_uffd(f);
		push_urgent(f);
		if (p[AT_UFFD].revents)
			mf_drain_cpu_follow(f->d, f->last_tid);
		if (p[AT_URGENT].revents & ~POLLOUT)
			mf_fetch_input(f, &f->urgent_rx);
		/* what was asked for may be the very last that was missing */
		if ((p[AT_URGENT].revents & POLLIN) && mf_load(&f->drained))
			ring(f->receiver_bell);
		look_for_silence(f);
	}
}
