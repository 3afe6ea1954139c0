/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first code that runs in a new task. */
#include <linux/prctl.h>

#include "ferry/task.h"

#include "base/faultpath.h"

#define MF_FD_LIMIT_FALLBACK 65536u

static void close_span(unsigned int first, unsigned int last)
{
	if (first > last)
		return;
	if (mf_sys_close_range(first, last) == 0)
		return;
	/* before 5.9 */
	if (last > MF_FD_LIMIT_FALLBACK)
		last = MF_FD_LIMIT_FALLBACK;
	for (; first <= last; first++)
		mf_sys_close((int)first);
}

/*
 * The descriptor table was copied by the clone. A copy of a client's connection would
 * keep it open after everybody else closed it, so all but the wanted ones go.
 */
static void close_others(const struct mf_task_start *st)
{
	unsigned int next = 0;
	u32 i;

	for (i = 0; i < st->n_keep; i++) {
		if (st->keep[i] > 0)
			close_span(next, (unsigned int)st->keep[i] - 1);
		next = (unsigned int)st->keep[i] + 1;
	}
	close_span(next, ~0u);
}

int mf_task_entry(void *start)
{
	const struct mf_task_start *st = start;

	mf_sys_prctl(PR_SET_NAME, (unsigned long)st->name);
	close_others(st);
	mf_sys_exit_group(st->fn(st->arg));
}
