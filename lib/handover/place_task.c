/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The handler of the placement measurement: serves zero pages until told to stop. */
#include "handover/place.h"

#include "uffd/event.h"

#include "base/faultpath.h"

#define BEAT_NS ((s64)20 * MF_NSEC_PER_MSEC)
#define LIFE_NS ((u64)2 * MF_NSEC_PER_SEC)

int mf_place_task(void *arg)
{
	struct mf_place_job *job = arg;
	struct pollfd p = { .fd = job->uffd, .events = POLLIN };
	u64 end = mf_now_ns() + LIFE_NS, done;
	struct mf_event ev[1];

	if (job->cpu_mask_bytes)
		mf_sys_sched_setaffinity(0, job->cpu_mask_bytes, job->cpu_mask);
	mf_store(&job->ready, 1);
	mf_sys_futex_wake(&job->ready, 1);
	while (!mf_load(&job->stop) && mf_now_ns() < end) {
		if (!job->spin)
			mf_task_poll(&p, 1, BEAT_NS);
		else
			mf_cpu_relax();
		if (mf_event_read(job->uffd, ev, 1) == 1 && ev[0].kind == MF_EVENT_FAULT)
			mf_op_zeropage(job->uffd, mf_align_down(ev[0].addr, MF_PAGE_SIZE),
				       MF_PAGE_SIZE, 0, &done);
	}
	return 0;
}
