/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting and minding the guard. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/sys.h"
#include "handover/successor.h"
#include "handover/tcp_fetch.h"

static int open_proc(const char *path, int *ret_fd)
{
	long fd;

	if (*ret_fd >= 0)
		return 0;
	fd = mf_sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return mf_fail((int)fd, "cannot open %s: %s; memferry needs /proc", path,
			       mf_errno_text((int)fd));
	*ret_fd = (int)fd;
	return 0;
}

int mf_suc_open_fds(struct mf_successor *s)
{
	long fd;
	int r;

	r = open_proc("/proc/self/pagemap", &s->pagemap);
	if (!r)
		r = open_proc("/proc/self/maps", &s->maps);
	if (r)
		return r;
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

	s->guard_bytes =
		mf_align_up(sizeof(*g) + s->n_regions * sizeof(*g->region), MF_PAGE_SIZE);
	p = mf_sys_mmap(NULL, s->guard_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mf_is_err(p))
		return mf_fail((int)p, "no memory for the guard");
	g = s->guard_mem = (struct mf_guard *)p;
	g->region = (void *)(g + 1);
	g->sh = s->sh;
	g->uffd = s->uffd;
	g->pagemap = s->pagemap;
	g->maps = s->maps;
	g->ferry_pidfd = s->ferry_pidfd;
	g->ferry_pid = s->ferry_pid;
	g->why = s->fetch_mem ? &s->fetch_mem->why : NULL;
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

/* Part of what mf_successor_pollfd() tells; see there. */
static int watch(struct mf_successor *s, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN };

	if (epoll_ctl(s->epfd, EPOLL_CTL_ADD, fd, &ev))
		return mf_fail(-errno, "epoll_ctl: %s", mf_errno_text(errno));
	return 0;
}

int mf_suc_start_guard(struct mf_successor *s)
{
	struct mf_task_opts opts = { .size = sizeof(opts), .name = "mf-guard" };
	int keep[9], r;

	r = mf_suc_open_fds(s);
	/* a second guard, after the application has closed what is not its own */
	if (!r && !mf_fd_is(s->uffd, "[userfaultfd]"))
		r = mf_fail(-EBADF, "the application has closed descriptors of memferry");
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
	keep[8] = s->maps;
	opts.keep_fds = keep;
	opts.n_keep_fds = ARRAY_SIZE(keep);
	r = mf_task_start(mf_guard_main, s->guard_mem, &opts, &s->guard);
	if (r)
		return r;
	s->guard_silent_ns = 0;
	s->guard_seen_ns = mf_now_ns();
	return watch(s, mf_task_pidfd(s->guard));
}

#define LOOK_NS (200 * MF_NSEC_PER_MSEC)

/*
 * Stopped, by somebody's SIGSTOP? Only time in which we look counts, as in the guard's own
 * watch over the ferry.
 */
static bool is_stuck(struct mf_successor *s)
{
	u32 beat = mf_load(&s->guard_mem->beat);
	u64 now = mf_now_ns();

	s->guard_silent_ns += mf_min(now - s->guard_seen_ns, LOOK_NS);
	s->guard_seen_ns = now;
	if (beat != s->guard_beat) {
		s->guard_beat = beat;
		s->guard_silent_ns = 0;
	}
	return s->guard_silent_ns > s->opts.timeout_ms * MF_NSEC_PER_MSEC;
}

int mf_suc_mind_guard(struct mf_successor *s)
{
	if (mf_load(&s->sh->phase) >= MF_PHASE_RELEASED)
		return 0;
	if (s->guard && !mf_task_ended(s->guard) && !is_stuck(s))
		return 0;
	if (mf_load(&s->sh->phase) >= MF_PHASE_RELEASED)
		return 0;
	mf_logf(MF_LOG_WARN, "the guard task was killed or stopped: starting another");
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
