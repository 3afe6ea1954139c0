/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the guard does to ranges: poison what is missing in them, and let go of them.
 *
 * A range that was registered as one mapping need not be one any more: the application may
 * have split it (mprotect, madvise), cut pieces out, mapped something else there, or made
 * it grow. The kernel refuses a call that crosses such a border as a whole, so each refusal
 * is taken apart until it is about a single page.
 */
#include <linux/mman.h>

#include "handover/guard.h"
#include "uffd/event.h"

#include "base/faultpath.h"

#define PM_POPULATED (((u64)1 << 63) | ((u64)1 << 62))
#define TRIES 2000
#define NAP_NS ((s64)MF_NSEC_PER_MSEC)

/* --------------------------------------------------------------- releasing */

static u64 smaller(u64 len, u64 page_size)
{
	return mf_max(mf_align_down(len / 2, page_size), page_size);
}

static void unregister(const struct mf_guard *g, u64 at, u64 len, u64 page_size)
{
	u64 end = at + len, step = len;

	while (at < end) {
		step = mf_min(step, end - at);
		if (mf_op_unregister(g->uffd, at, step) == 0) {
			at += step;
			step *= 2;
		} else if (step > page_size) {
			step = smaller(step, page_size);
		} else {
			at += page_size; /* nothing there, or nothing of ours */
		}
	}
}

/* A number in hex up to the next other character; *ret_p is left there. */
static u64 hex(const char **ret_p, const char *end)
{
	const char *p = *ret_p;
	u64 v = 0;

	for (; p < end; p++) {
		if (*p >= '0' && *p <= '9')
			v = v << 4 | (u64)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			v = v << 4 | (u64)(*p - 'a' + 10);
		else
			break;
	}
	*ret_p = p;
	return v;
}

/* Everything that was registered once: regions, and where parts of them were moved to. */
static u32 n_ranges(const struct mf_guard *g)
{
	return g->n_regions + (u32)mf_min(mf_load(&g->sh->n_remaps), MF_REMAPS);
}

static struct mf_shared_remap range_at(const struct mf_guard *g, u32 i)
{
	const struct mf_guard_region *r = &g->region[i];

	if (i >= g->n_regions)
		return g->sh->remap[i - g->n_regions];
	return (struct mf_shared_remap){ .addr = r->addr,
					 .len = r->len,
					 .page_size = r->page_size,
					 .dontfork = r->keep_dontfork };
}

#define GROWN_MAX 32

struct growth {
	struct mf_shared_remap piece[GROWN_MAX];
	u32 n;
};

/* Where the first range at or after @at begins; @end if that is later. */
static u64 next_range(const struct mf_guard *g, u64 at, u64 end)
{
	u32 i, n = n_ranges(g);

	for (i = 0; i < n; i++) {
		struct mf_shared_remap r = range_at(g, i);

		if (r.addr + r.len > at)
			end = mf_min(end, mf_max(r.addr, at));
	}
	return end;
}

/* What the mapping [from, to) has beyond the end of a range that lies in it. */
static void note_growth(const struct mf_guard *g, u64 from, u64 to, struct growth *grown)
{
	u32 i, n = n_ranges(g);

	for (i = 0; i < n && grown->n < GROWN_MAX; i++) {
		struct mf_shared_remap r = range_at(g, i);
		u64 end = r.addr + r.len, stop;

		if (end <= from || end >= to)
			continue;
		stop = next_range(g, end, to);
		r.addr = end;
		r.len = stop - end;
		if (r.len)
			grown->piece[grown->n++] = r;
	}
}

/* How much of the text is whole lines; all of it if there is not even one. */
static u64 whole_lines(const char *buf, u64 n)
{
	u64 whole = n;

	while (whole && buf[whole - 1] != '\n')
		whole--;
	return whole ? whole : n;
}

/* Lines are "from-to ...\n". */
static void find_growth(struct mf_guard *g, struct growth *grown)
{
	char *buf = (char *)g->map;
	const char *p, *end;
	u64 off = 0, from, n;
	long got;

	while ((got = mf_sys_pread(g->maps, buf, sizeof(g->map), off)) > 0) {
		n = whole_lines(buf, (u64)got);
		off += n;
		for (p = buf, end = buf + n; p < end; p++) {
			from = hex(&p, end);
			p++;
			note_growth(g, from, hex(&p, end), grown);
			while (p < end && *p != '\n')
				p++;
		}
	}
}

static void let_go(struct mf_guard *g, const struct mf_shared_remap *r, bool poisoned)
{
	unregister(g, r->addr, r->len, r->page_size);
	if (!r->dontfork && !poisoned)
		mf_sys_madvise((void *)r->addr, r->len, MADV_DOFORK);
}

/*
 * mremap() may also have made a mapping longer where it lies. What it added is registered
 * too, and nobody would answer a fault there any more.
 */
void mf_guard_release(struct mf_guard *g)
{
	struct growth grown = { .n = 0 };
	struct mf_shared_remap r;
	u32 i;

	if (g->n_released == n_ranges(g))
		return;
	find_growth(g, &grown);
	for (; g->n_released < n_ranges(g); g->n_released++) {
		r = range_at(g, g->n_released);
		let_go(g, &r,
		       g->n_released < g->n_regions ? g->region[g->n_released].poisoned
						    : g->poisoned);
	}
	for (i = 0; i < grown.n; i++)
		let_go(g, &grown.piece[i], g->poisoned);
}

void mf_guard_wake_all(const struct mf_guard *g)
{
	struct mf_shared_remap r;
	u32 i, n = n_ranges(g);

	for (i = 0; i < n; i++) {
		r = range_at(g, i);
		mf_op_wake(g->uffd, r.addr, r.len);
	}
}

/* ------------------------------------------------------------------- inbox */

static bool note_remap(struct mf_guard *g, const struct mf_event *ev)
{
	struct mf_shared *sh = g->sh;
	struct mf_shared_remap r = { .page_size = MF_PAGE_SIZE }, near;
	u32 i, n = n_ranges(g);

	if (sh->n_remaps >= MF_REMAPS)
		return false;
	for (i = 0; i < n; i++) {
		near = range_at(g, i);
		if (ev->addr - near.addr < near.len)
			r = near;
	}
	r.addr = ev->to;
	r.len = ev->len;
	sh->remap[sh->n_remaps] = r;
	mf_store(&sh->n_remaps, sh->n_remaps + 1);
	return true;
}

bool mf_guard_read_events(struct mf_guard *g)
{
	struct mf_event ev[MF_UFFD_BATCH];
	bool ok = true;
	long n, i;

	do {
		n = mf_event_read(g->uffd, ev, MF_UFFD_BATCH);
		for (i = 0; i < n; i++) {
			if (ev[i].kind == MF_EVENT_REMAP)
				ok = note_remap(g, &ev[i]) && ok;
			else if (ev[i].kind == MF_EVENT_FORK && ev[i].fd >= 0)
				mf_sys_close(ev[i].fd);
		}
	} while (n > 0);
	return ok;
}

bool mf_guard_take_inbox(struct mf_guard *g)
{
	struct mf_event ev;
	u32 i;

	for (i = 0; i < MF_INBOX && mf_load(&g->sh->inbox_open); i++) {
		mf_event_from_words(g->sh->inbox[i], &ev);
		if (ev.kind == MF_EVENT_REMAP && !note_remap(g, &ev))
			return false;
	}
	return true;
}

/* --------------------------------------------------------------- poisoning */

/*
 * Poison what is missing in [at, at + len). The kernel refuses with EAGAIN while a thread
 * is inside madvise() or mremap(), which waits for its event to be read: read, try again.
 */
static u64 poison(struct mf_guard *g, u64 at, u64 len, u64 page_size, bool *ret_unable)
{
	u64 done, end = at + len, step = len, pages = 0;
	u32 tries = 0;
	long r;

	while (at < end && tries < TRIES) {
		step = mf_min(step, end - at);
		r = mf_op_poison(g->uffd, at, step, 0, &done);
		at += done;
		pages += done / MF_PAGE_SIZE;
		if (done) {
			step *= 2;
		} else if (r == -EEXIST) {
			at += page_size;
		} else if (r == -ENOENT && step > page_size) {
			step = smaller(step, page_size);
		} else if (r == -ENOENT) {
			at += page_size; /* not registered (any more), nothing to protect */
		} else if (r == -ESRCH || r == -EINVAL) {
			*ret_unable = *ret_unable || r == -EINVAL;
			break;
		} else {
			*ret_unable = !mf_guard_read_events(g) || *ret_unable;
			mf_sys_ppoll(NULL, 0, NAP_NS);
			tries++;
		}
	}
	*ret_unable = *ret_unable || tries == TRIES;
	return pages;
}

/* Runs of missing pages in @n entries of g->map that stand for pages from @at on. */
static u64 poison_runs(struct mf_guard *g, u64 at, u64 n, bool *ret_unable)
{
	u64 i = 0, from, pages = 0;

	while (i < n) {
		for (from = i; i < n && !(g->map[i] & PM_POPULATED);)
			i++;
		if (i > from)
			pages += poison(g, at + from * MF_PAGE_SIZE, (i - from) * MF_PAGE_SIZE,
					MF_PAGE_SIZE, ret_unable);
		else
			i++;
	}
	return pages;
}

u64 mf_guard_poison(struct mf_guard *g, u64 at, u64 len, u64 page_size, bool *ret_unable)
{
	u64 end = at + len, pages = 0, n, i;

	if (page_size != MF_PAGE_SIZE)
		return poison(g, at, len, page_size, ret_unable);
	for (; at < end; at += n * MF_PAGE_SIZE) {
		n = mf_min((end - at) / MF_PAGE_SIZE, ARRAY_SIZE(g->map));
		for (i = 0; i < n; i++)
			g->map[i] = 0; /* cannot be read: then the kernel tells what is there */
		mf_sys_pread(g->pagemap, g->map, n * 8, at / MF_PAGE_SIZE * 8);
		pages += poison_runs(g, at, n, ret_unable);
	}
	return pages;
}

u64 mf_guard_poison_moved(struct mf_guard *g, bool *ret_unable)
{
	const struct mf_shared *sh = g->sh;
	u64 pages = 0;

	/* more may be told of meanwhile */
	for (; g->n_poisoned < mf_min(mf_load(&sh->n_remaps), MF_REMAPS); g->n_poisoned++) {
		const struct mf_shared_remap *r = &sh->remap[g->n_poisoned];

		pages += mf_guard_poison(g, r->addr, r->len, r->page_size, ret_unable);
	}
	g->poisoned = g->poisoned || pages;
	return pages;
}

u64 mf_guard_poison_all(struct mf_guard *g, bool *ret_unable)
{
	u64 pages = 0, here;
	u32 i;

	for (i = 0; i < g->n_regions; i++) {
		struct mf_guard_region *r = &g->region[i];

		here = mf_guard_poison(g, r->addr, r->len, r->page_size, ret_unable);
		/*
		 * fork() need not copy poison into the child, where the page would be
		 * zero then: a region with poison in it stays the parent's.
		 */
		r->poisoned = here > 0;
		g->poisoned = g->poisoned || here;
		pages += here;
	}
	return pages + mf_guard_poison_moved(g, ret_unable);
}
