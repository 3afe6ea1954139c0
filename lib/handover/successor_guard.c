/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting and minding the guard. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/sys.h"
#include "handover/successor.h"

static int open_fds(struct mf_successor *s)
{
	long fd;

	if (s->pagemap < 0) {
		fd = mf_sys_openat(AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
		if (fd < 0)
			return mf_fail((int)fd, "cannot open /proc/self/pagemap: %s",
				       mf_errno_text((int)fd));
		s->pagemap = (int)fd;
	}
	if (s->self_pidfd < 0) {
		fd = mf_sys_pidfd_open(getpid());
		if (fd < 0)
			return mf_fail((int)fd, "pidfd_open: %s", mf_errno_text((int)fd));
		s->self_pidfd = (int)fd;
	}
	return 0;
}

static int fill(struct mf_successor *s)
{
	struct mf_guard *g;
	long p;
	u32 i;

	s->guard_bytes = mf_align_up(sizeof(*g) + s->n_regions * sizeof(*g->region),
				     MF_PAGE_SIZE);
	p = mf_sys_mmap(NULL, s->guard_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mf_is_err(p))
		return mf_fail((int)p, "no memory for the guard");
	g = s->guard_mem = (struct mf_guard *)p;
	g->region = (void *)(g + 1);
	g->sh = s->sh;
	g->uffd = s->uffd;
	g->pagemap = s->pagemap;
	g->ferry_pidfd = s->ferry_pidfd;
	g->ferry_pid = s->ferry_pid;
	g->main_pidfd = s->self_pidfd;
	g->bell = s->guard_bell;
	g->ferry_bell = s->ferry_bell;
	g->done = s->done;
	g->notice_fd = s->opts.notice_fd > 0 ? s->opts.notice_fd : -1;
	g->stall_ns = s->opts.timeout_ms * MF_NSEC_PER_MSEC;
	for (i = 0; i < s->n_regions; i++) {
		const struct mf_incoming *in = &s->region[i];

		if (!mf_region_moves(&in->w))
			continue;
		g->region[g->n_regions++] = (struct mf_guard_region){
			.addr = in->addr,
			.len = in->w.len,
			.page_size = in->w.page_size,
			.thp = !!(in->w.flags & MF_WIRE_REGION_THP),
			.keep_dontfork = !!(in->w.flags & MF_WIRE_REGION_DONTFORK),
		};
	}
	return 0;
}

int mf_suc_start_guard(struct mf_successor *s)
{
	struct mf_task_opts opts = { .size = sizeof(opts), .name = "mf-guard" };
	int keep[8], r;

	r = open_fds(s);
	if (!r && !s->guard_mem)
		r = fill(s);
	if (r)
		return r;
	keep[0] = s->uffd;
	keep[1] = s->pagemap;
	keep[2] = s->ferry_pidfd;
	keep[3] = s->self_pidfd;
	keep[4] = s->guard_bell;
	keep[5] = s->ferry_bell;
	keep[6] = s->done;
	keep[7] = s->guard_mem->notice_fd;
	opts.keep_fds = keep;
	opts.n_keep_fds = ARRAY_SIZE(keep);
	return mf_task_start(mf_guard_main, s->guard_mem, &opts, &s->guard);
}

int mf_suc_mind_guard(struct mf_successor *s)
{
	struct pollfd p = { .events = POLLIN };

	if (!s->guard || mf_load(&s->sh->phase) >= MF_PHASE_RELEASED)
		return 0;
	p.fd = mf_task_pidfd(s->guard);
	if (mf_sys_ppoll(&p, 1, 0) == 0)
		return 0;
	if (mf_load(&s->sh->phase) >= MF_PHASE_RELEASED)
		return 0;
	mf_logf(MF_LOG_WARN, "the guard task was killed: starting another");
	mf_task_free(s->guard);
	s->guard = NULL;
	return mf_suc_start_guard(s);
}

void mf_suc_stop_guard(struct mf_successor *s)
{
	mf_task_free(s->guard);
	s->guard = NULL;
	if (s->guard_mem)
		mf_sys_munmap(s->guard_mem, s->guard_bytes);
	s->guard_mem = NULL;
}
