/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that touches absent pages at random and times itself: what a fault costs the
 * thread that has it, message, wake-ups and all. Asked for by sample_hz.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "base/fail.h"
#include "base/sys.h"
#include "handover/successor.h"

#define PM_POPULATED (((u64)1 << 63) | ((u64)1 << 62))
#define TRIES 64

static u64 next_random(u64 *state)
{
	u64 x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

/* A page that has not arrived, or 0 if none was found in a few tries. */
static u64 absent_page(const struct mf_successor *s, u64 *rnd)
{
	const struct mf_incoming *in;
	u64 page, entry;
	int i;

	for (i = 0; i < TRIES; i++) {
		in = &s->region[next_random(rnd) % s->n_regions];
		if (!mf_region_moves(&in->w))
			continue;
		page = in->addr + next_random(rnd) % (in->w.len / MF_PAGE_SIZE) * MF_PAGE_SIZE;
		entry = 0;
		mf_sys_pread(s->pagemap, &entry, 8, page / MF_PAGE_SIZE * 8);
		if (!(entry & PM_POPULATED))
			return page;
	}
	return 0;
}

/*
 * The touch is a system call that reads one byte: if the page is lost meanwhile that is
 * an EFAULT for us, where a plain load would be a SIGBUS for the application.
 */
static void sample(struct mf_successor *s, int sink, u64 *rnd)
{
	u64 page = absent_page(s, rnd), start, faults;
	long r;

	if (!page)
		return;
	faults = s->sh->faults;
	start = mf_now_ns();
	r = mf_sys(__NR_pwrite64, sink, page, 1, 0, 0);
	/* nobody was asked: it had arrived between look and touch */
	if (r == 1 && s->sh->faults != faults)
		mf_hist_add(&s->sh->fault, mf_now_ns() - start);
}

static void *run(void *arg)
{
	struct mf_successor *s = arg;
	s64 period = (s64)(MF_NSEC_PER_SEC / s->opts.sample_hz);
	struct timespec ts = { period / 1000000000, period % 1000000000 };
	u64 rnd = mf_now_ns() | 1;
	long sink = mf_sys_memfd_create("memferry-sample", MFD_CLOEXEC);

	while (sink >= 0 && mf_load(&s->sampling) &&
	       mf_load(&s->sh->phase) < MF_PHASE_DRAINED) {
		sample(s, (int)sink, &rnd);
		nanosleep(&ts, NULL);
	}
	if (sink >= 0)
		mf_sys_close((int)sink);
	return NULL;
}

void mf_suc_start_sampler(struct mf_successor *s)
{
	sigset_t all, old;

	if (!s->opts.sample_hz || !s->n_regions)
		return;
	s->sampling = true;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	if (pthread_create(&s->sampler, NULL, run, s))
		s->sampling = false;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!s->sampling)
		mf_logf(MF_LOG_WARN, "no thread to sample faults with");
}

void mf_suc_stop_sampler(struct mf_successor *s)
{
	if (!s->sampling)
		return;
	mf_store(&s->sampling, false);
	pthread_join(s->sampler, NULL);
}
