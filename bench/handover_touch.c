/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The successor at work while its memory arrives: one thread that touches a random page
 * and then computes for a while, as a server does that is kept busy. A touch is recorded
 * if it was a fault (the thread's fault counters tell), whoever resolved it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench.h"
#include "child.h"
#include "handover.h"
#include "memory.h"

#define THINK_NS 20000
#define START_US 50

static const struct ho_cell *cell;
static pthread_t thread;
static uint32_t stop;

static long faults_so_far(void)
{
	struct rusage ru;

	getrusage(RUSAGE_THREAD, &ru);
	return ru.ru_minflt + ru.ru_majflt;
}

static void think(void)
{
	uint64_t end = now_ns() + THINK_NS;

	while (now_ns() < end)
		;
}

static void touch_one(uint64_t page)
{
	long before = faults_so_far();
	uint64_t t0 = now_ns();

	(void)*(volatile uint64_t *)(cell->base + page * PAGE);
	t0 = now_ns() - t0;
	if (faults_so_far() != before)
		hist_record(&cell->shared->faults, t0);
	cell->shared->touches++;
}

static void *touch_until_stopped(void *arg)
{
	uint64_t pages = cell->bytes / PAGE, state = now_ns() | 1;

	while (!__atomic_load_n(&cell->shared->commit_ns, __ATOMIC_ACQUIRE) &&
	       !ho_raised(&stop))
		usleep(START_US); /* the blackout needs the CPU */
	while (!ho_raised(&stop)) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		touch_one((state >> 24) % pages);
		think();
	}
	return NULL;
}

int ho_touch_start(const struct ho_cell *c)
{
	cell = c;
	hist_init(&c->shared->faults);
	if (pthread_create(&thread, NULL, touch_until_stopped, NULL))
		return child_fail(-EAGAIN, "cannot start the touching thread");
	return 0;
}

void ho_touch_stop(void)
{
	ho_raise(&stop);
	pthread_join(thread, NULL);
}
