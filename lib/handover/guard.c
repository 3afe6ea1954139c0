/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handover/guard.h"

#include <linux/mman.h>

#include "uffd/event.h"

#include "base/faultpath.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define PM_POPULATED (((u64)1 << 63) | ((u64)1 << 62))
#define COLLAPSE_PAUSE_NS ((s64)500 * MF_NSEC_PER_USEC)
#define POISON_TRIES 2000
#define POISON_NAP_NS ((s64)MF_NSEC_PER_MSEC)

/* ----------------------------------------------------------------- notices */

struct line {
	char text[256];
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
	add(&l, silent ? ") of the source stopped answering; " : ") of the source died; ");
	add_number(&l, pages * (MF_PAGE_SIZE / MF_KIB));
	add(&l, " KiB had not arrived and ");
	add(&l, killing ? "cannot be poisoned on this kernel: ending the process"
			: "are poisoned: touching them is SIGBUS");
	say(g, &l);
}

static void say_fatal(const struct mf_guard *g)
{
	struct line l = { .n = 0 };

	add(&l, "memferry: too many mremap() calls in regions that were still arriving; "
		"the process was ended because its memory could not be followed");
	say(g, &l);
}

/* --------------------------------------------------------------- releasing */

static void read_events(const struct mf_guard *g)
{
	struct mf_event ev[MF_UFFD_BATCH];
	long n, i;

	do {
		n = mf_event_read(g->uffd, ev, MF_UFFD_BATCH);
		for (i = 0; i < n; i++)
			if (ev[i].kind == MF_EVENT_FORK && ev[i].fd >= 0)
				mf_sys_close(ev[i].fd);
	} while (n > 0);
}

void mf_guard_release(struct mf_guard *g)
{
	struct mf_shared *sh = g->sh;
	u32 i, n = (u32)mf_min(mf_load(&sh->n_remaps), MF_REMAPS);

	for (i = 0; i < g->n_regions; i++) {
		const struct mf_guard_region *r = &g->region[i];

		mf_op_unregister(g->uffd, r->addr, r->len);
		if (!r->keep_dontfork)
			mf_sys_madvise((void *)r->addr, r->len, MADV_DOFORK);
	}
	for (i = 0; i < n; i++)
		mf_op_unregister(g->uffd, sh->remap[i].addr, sh->remap[i].len);
	read_events(g); /* whoever still waits in madvise() or mremap() */
}

static void __attribute__((noreturn)) leave(struct mf_guard *g)
{
	u64 one = 1;

	mf_sys_write(g->ferry_bell, &one, sizeof(one));
	mf_sys_write(g->done, &one, sizeof(one));
	mf_sys_exit_group(0);
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
		if (mf_sys_ppoll(&p, 1, COLLAPSE_PAUSE_NS) != 0)
			return;
	}
}

static void finish(struct mf_guard *g)
{
	u64 one = 1;
	u32 i;

	mf_guard_release(g);
	mf_store(&g->sh->phase, MF_PHASE_RELEASED);
	mf_sys_futex_wake(&g->sh->phase, 1 << 30);
	mf_sys_write(g->ferry_bell, &one, sizeof(one));
	mf_sys_write(g->done, &one, sizeof(one));
	for (i = 0; i < g->n_regions; i++)
		if (g->region[i].thp)
			collapse_region(g, &g->region[i]);
	mf_sys_exit_group(0);
}

/* ------------------------------------------------------------------- lost */

/*
 * Poison [at, at + len). The kernel refuses with EAGAIN while a thread is inside
 * madvise() or mremap(), which waits for its event to be read: read, and try again.
 */
static u64 poison(const struct mf_guard *g, u64 at, u64 len, u64 page_size, bool *ret_unable)
{
	u64 done, end = at + len, pages = 0;
	u32 tries = 0;
	long r;

	while (at < end && tries < POISON_TRIES) {
		r = mf_op_poison(g->uffd, at, end - at, 0, &done);
		at += done;
		pages += done / MF_PAGE_SIZE;
		if (r == 0)
			break;
		if (r == -EEXIST) {
			at += page_size;
		} else if (r == -EAGAIN) {
			if (done)
				continue;
			read_events(g);
			mf_sys_ppoll(NULL, 0, POISON_NAP_NS);
			tries++;
		} else {
			/* ENOENT: not registered (any more), nothing to protect */
			*ret_unable = *ret_unable || (r != -ENOENT && r != -ESRCH);
			break;
		}
	}
	*ret_unable = *ret_unable || tries == POISON_TRIES;
	return pages;
}

static u64 poison_region(struct mf_guard *g, const struct mf_guard_region *r, bool *ret_unable)
{
	u64 at = r->addr, end = r->addr + r->len, pages = 0, n, i, from;
	u64 step = r->page_size / MF_PAGE_SIZE;

	for (; at < end; at += n * MF_PAGE_SIZE) {
		n = mf_min((end - at) / MF_PAGE_SIZE, ARRAY_SIZE(g->map));
		n = mf_max(n, step);
		for (i = 0; i < ARRAY_SIZE(g->map); i++)
			g->map[i] = 0;
		mf_sys_pread(g->pagemap, g->map, mf_min(n, ARRAY_SIZE(g->map)) * 8,
			     at / MF_PAGE_SIZE * 8);
		for (i = 0; i < n;) {
			if (i < ARRAY_SIZE(g->map) && (g->map[i] & PM_POPULATED)) {
				i += step;
				continue;
			}
			for (from = i; i < n && (i >= ARRAY_SIZE(g->map) ||
						 !(g->map[i] & PM_POPULATED));)
				i += step;
			pages += poison(g, at + from * MF_PAGE_SIZE, (i - from) * MF_PAGE_SIZE,
					r->page_size, ret_unable);
		}
	}
	return pages;
}

/*
 * The other side is gone. Nobody may read zeros where there was data: everything that
 * is missing is poisoned, holes too, since only the source knew them apart. A kernel
 * without UFFDIO_POISON (before 6.6) leaves no choice but to end the process.
 */
static void lost(struct mf_guard *g, bool silent)
{
	bool unable = false;
	u64 pages = 0;
	u32 i;

	mf_sys_pidfd_send_signal(g->ferry_pidfd, 9 /* SIGKILL: it must not wake up later */);
	mf_store(&g->sh->phase, MF_PHASE_LOST);
	read_events(g);
	for (i = 0; i < g->n_regions; i++)
		pages += poison_region(g, &g->region[i], &unable);
	mf_add(&g->sh->pages_poisoned, pages);
	say_lost(g, silent, pages, unable);
	if (unable) {
		mf_sys_pidfd_send_signal(g->main_pidfd, 9);
		mf_sys_exit_group(1);
	}
	mf_guard_release(g);
	mf_sys_futex_wake(&g->sh->phase, 1 << 30);
	leave(g);
}

/* -------------------------------------------------------------------- loop */

enum { AT_FERRY, AT_MAIN, AT_BELL, AT_MAX };

static void look(struct mf_guard *g, const struct pollfd *p)
{
	u32 word = mf_load(&g->sh->word), phase = mf_load(&g->sh->phase);

	if (p[AT_MAIN].revents) {
		if (mf_load(&g->sh->fatal))
			say_fatal(g);
		mf_sys_exit_group(0);
	}
	if (word == MF_WORD_ABORTED || word == MF_WORD_CANCELLED)
		mf_sys_exit_group(0); /* the main process undoes its mappings */
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
		mf_sys_ppoll(p, AT_MAX, (s64)(g->stall_ns / 8));
		if (p[AT_BELL].revents)
			mf_sys_read(g->bell, &count, sizeof(count));
		look(g, p);
		if (stalled(g, &pulse))
			lost(g, true);
	}
}
