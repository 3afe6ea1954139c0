/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting and ending the ferry task of an attempt. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/fail.h"
#include "base/sys.h"
#include "handover/session.h"
#include "uffd/op.h"

#define DRAINER_STACK (64 * MF_KIB)
#define PILOT_STACK (64 * MF_KIB)

static int map_private(u64 bytes, int prot, u64 *ret_addr)
{
	long p = mf_sys_mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			     0);

	if (mf_is_err(p))
		return mf_fail((int)p, "no memory for the ferry task: %s",
			       mf_errno_text((int)p));
	mf_sys_madvise((void *)p, bytes, MADV_DONTFORK);
	*ret_addr = (u64)p;
	return 0;
}

static int by_src(const void *a, const void *b)
{
	const struct mf_drain_region *x = a, *y = b;

	return (x->src > y->src) - (x->src < y->src);
}

/* What of the regions is to be moved, sorted as the drain wants it. Caller frees. */
static struct mf_drain_region *moving_regions(const struct mf_session *ss, u32 *ret_n,
					      u64 *ret_largest)
{
	const struct mf_source *src = ss->src;
	struct mf_drain_region *list = calloc(src->n_regions + 1, sizeof(*list));
	size_t i;

	*ret_n = 0;
	*ret_largest = MF_PAGE_SIZE;
	if (!list)
		return NULL;
	for (i = 0; i < src->n_regions; i++) {
		const struct mf_msg_region *w = &src->region[i].w;

		if (!mf_region_moves(w)) {
			ss->sh->pages_fd += w->len / MF_PAGE_SIZE;
			continue;
		}
		list[(*ret_n)++] = (struct mf_drain_region){
			.src = w->addr,
			.len = w->len,
			.dst = ss->dst[i],
			.page_size = w->page_size,
			.hugetlb = w->kind == MF_WIRE_HUGETLB,
			.dontfork = !!(w->flags & MF_WIRE_REGION_DONTFORK),
			.thp = !!(w->flags & MF_WIRE_REGION_THP),
		};
		*ret_largest = mf_max(*ret_largest, w->page_size);
	}
	qsort(list, *ret_n, sizeof(*list), by_src);
	return list;
}

static int lay_out(struct mf_session *ss)
{
	struct mf_drain_region *list;
	u64 addr = 0;
	u32 n;
	int r;

	list = moving_regions(ss, &n, &ss->zeros_len);
	if (!list)
		return mf_fail(-ENOMEM, "no memory for the region table");
	ss->drain_bytes = mf_drain_bytes(list, n);
	r = map_private(ss->drain_bytes, PROT_READ | PROT_WRITE, &addr);
	if (!r) {
		ss->drain = (struct mf_drain *)addr;
		mf_drain_layout(ss->drain, list, n);
		r = map_private(ss->zeros_len, PROT_READ, &ss->zeros);
	}
	if (!r)
		r = map_private(2 * ss->zeros_len, PROT_READ | PROT_WRITE, &ss->bounce);
	if (!r)
		r = map_private(DRAINER_STACK, PROT_READ | PROT_WRITE, &addr);
	if (!r)
		ss->drainer_stack = (u8 *)addr;
	free(list);
	return r;
}

static void fill_drain(struct mf_session *ss)
{
	struct mf_mover_caps caps = { .same_space = false, .ferry = true };
	struct mf_drain *d = ss->drain;

	d->sh = ss->sh;
	d->uffd = ss->uffd;
	d->pagemap = ss->pagemap;
	d->peer_pidfd = ss->peer_pidfd;
	d->peer_pagemap = ss->peer_pagemap;
	d->bell = ss->bell;
	d->guard_bell = ss->guard_bell;
	d->mem = ss->mem;
	d->zeros = ss->zeros;
	d->no_events = !!ss->sh->no_events;
	d->ordinary = !!(ss->src->opts.flags & MF_SOURCE_ORDINARY_PRIORITY);
	d->bounce[MF_BOUNCE_PILOT] = ss->bounce;
	d->bounce[MF_BOUNCE_DRAINER] = ss->bounce + ss->zeros_len;
	d->drainer_stack_top = ss->drainer_stack + DRAINER_STACK;
	d->placement = ss->src->opts.placement ? ss->src->opts.placement : ss->placement;
	if (d->placement == MF_PLACE_AUTO)
		d->placement = MF_PLACE_SAME;
	ss->sh->placement = d->placement;
	mf_mover_pick(&d->copier, &caps);
	mf_mover_pick(&d->mover, &caps);
	d->copier.uffd = d->mover.uffd = ss->uffd;
}

int mf_session_start_ferry(struct mf_session *ss)
{
	struct mf_task_opts opts = {
		.size = sizeof(opts),
		.name = "mf-ferry",
		.stack_bytes = PILOT_STACK,
	};
	int keep[7], r;
	long fd;

	fd = mf_sys_openat(AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return mf_fail((int)fd,
			       "cannot open /proc/self/pagemap: %s; memferry needs /proc",
			       mf_errno_text((int)fd));
	ss->pagemap = (int)fd;
	/* only for what cannot be read otherwise: may be missing */
	fd = mf_sys_openat(AT_FDCWD, "/proc/self/mem", O_RDONLY | O_CLOEXEC, 0);
	ss->mem = fd < 0 ? -1 : (int)fd;
	r = lay_out(ss);
	if (r)
		return r;
	fill_drain(ss);
	keep[0] = ss->uffd;
	keep[1] = ss->pagemap;
	keep[2] = ss->peer_pidfd;
	keep[3] = ss->bell;
	keep[4] = ss->guard_bell;
	keep[5] = ss->mem;
	keep[6] = ss->peer_pagemap;
	opts.keep_fds = keep;
	opts.n_keep_fds = ARRAY_SIZE(keep);
	return mf_task_start(mf_drain_main, ss->drain, &opts, &ss->ferry);
}

void mf_session_stop_ferry(struct mf_session *ss)
{
	mf_task_free(ss->ferry);
	ss->ferry = NULL;
	mf_session_tcp_stop_ferry(ss);
	if (ss->drainer_stack)
		mf_sys_munmap(ss->drainer_stack, DRAINER_STACK);
	if (ss->zeros)
		mf_sys_munmap((void *)ss->zeros, ss->zeros_len);
	if (ss->bounce)
		mf_sys_munmap((void *)ss->bounce, 2 * ss->zeros_len);
	if (ss->drain)
		mf_sys_munmap(ss->drain, ss->drain_bytes);
	ss->drainer_stack = NULL;
	ss->zeros = ss->bounce = 0;
	ss->drain = NULL;
}
