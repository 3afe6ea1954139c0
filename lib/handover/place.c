/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What does it cost to have a fault served on the same CPU, on another one that spins,
 * by a handler that sleeps? It differs by a factor of eight between a virtual machine
 * and bare metal, and the order differs too: so it is measured, once, before the hand-over
 * begins, on a throw-away userfaultfd. A few milliseconds.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fail.h"
#include "base/sys.h"
#include "handover/place.h"
#include "handover/successor.h"
#include "uffd/open.h"
#include "uffd/op.h"

#define ROUNDS 32
#define WARM 4

static int compare(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return (x > y) - (x < y);
}

static u32 median_touch(volatile u8 *mem)
{
	u32 ns[ROUNDS];
	u64 start;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		start = mf_now_ns();
		(void)mem[(u64)i * MF_PAGE_SIZE];
		ns[i] = (u32)(mf_now_ns() - start);
	}
	qsort(ns + WARM, ROUNDS - WARM, sizeof(ns[0]), compare);
	return ns[WARM + (ROUNDS - WARM) / 2];
}

static void place_job(struct mf_place_job *job, u32 placement, int cpu,
		      const cpu_set_t *allowed)
{
	cpu_set_t set = *allowed;

	job->spin = placement == MF_PLACE_SPIN;
	if (placement == MF_PLACE_SAME) {
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
	} else {
		CPU_CLR(cpu, &set);
	}
	job->cpu_mask_bytes = sizeof(job->cpu_mask);
	memcpy(job->cpu_mask, &set, sizeof(job->cpu_mask));
}

/* 0: could not be measured */
static u32 measure_one(u8 *mem, int uffd, u32 placement, int cpu, const cpu_set_t *allowed)
{
	struct mf_task_opts opts = { .size = sizeof(opts), .name = "mf-place" };
	struct mf_place_job job = { .uffd = uffd };
	struct mf_task *task;
	u32 ns;

	place_job(&job, placement, cpu, allowed);
	mf_sys_madvise(mem, ROUNDS * MF_PAGE_SIZE, MADV_DONTNEED);
	opts.keep_fds = &uffd;
	opts.n_keep_fds = 1;
	if (mf_task_start(mf_place_task, &job, &opts, &task))
		return 0;
	while (!mf_load(&job.ready))
		mf_sys_futex_wait(&job.ready, 0, (s64)MF_NSEC_PER_MSEC);
	ns = median_touch(mem);
	mf_store(&job.stop, 1);
	mf_task_wait(task, 1000, NULL);
	mf_task_free(task);
	return ns;
}

static void measure_all(u8 *mem, int uffd, u32 ns[4])
{
	cpu_set_t allowed, here;
	int cpu = sched_getcpu();
	u32 p;

	if (cpu < 0 || sched_getaffinity(0, sizeof(allowed), &allowed))
		return;
	CPU_ZERO(&here);
	CPU_SET(cpu, &here);
	sched_setaffinity(0, sizeof(here), &here);
	for (p = MF_PLACE_SAME; p <= MF_PLACE_SLEEP; p++)
		if (p == MF_PLACE_SAME || CPU_COUNT(&allowed) > 1)
			ns[p] = measure_one(mem, uffd, p, cpu, &allowed);
	sched_setaffinity(0, sizeof(allowed), &allowed);
}

u32 mf_place_measure(u32 ns[4])
{
	u32 best = MF_PLACE_SAME, p;
	long mem;
	int uffd;

	memset(ns, 0, 4 * sizeof(ns[0]));
	/* no features: a handler's answer is all that is timed */
	if (mf_uffd_create(0, 0, MF_UFFD_USER_MODE_ONLY, &uffd, NULL))
		return best;
	mem = mf_sys_mmap(NULL, ROUNDS * MF_PAGE_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!mf_is_err(mem)) {
		if (mf_op_register(uffd, (u64)mem, ROUNDS * MF_PAGE_SIZE,
				   UFFDIO_REGISTER_MODE_MISSING, NULL) == 0)
			measure_all((u8 *)mem, uffd, ns);
		mf_sys_munmap((void *)mem, ROUNDS * MF_PAGE_SIZE);
	}
	mf_sys_close(uffd);
	for (p = MF_PLACE_SAME; p <= MF_PLACE_SLEEP; p++)
		if (ns[p] && (!ns[best] || ns[p] < ns[best]))
			best = p;
	return best;
}
