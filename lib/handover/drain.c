/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pilot: the ferry task's first thread.
 *
 * gate_why. A page that the successor discards (madvise(DONTNEED)) before it arrived must
 * read as zeros from then on, and never be filled with its old contents. The kernel tells
 * of it by a REMOVE event, and lets the discarding thread go on at the moment the event is
 * read:
 *
 *	drainer				pilot			successor's thread
 *	-------				-----			------------------
 *	page not discarded? yes					madvise(): event queued,
 *								waits
 *					read() the event
 *								madvise() zaps, returns
 *					note "discarded"
 *	UFFDIO_COPY of old contents
 *								reads old contents: wrong
 *
 * So "look, then copy" by the drainer and "read, then note" by the pilot exclude each
 * other: both happen under the gate. While an event is waiting to be read the kernel
 * refuses copies with EAGAIN, so the drainer cannot slip in before the read either. The
 * pilot's own copies need no gate: it is the only reader.
 */
#include "handover/drain.h"

#include "base/gate.h"
#include "ferry/clone.h"
#include "uffd/event.h"

#include "base/faultpath.h"

#define PILOT_BEAT_NS (50 * MF_NSEC_PER_MSEC)
#define SPIN_NS (200 * MF_NSEC_PER_USEC)

/* ------------------------------------------------------------------ tables */

static u32 blocks_of(const struct mf_drain_region *r)
{
	u64 first = mf_align_down(r->src, MF_BLOCK_SIZE);
	u64 end = mf_align_up(r->src + r->len, MF_BLOCK_SIZE);

	return (u32)((end - first) / MF_BLOCK_SIZE);
}

struct sizes {
	u64 region, seg, block_done, zero_bits, total;
	u32 n_blocks, max_segs;
	u64 n_pages;
};

static void measure(const struct mf_drain_region *region, u32 n, struct sizes *s)
{
	u64 at = mf_align_up(sizeof(struct mf_drain), 64);
	u32 i;

	s->n_blocks = 0;
	s->n_pages = 0;
	for (i = 0; i < n; i++) {
		s->n_blocks += blocks_of(&region[i]);
		s->n_pages += region[i].len / region[i].page_size;
	}
	s->max_segs = n + MF_EXTRA_SEGS;
	s->region = at;
	at = mf_align_up(at + n * sizeof(struct mf_drain_region), 64);
	s->seg = at;
	at = mf_align_up(at + s->max_segs * sizeof(struct mf_seg), 64);
	s->block_done = at;
	at = mf_align_up(at + s->n_blocks, 64);
	s->zero_bits = at;
	at += (s->n_pages + 63) / 64 * sizeof(u64);
	s->total = mf_align_up(at, MF_PAGE_SIZE);
}

u64 mf_drain_bytes(const struct mf_drain_region *region, u32 n_regions)
{
	struct sizes s;

	measure(region, n_regions, &s);
	return s.total;
}

static void insert_seg(struct mf_drain *d, const struct mf_seg *seg)
{
	u32 i = d->n_segs++;

	for (; i > 0 && d->seg[i - 1].dst > seg->dst; i--)
		d->seg[i] = d->seg[i - 1];
	d->seg[i] = *seg;
}

void mf_drain_layout(struct mf_drain *d, const struct mf_drain_region *region, u32 n_regions)
{
	struct mf_seg seg;
	struct sizes s;
	u32 i, block = 0;
	u64 page = 0;

	measure(region, n_regions, &s);
	d->n_regions = n_regions;
	d->n_blocks = s.n_blocks;
	d->max_segs = s.max_segs;
	d->region = (void *)((u64)d + s.region);
	d->seg = (void *)((u64)d + s.seg);
	d->block_done = (void *)((u64)d + s.block_done);
	d->zero_bits = (void *)((u64)d + s.zero_bits);
	for (i = 0; i < n_regions; i++) {
		struct mf_drain_region *r = &d->region[i];

		*r = region[i];
		r->first_block = block;
		r->n_blocks = blocks_of(r);
		r->first_page = page;
		block += r->n_blocks;
		page += r->len / r->page_size;
		seg = (struct mf_seg){
			.dst = r->dst, .len = r->len, .src = r->src, .region = i
		};
		insert_seg(d, &seg);
	}
}

/* ------------------------------------------------------------------- pilot */

static void __attribute__((noreturn)) leave(struct mf_drain *d, int status)
{
	u64 one = 1;

	mf_sys_write(d->guard_bell, &one, sizeof(one));
	mf_sys_exit_group(status);
}

/* The verdict over the attempt, once it is there, and what follows from it. */
static void look_at_word(struct mf_drain *d)
{
	u32 word = mf_load(&d->sh->word);

	if (word == d->word_seen)
		return;
	d->word_seen = word;
	if (word != MF_WORD_COMMITTED)
		leave(d, 0);
	mf_cas32(&d->sh->phase, MF_PHASE_PREPARE, MF_PHASE_DRAIN);
	mf_store(&d->kick, 1);
	mf_sys_futex_wake(&d->kick, 1);
}

/* Until nobody can need us: the guard has released the ranges, or declared us lost. */
static void look_at_phase(struct mf_drain *d)
{
	if (mf_load(&d->sh->phase) >= MF_PHASE_RELEASED)
		leave(d, 0);
}

enum { AT_UFFD, AT_BELL, AT_PEER, AT_MAX };

/* Through the shared page, so that what we have read does not die with us. */
long mf_drain_inbox(struct mf_drain *d, struct mf_event *ev)
{
	long n, i;

	for (i = 0; i < MF_INBOX; i++)
		d->sh->inbox[i][0] = 0; /* no such event */
	mf_store(&d->sh->inbox_open, 1);
	n = mf_event_read_raw(d->uffd, d->sh->inbox, MF_INBOX);
	for (i = 0; i < n; i++)
		mf_event_from_words(d->sh->inbox[i], &ev[i]);
	return n;
}

/* Read what there is, and deal with all but the faults: see gate_why. */
static long read_gated(struct mf_drain *d, struct mf_event *ev)
{
	long n, i;

	/*
	 * Without this the drainer would have the gate again before a pilot that waits
	 * for it is awake, and again, and again.
	 */
	mf_store(&d->wanted, 1);
	mf_gate_lock(&d->gate);
	n = mf_drain_inbox(d, ev);
	for (i = 0; i < n; i++)
		if (ev[i].kind != MF_EVENT_FAULT)
			mf_drain_event(d, &ev[i]);
	mf_store(&d->sh->inbox_open, 0);
	mf_gate_unlock(&d->gate);
	mf_store(&d->wanted, 0);
	return n;
}

/*
 * The successor promised that there is nothing but faults. If it broke that, the drainer may
 * have copied what it should not: loudly, then.
 */
static long read_freely(struct mf_drain *d, struct mf_event *ev)
{
	long n = mf_event_read(d->uffd, ev, MF_INBOX), i;

	for (i = 0; i < n; i++)
		if (ev[i].kind != MF_EVENT_FAULT)
			mf_drain_fatal(d, MF_FATAL_PROMISE);
	return n;
}

static void serve_uffd(struct mf_drain *d)
{
	struct mf_event ev[MF_INBOX];
	long n, i;

	n = d->no_events ? read_freely(d, ev) : read_gated(d, ev);
	for (i = 0; i < n; i++)
		if (ev[i].kind == MF_EVENT_FAULT)
			mf_drain_fault(d, &ev[i]);
	if (n > 0 && ev[n - 1].kind == MF_EVENT_FAULT)
		mf_drain_cpu_follow(d, ev[n - 1].tid);
}

/*
 * Sleep until something happens. With MF_PLACE_SPIN look often instead, while faults are
 * frequent: on another CPU the wake-up costs more than all the rest.
 */
static void wait_for_work(struct mf_drain *d, struct pollfd *p)
{
	u64 now;

	if (d->placement == MF_PLACE_SPIN) {
		now = mf_now_ns();
		while (now - d->last_fault_ns < SPIN_NS) {
			if (mf_task_poll(p, AT_MAX, 0) > 0)
				return;
			mf_cpu_relax();
			now = mf_now_ns();
		}
	}
	mf_task_poll(p, AT_MAX, PILOT_BEAT_NS);
}

static void start_drainer(struct mf_drain *d)
{
	const unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
				    CLONE_THREAD | CLONE_SYSVSEM;

	if (mf_clone(flags, d->drainer_stack_top, mf_drainer_main, d) < 0)
		leave(d, 1);
}

int mf_drain_main(void *drain)
{
	struct mf_drain *d = drain;
	struct pollfd p[AT_MAX] = {
		[AT_UFFD] = { .fd = d->uffd, .events = POLLIN },
		[AT_BELL] = { .fd = d->bell, .events = POLLIN },
		[AT_PEER] = { .fd = d->peer_pidfd, .events = POLLIN },
	};
	struct mf_brake brake = { .rounds = 0 };
	u64 count;

	mf_drain_cpu_init(d);
	start_drainer(d);
	mf_drain_go_first(d->ordinary);
	for (;;) {
		p[AT_UFFD].revents = p[AT_BELL].revents = p[AT_PEER].revents = 0;
		wait_for_work(d, p);
		mf_brake(&brake);
		mf_add(&d->sh->beat, 1);
		if (p[AT_PEER].revents)
			leave(d, 2); /* nobody is left to serve */
		if (p[AT_UFFD].revents & POLLIN)
			serve_uffd(d);
		else if (p[AT_UFFD].revents)
			leave(d, 2); /* the successor's space is gone */
		if (p[AT_BELL].revents) {
			mf_sys_read(d->bell, &count, sizeof(count));
			mf_drain_hints(d);
		}
		look_at_word(d);
		look_at_phase(d);
	}
}
