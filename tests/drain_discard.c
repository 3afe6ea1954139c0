/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two threads discard pages, arrived and not, as fast as they can while the ferry brings
 * them: what was discarded reads as zeros, and what was written after that stays.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "drain_tests.h"

enum page_fate { ORIGINAL, DISCARDED, WRITTEN };

struct discarder {
	struct rig *rig;
	pthread_t thread;
	u64 rnd;
	u32 id, stop;
	u32 advice;
	u8 *fate; /* of each page of the region; a thread has every other one */
	u64 ops, bad;
};

#define NEW_WORD(addr) ((addr) ^ 0x5555aaaa5555aaaaull)

/* What may a word of a page read as that was given away with MADV_FREE? */
static bool may_read(const struct discarder *d, u64 addr, u64 v, bool written)
{
	u64 old = rig_is_hole(addr, d->rig->plan.seed) ? 0 : rig_word(addr, d->rig->plan.seed);

	if (v == 0)
		return true;
	return d->advice == MADV_FREE && v == (written ? NEW_WORD(addr) : old);
}

static void discard_one(struct discarder *d)
{
	u64 pages = d->rig->plan.bytes / PAGE, page, addr;
	bool written;

	page = next_random(&d->rnd) % (pages / 2) * 2 + d->id;
	addr = d->rig->plan.base + page * PAGE;
	written = d->fate[page] == WRITTEN;
	if (d->fate[page] == ORIGINAL && next_random(&d->rnd) % 2)
		(void)*(volatile u64 *)addr; /* half of them are made to arrive first */
	if (madvise((void *)addr, PAGE, (int)d->advice)) {
		d->bad++;
		return;
	}
	d->ops++;
	if (next_random(&d->rnd) % 4 && !may_read(d, addr, *(volatile u64 *)addr, written))
		d->bad++;
	d->fate[page] = DISCARDED;
	if (next_random(&d->rnd) % 2 && d->advice == MADV_DONTNEED)
		return;
	*(volatile u64 *)addr = NEW_WORD(addr);
	if (d->advice == MADV_FREE) /* its first words, where they are not overwritten */
		memset((void *)(addr + 8), 0, PAGE - 8);
	d->fate[page] = WRITTEN;
}

static void *discard(void *arg)
{
	struct discarder *d = arg;

	while (!mf_load(&d->stop))
		discard_one(d);
	return NULL;
}

static u64 check_fates(struct rig *rig, const u8 *fate)
{
	struct rig_count c = { .right = 0 };
	u64 i, addr, bad = 0;

	for (i = 0; i < rig->plan.bytes / PAGE; i++) {
		addr = rig->plan.base + i * PAGE;
		if (fate[i] == ORIGINAL)
			rig_check(addr, PAGE, rig->plan.seed, &c);
		else if (fate[i] == DISCARDED)
			bad += !all_zero(addr, PAGE);
		else
			bad += *(u64 *)addr != NEW_WORD(addr) || !all_zero(addr + 8, PAGE - 8);
	}
	return bad + c.zero + c.wrong + c.poisoned;
}

static int race_discards(struct rig *rig, struct mf_successor *s, u32 advice)
{
	u8 *fate = calloc(rig->plan.bytes / PAGE, 1);
	struct discarder d[2];
	u64 bad;
	u32 i;
	int r;

	if (rig_take(rig, s))
		return -1;
	for (i = 0; i < 2; i++) {
		d[i] = (struct discarder){ .rig = rig,
					   .rnd = rig->plan.seed + i,
					   .id = i,
					   .fate = fate,
					   .advice = advice };
		pthread_create(&d[i].thread, NULL, discard, &d[i]);
	}
	r = mf_successor_wait(s, 20000);
	for (i = 0; i < 2; i++)
		mf_store(&d[i].stop, 1);
	for (i = 0; i < 2; i++)
		pthread_join(d[i].thread, NULL);
	if (r)
		return rig_say(rig, "wait: %s", mf_error());
	bad = check_fates(rig, fate);
	rig->suc.touch_bad = d[0].ops + d[1].ops; /* how hard it was */
	if (d[0].bad + d[1].bad + bad)
		return rig_say(rig,
			       "%llu and %llu wrong reads at once, %llu in the end, %llu ops",
			       (unsigned long long)d[0].bad, (unsigned long long)d[1].bad,
			       (unsigned long long)bad,
			       (unsigned long long)(d[0].ops + d[1].ops));
	free(fate);
	return 0;
}

static int race_dontneed(struct rig *rig, struct mf_successor *s)
{
	return race_discards(rig, s, MADV_DONTNEED);
}

static int race_free(struct rig *rig, struct mf_successor *s)
{
	return race_discards(rig, s, MADV_FREE);
}

/* ---------------------------------------------------------------- promises */

/* Everything is touched while it arrives, without a discard: it is all right in the end. */
static int keep_promise(struct rig *rig, struct mf_successor *s)
{
	u64 rnd = rig->plan.seed, i;

	if (rig_take(rig, s))
		return -1;
	for (i = 0; i < 20000; i++)
		(void)*(volatile u64 *)(rig->plan.base +
					next_random(&rnd) % rig->plan.bytes / PAGE * PAGE);
	return rig_all_right(rig, s, rig->plan.base, rig->plan.bytes);
}

/* What was not to be done is done while the ferry cannot have finished: that is the end. */
static int held(struct rig *rig, struct mf_successor *s)
{
	if (rig_take(rig, s))
		return -1;
	kill(rig->ferry_pid, SIGSTOP);
	return mf_successor_wait(s, 0) ? 0 : -ENODATA;
}

static int ended(struct rig *rig, struct mf_successor *s)
{
	kill(rig->ferry_pid, SIGCONT);
	mf_successor_wait(s, 5000);
	if (rig->plan.flags & RIG_TCP)
		return 0; /* it sees every event anyhow, and needs no promise */
	return rig_say(rig, "the promise was broken, and nothing happened");
}

static void *discard_late(void *arg)
{
	madvise(arg, PAGE, MADV_DONTNEED); /* waits until the ferry runs again */
	return NULL;
}

static int break_by_discard(struct rig *rig, struct mf_successor *s)
{
	pthread_t thread;
	int r = held(rig, s);

	if (r)
		return r == -ENODATA ? 0 : r; /* it was all there already: nothing to see */
	pthread_create(&thread, NULL, discard_late,
		       (void *)(rig->plan.base + rig->plan.bytes - PAGE));
	rig_sleep_ms(50);
	return ended(rig, s);
}

static const struct drain_test tests[] = {
	{ "promise kept", keep_promise, 3, false, MF_SUCCESSOR_FIXED_MAPPINGS },
	{ "promise broken", break_by_discard, 1, true, MF_SUCCESSOR_FIXED_MAPPINGS,
	  "promised" },
	{ "discard, racing", race_dontneed, 6 },
	{ "free, racing", race_free, 2 },
};

int main(int argc, char **argv)
{
	return drain_tests_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
