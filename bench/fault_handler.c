/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handler's side of "bench fault". Runs in a thread, a forked process, a signal
 * handler or a ferry task, hence the rules of mf_task_start(): no libc at all.
 */
#include <errno.h>

#include <memferry.h>

#include "fault.h"

#define HANDLER_PAGE 4096ul
#define TRIES 100000

static int fill(struct fault_cell *cell, char *dst, char *src)
{
	size_t done;

	switch (cell->row->op) {
	case OP_MOVE:
		return mf_uffd_move(cell->uffd, dst, src, HANDLER_PAGE, 0, &done);
	case OP_COPY:
		return mf_uffd_copy(cell->uffd, dst, src, HANDLER_PAGE, 0, &done);
	default:
		return mf_uffd_zeropage(cell->uffd, dst, HANDLER_PAGE, 0, &done);
	}
}

int fault_resolve(struct fault_cell *cell, uint64_t addr)
{
	char *dst = (char *)(addr & ~(HANDLER_PAGE - 1));
	char *src = cell->src + (dst - cell->dst);
	int r = -EAGAIN;

	for (int i = 0; i < TRIES && r == -EAGAIN; i++)
		r = fill(cell, dst, src);
	if (r == -EEXIST) /* two threads asked for one page */
		r = mf_uffd_wake(cell->uffd, dst, HANDLER_PAGE);
	return r;
}

static int serve(struct fault_cell *cell, const struct mf_event *ev)
{
	int r;

	if (ev->kind != MF_EVENT_FAULT)
		return 0;
	r = fault_resolve(cell, ev->addr);
	if (r)
		return r;
	return ev->addr >= (uint64_t)(cell->dst + cell->pages * HANDLER_PAGE);
}

int fault_handle(void *arg)
{
	struct fault_cell *cell = arg;
	struct mf_event ev[16];
	int n, r = 0;

	__atomic_store_n(&cell->shared->handler_ready, 1, __ATOMIC_RELEASE);
	while (r == 0) {
		n = mf_uffd_read(cell->uffd, ev, 16);
		if (n == -EAGAIN || n == -EINTR)
			continue;
		r = n < 0 ? n : 0;
		for (int i = 0; i < n && r == 0; i++)
			r = serve(cell, &ev[i]);
	}
	if (r < 0)
		__atomic_store_n(&cell->shared->handler_error, r, __ATOMIC_RELEASE);
	return r < 0;
}
