/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handover/guard.h"

#include <linux/mman.h>

#include "handover/tcp_fetch.h"
#include "uffd/event.h"

#include "base/faultpath.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define PM_POPULATED (((u64)1 << 63) | ((u64)1 << 62))
#define LINGER_NS MF_NSEC_PER_SEC
#define COLLAPSE_PAUSE_NS ((s64)500 * MF_NSEC_PER_USEC)

/* ----------------------------------------------------------------- notices */

struct line {
	char text[384];
	u32 n;
};

static void add(struct line *l, const char *text)
{
	while (*text && l->n < sizeof(l->text) - 1)
		l->text[l->n++] = *text++;
}

static void add_number(struct line *l, u64 v)
{
	char digits[24];
	int n = (int)sizeof(digits) - 1;

	digits[n] = 0;
	do
		digits[--n] = (char)('0' + v % 10);
	while (v /= 10);
	add(l, digits + n);
}

static void say(const struct mf_guard *g, struct line *l)
{
	add(l, "\n");
	if (g->notice_fd >= 0)
		mf_sys_write(g->notice_fd, l->text, l->n);
}

static void say_lost(const struct mf_guard *g, bool silent, u64 pages, bool killing)
{
	struct line l = { .n = 0 };

	add(&l, "memferry: the ferry task (pid ");
	add_number(&l, (u64)g->ferry_pid);
	if (g->why) {
		add(&l, ") of the source is lost: ");
		add(&l, mf_fetch_why_text(mf_load(g->why)));
		add(&l, "; ");
	} else {
		add(&l,
		    silent ? ") of the source stopped answering; " : ") of the source died; ");
	}
	add_number(&l, pages * (MF_PAGE_SIZE / MF_KIB));
	add(&l, " KiB had not arrived and ");
	add(&l, killing ? "cannot be poisoned on this kernel: ending the process"
			: "are poisoned: touching them is SIGBUS");
	say(g, &l);
}

static void say_fatal(const struct mf_guard *g, u32 why)
{
	struct line l = { .n = 0 };

	if (why == MF_FATAL_REMAPS)
		add(&l,
		    "memferry: too many mremap() calls in regions that were still arriving; "
		    "the process was ended because its memory could not be followed");
	else if (why == MF_FATAL_PROMISE)
		add(&l, "memferry: the application discarded or moved memory that was still "
			"arriving, which it had promised not to do; it was ended so that it "
			"cannot read what is not right");
	else
		add(&l, "memferry: the ferry task of the source could neither bring a page nor "
			"poison it; the process was ended so that it cannot read zeros");
	say(g, &l);
}

static void say_bad(struct mf_guard *g)
{
	struct line l = { .n = 0 };

	if (g->said_bad)
		return;
	g->said_bad = 1;
	add(&l,
	    "memferry: pages could not be read in the source any more (bad memory?) and are "
	    "poisoned here: touching them is SIGBUS");
	say(g, &l);
}

static void say_refused(const struct mf_guard *g)
{
	struct line l = { .n = 0 };

	add(&l,
	    "memferry: the hand-over was given up and the source runs on: its memory cannot "
	    "be had here, touching it is SIGBUS");
	say(g, &l);
}

static void __attribute__((noreturn)) end_main(struct mf_guard *g)
{
	mf_sys_pidfd_send_signal(g->main_pidfd, 9);
	mf_sys_exit_group(1);
}

/*
 * A thread that was on its way into madvise() or mremap() when its range was let go may
 * come to wait for its event only now, and nobody else reads it any more: look out for
 * such a one, for much longer than it can take. The ferry is gone.
 */
static void __attribute__((noreturn)) linger(struct mf_guard *g, bool is_lost)
{
	struct pollfd p[3] = { { .fd = g->uffd, .events = POLLIN },
			       { .fd = g->main_pidfd, .events = POLLIN },
			       { .fd = g->bell, .events = POLLIN } };
	u64 end = mf_now_ns() + LINGER_NS, now, count;
	bool unable = false;

	for (;;) {
		unable = !mf_guard_read_events(g);
		if (is_lost)
			mf_add(&g->sh->pages_poisoned, mf_guard_poison_moved(g, &unable));
		if (unable)
			end_main(g);
		mf_guard_release(g);
		now = mf_now_ns();
		/* when the main process closes the userfaultfd, too, that wakes everybody */
		if (now >= end || p[1].revents || mf_load(&g->hurry))
			mf_sys_exit_group(0);
		p[0].revents = p[2].revents = 0;
		mf_sys_ppoll(p, 3, (s64)(end - now));
		if (p[2].revents)
			mf_sys_read(g->bell, &count, sizeof(count));
	}
}

static void await_ferry(const struct mf_guard *g)
{
	struct pollfd p = { .fd = g->ferry_pidfd, .events = POLLIN };

	mf_sys_ppoll(&p, 1, (s64)MF_NSEC_PER_SEC);
}

static void tell_done(const struct mf_guard *g)
{
	u64 one = 1;

	mf_sys_futex_wake(&g->sh->phase, 1 << 30);
	mf_sys_write(g->ferry_bell, &one, sizeof(one));
	mf_sys_write(g->done, &one, sizeof(one));
}

/*
 * Pages arrive one by one, so what was a huge page at the source is 512 small ones here.
 * The kernel would put them together in time; where the application asked for huge pages
 * that is done at once, with a pause between blocks, because a thread that touches one in
 * the making waits.
 */
static bool full(const struct mf_guard *g, u64 at)
{
	u64 map[64], n, i;

	for (n = 0; n < MF_PMD_SIZE / MF_PAGE_SIZE; n += ARRAY_SIZE(map)) {
		if (mf_sys_pread(g->pagemap, map, sizeof(map), (at / MF_PAGE_SIZE + n) * 8) !=
		    (long)sizeof(map))
			return false;
		for (i = 0; i < ARRAY_SIZE(map); i++)
			if (!(map[i] & PM_POPULATED))
				return false;
	}
	return true;
}

static void collapse_region(struct mf_guard *g, const struct mf_guard_region *r)
{
	u64 at = mf_align_up(r->addr, MF_PMD_SIZE), end = r->addr + r->len;
	struct pollfd p = { .fd = g->main_pidfd, .events = POLLIN };

	for (; at < end && end - at >= MF_PMD_SIZE; at += MF_PMD_SIZE) {
		if (!full(g, at))
			continue;
		if (mf_sys_madvise((void *)at, MF_PMD_SIZE, MADV_COLLAPSE) == -EINVAL)
			return; /* before 6.1, or not ours any more */
		mf_add(&g->sh->pages_huge, MF_PMD_SIZE / MF_PAGE_SIZE);
		mf_guard_read_events(g);
		if (mf_sys_ppoll(&p, 1, COLLAPSE_PAUSE_NS) != 0)
			return;
	}
}

static void finish(struct mf_guard *g)
{
	u32 i;

	mf_guard_release(g);
	mf_store(&g->sh->phase, MF_PHASE_RELEASED);
	tell_done(g);
	await_ferry(g);
	for (i = 0; i < g->n_regions; i++)
		if (g->region[i].thp)
			collapse_region(g, &g->region[i]);
	linger(g, false);
}

/* ------------------------------------------------------------------- lost */

/*
 * The other side is gone. Nobody may read zeros where there was data: everything that
 * is missing is poisoned, holes too, since only the source knew them apart. A kernel
 * without UFFDIO_POISON (before 6.6) leaves no choice but to end the process.
 */
static void lost(struct mf_guard *g, bool silent)
{
	bool unable;
	u64 pages;

	mf_sys_pidfd_send_signal(g->ferry_pidfd, 9 /* SIGKILL: it must not wake up later */);
	/* not committed yet: then it shall not be, and the source keeps what it has */
	mf_cas32(&g->sh->word, MF_WORD_OPEN, MF_WORD_CANCELLED);
	/* until it is dead it may still read and note */
	await_ferry(g);
	unable = !mf_guard_take_inbox(g);
	unable = !mf_guard_read_events(g) || unable;
	pages = mf_guard_poison_all(g, &unable);
	mf_add(&g->sh->pages_poisoned, pages);
	say_lost(g, silent, pages, unable);
	if (unable)
		end_main(g);
	/* only now: if we are killed in the midst of this, another guard does it again */
	mf_store(&g->sh->phase, MF_PHASE_LOST);
	mf_guard_release(g);
	tell_done(g);
	linger(g, true);
}

/* ----------------------------------------------------------------- refused */

static u64 page_size_at(const struct mf_guard *g, u64 addr)
{
	u32 i;

	for (i = 0; i < g->n_regions; i++)
		if (addr - g->region[i].addr < g->region[i].len)
			return g->region[i].page_size;
	return MF_PAGE_SIZE;
}

static void refuse_fault(struct mf_guard *g, u64 addr, bool *said)
{
	u64 page_size = page_size_at(g, addr);
	bool unable = false;

	if (!*said)
		say_refused(g);
	*said = true;
	addr = mf_align_down(addr, page_size);
	mf_guard_poison(g, addr, page_size, page_size, &unable);
	if (unable)
		end_main(g);
	mf_op_wake(g->uffd, addr, page_size);
}

/*
 * The attempt has failed and the source runs on. The main process undoes its mappings and
 * ends us, when it gets to it. Until then a thread of it that touches them must not wait
 * for a ferry that has gone: each page that is asked for is poisoned.
 */
static void __attribute__((noreturn)) refused(struct mf_guard *g)
{
	struct mf_event ev[MF_UFFD_BATCH];
	struct pollfd p[2] = { { .fd = g->uffd, .events = POLLIN },
			       { .fd = g->main_pidfd, .events = POLLIN } };
	bool said = false;
	long n, i;

	/* messages that the ferry has read died with it: ask again */
	mf_sys_pidfd_send_signal(g->ferry_pidfd, 9);
	await_ferry(g);
	mf_guard_read_events(g);
	mf_guard_wake_all(g);
	for (;;) {
		p[0].revents = p[1].revents = 0;
		mf_task_poll(p, ARRAY_SIZE(p), (s64)(g->stall_ns / 8));
		mf_add(&g->beat, 1);
		if (p[1].revents)
			mf_sys_exit_group(0);
		n = mf_event_read(g->uffd, ev, MF_UFFD_BATCH);
		for (i = 0; i < n; i++)
			if (ev[i].kind == MF_EVENT_FAULT)
				refuse_fault(g, ev[i].addr, &said);
	}
}

/* -------------------------------------------------------------------- loop */

enum { AT_FERRY, AT_MAIN, AT_BELL, AT_MAX };

static void look(struct mf_guard *g, const struct pollfd *p)
{
	u32 word = mf_load(&g->sh->word), phase = mf_load(&g->sh->phase);

	if (p[AT_MAIN].revents) {
		if (mf_load(&g->sh->fatal))
			say_fatal(g, mf_load(&g->sh->fatal));
		mf_sys_exit_group(0);
	}
	if (mf_load(&g->sh->pages_poisoned))
		say_bad(g);
	if (word == MF_WORD_ABORTED || word == MF_WORD_CANCELLED)
		refused(g);
	if (phase == MF_PHASE_DRAINED)
		finish(g);
	if (p[AT_FERRY].revents)
		lost(g, false);
}

/*
 * How long the ferry has shown no sign of life. Only time that we ourselves were awake
 * counts: after a pause of the whole machine, or of this task, it gets another chance.
 */
struct pulse {
	u32 beat;
	u64 last_ns;
	u64 silent_ns;
};

static bool stalled(const struct mf_guard *g, struct pulse *pulse)
{
	u32 beat = mf_load(&g->sh->beat);
	u64 now = mf_now_ns();

	pulse->silent_ns += mf_min(now - pulse->last_ns, g->stall_ns / 4);
	pulse->last_ns = now;
	if (beat != pulse->beat) {
		pulse->beat = beat;
		pulse->silent_ns = 0;
	}
	return pulse->silent_ns > g->stall_ns;
}

int mf_guard_main(void *guard)
{
	struct mf_guard *g = guard;
	struct pollfd p[AT_MAX] = {
		[AT_FERRY] = { .fd = g->ferry_pidfd, .events = POLLIN },
		[AT_MAIN] = { .fd = g->main_pidfd, .events = POLLIN },
		[AT_BELL] = { .fd = g->bell, .events = POLLIN },
	};
	struct pulse pulse = { .beat = mf_load(&g->sh->beat), .last_ns = mf_now_ns() };
	u64 count;

	for (;;) {
		p[AT_FERRY].revents = p[AT_MAIN].revents = p[AT_BELL].revents = 0;
		mf_task_poll(p, AT_MAX, (s64)(g->stall_ns / 8));
		mf_add(&g->beat, 1);
		if (p[AT_BELL].revents)
			mf_sys_read(g->bell, &count, sizeof(count));
		look(g, p);
		if (stalled(g, &pulse))
			lost(g, true);
	}
}
