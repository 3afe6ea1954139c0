/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handover/retired.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/sys.h"
#include "handover/state.h"
#include "memferry.h"

struct retired {
	struct retired *next;
	struct mf_task *task;
	void *mem;
	u64 bytes;
	struct mf_shared *sh;
};

static pthread_mutex_t retired_lock = PTHREAD_MUTEX_INITIALIZER;
static struct retired *retired_list;

static void drop(struct mf_task *task, void *mem, u64 bytes, struct mf_shared *sh)
{
	mf_task_free(task); /* kills it, if it must be */
	if (mem)
		mf_sys_munmap(mem, bytes);
	mf_shared_unmap(sh);
}

static bool has_ended(const struct mf_task *task)
{
	struct pollfd p = { .fd = mf_task_pidfd(task), .events = POLLIN };

	return mf_sys_ppoll(&p, 1, 0) != 0;
}

void mf_retire(struct mf_task *task, void *mem, u64 bytes, struct mf_shared *sh)
{
	struct retired *r;

	if (!task || has_ended(task) || !(r = malloc(sizeof(*r)))) {
		drop(task, mem, bytes, sh);
		return;
	}
	*r = (struct retired){ .task = task, .mem = mem, .bytes = bytes, .sh = sh };
	pthread_mutex_lock(&retired_lock);
	r->next = retired_list;
	retired_list = r;
	pthread_mutex_unlock(&retired_lock);
}

void mf_retired_reap(void)
{
	struct retired **p, *r;

	pthread_mutex_lock(&retired_lock);
	for (p = &retired_list; (r = *p);) {
		if (!has_ended(r->task)) {
			p = &r->next;
			continue;
		}
		*p = r->next;
		drop(r->task, r->mem, r->bytes, r->sh);
		free(r);
	}
	pthread_mutex_unlock(&retired_lock);
}
