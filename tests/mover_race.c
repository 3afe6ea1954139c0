/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages go back and forth while the process that has them writes into them all the time,
 * by itself and through the kernel. Every write must be there in the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "foreign.h"
#include "uffd/event.h"
#include "uffd/op.h"

#define RUN_MS 2500
#define GRACE_MS 300

/* Serves the target's faults from what it took, one page or the window at a time. */
struct monitor {
	struct foreign f;
	struct mf_mover m;
	u8 *stash;
	u64 held[SPACE_WORDS]; /* these pages are ours now */
	u64 takes, busy, pages_taken, faults, wp_faults;
	u64 rnd;
};

static u64 rnd(struct monitor *mon, u64 below)
{
	mon->rnd ^= mon->rnd << 13;
	mon->rnd ^= mon->rnd >> 7;
	mon->rnd ^= mon->rnd << 17;
	return mon->rnd % below;
}

static void give_page(struct monitor *mon, u64 page)
{
	u64 off = page * MF_PAGE_SIZE, done;

	assert_int_equal(mf_mover_give(&mon->m, (u64)mon->f.addr + off, (u64)mon->stash + off,
				       MF_PAGE_SIZE, 0, &done),
			 MF_MOVED);
	mon->held[page / 64] &= ~((u64)1 << (page % 64));
}

static void serve(struct monitor *mon, const struct mf_event *ev)
{
	u64 page = (ev->addr - (u64)mon->f.addr) / MF_PAGE_SIZE;

	assert_int_equal(ev->kind, MF_EVENT_FAULT);
	assert_true(page < SPACE_PAGES);
	mon->faults++;
	mon->wp_faults += !!(ev->flags & MF_FAULT_WP);
	if (bit_of(mon->held, page))
		give_page(mon, page);
	else /* it ran into the protection of a take that is over: look again */
		mf_op_wake(mon->f.uffd, ev->addr & ~(MF_PAGE_SIZE - 1), MF_PAGE_SIZE);
}

static void serve_pending(struct monitor *mon)
{
	struct mf_event ev[MF_UFFD_BATCH];
	long n = mf_event_read(mon->f.uffd, ev, MF_UFFD_BATCH), i;

	for (i = 0; i < n; i++)
		serve(mon, &ev[i]);
}

static void serve_for(struct monitor *mon, u64 ns)
{
	struct pollfd p = { .fd = mon->f.uffd, .events = POLLIN };
	u64 end = mf_now_ns() + ns;

	while (mf_now_ns() < end)
		if (poll(&p, 1, 1) == 1)
			serve_pending(mon);
}

static void take_some(struct monitor *mon)
{
	u64 len = (1 + rnd(mon, 128)), page = rnd(mon, SPACE_PAGES - len), bits[8], i;
	u64 off = page * MF_PAGE_SIZE;
	int r = mf_mover_take(&mon->m, (u64)mon->stash + off, (u64)mon->f.addr + off,
			      len * MF_PAGE_SIZE, bits);

	assert_true(r == MF_MOVED || r == MF_BUSY || r == MF_PARTLY);
	mon->takes++;
	mon->busy += r == MF_BUSY;
	for (i = 0; i < len; i++) {
		if (!bit_of(bits, i))
			continue;
		/* one owner: it cannot have been ours already */
		assert_false(bit_of(mon->held, page + i));
		mon->held[(page + i) / 64] |= (u64)1 << ((page + i) % 64);
		mon->pages_taken++;
	}
	serve_pending(mon); /* read before they are woken: who ran into the protection */
	mf_op_wake(mon->f.uffd, (u64)mon->f.addr + off, len * MF_PAGE_SIZE);
}

/*
 * A take overwrites the parts of the stash that it reads, so it must only be asked for
 * pages that are not held there: it sees those as holes and leaves them alone.
 */
static void take_and_serve(struct monitor *mon, u64 ms)
{
	u64 end = mf_now_ns() + ms * MF_NSEC_PER_MSEC;

	while (mf_now_ns() < end) {
		take_some(mon);
		serve_for(mon, rnd(mon, 300) * MF_NSEC_PER_USEC);
		if (rnd(mon, 8) == 0) /* unasked, too */
			for (u64 i = 0; i < SPACE_PAGES; i += 1 + rnd(mon, 4))
				if (bit_of(mon->held, i))
					give_page(mon, i);
	}
}

static void monitor_up(struct monitor *mon, enum kind kind)
{
	struct foreign_opts o = {
		.kind = kind,
		.populated = true,
		.ferry = true,
		.seed = 5,
		.spin_ns = 20000,
	};
	struct mf_mover_caps caps = { .ferry = true };
	const char *why;

	*mon = (struct monitor){ .rnd = 0x2545f4914f6cdd1dull };
	why = foreign_start(&mon->f, &o);
	if (why) {
		print_message("# skipped: %s\n", why);
		skip();
	}
	mon->m = (struct mf_mover){
		.uffd = mon->f.uffd,
		.mem = mon->f.mem,
		.pagemap = mon->f.pagemap,
		.ring = &mon->f.ring,
	};
	mf_mover_pick(&mon->m, &caps);
	mon->stash = aligned_alloc(MF_PAGE_SIZE, SPACE_LEN);
	assert_int_equal(foreign_do(&mon->f, FOREIGN_HAMMER, 0), 0);
}

static void monitor_down(struct monitor *mon)
{
	long lost, n;
	u64 i;

	for (i = 0; i < SPACE_PAGES; i++)
		if (bit_of(mon->held, i))
			give_page(mon, i);
	/* nothing is missing or protected any more, but they may still wait */
	mf_op_wake(mon->f.uffd, (u64)mon->f.addr, SPACE_LEN);
	lost = foreign_do(&mon->f, FOREIGN_TALLY, 0);
	n = foreign_do(&mon->f, FOREIGN_WRITES, 0);
	print_message("# %ld writes, %ld words lost; %lu takes (%lu busy) of %lu pages, "
		      "%lu faults (%lu on protection)\n",
		      n, lost, (unsigned long)mon->takes, (unsigned long)mon->busy,
		      (unsigned long)mon->pages_taken, (unsigned long)mon->faults,
		      (unsigned long)mon->wp_faults);
	foreign_stop(&mon->f);
	free(mon->stash);
	assert_int_equal(lost, 0);
	assert_true(n > 1000);
	assert_true(mon->pages_taken > 1000);
	assert_true(mon->faults > 100);
	assert_true(mon->wp_faults > 0);
}

static void test_race(void **state)
{
	struct monitor mon;

	monitor_up(&mon, *(enum kind *)*state);
	take_and_serve(&mon, RUN_MS);
	assert_int_equal(mon.busy, 0);
	monitor_down(&mon);
}

/* The ferry is killed in the middle: what was taken goes back, the rest has stayed. */
static void test_ferry_killed(void **state)
{
	struct monitor mon;
	pid_t killer;
	u64 before;

	monitor_up(&mon, KIND_4K);
	killer = fork();
	if (killer == 0) {
		usleep(GRACE_MS * 1000 + 137);
		mf_sys_pidfd_send_signal(mon.f.ferry_pidfd, SIGKILL);
		_exit(0);
	}
	take_and_serve(&mon, GRACE_MS + 700);
	before = mon.busy;
	assert_true(before > 0);
	take_and_serve(&mon, 50);
	assert_true(mon.busy > before);
	assert_int_equal(mf_sys_wait4(killer, NULL, 0), killer);
	monitor_down(&mon);
}

int main(void)
{
	static enum kind kind_4k = KIND_4K, thp = KIND_THP, locked = KIND_MLOCKED,
			 forked = KIND_FORKED;
	const struct CMUnitTest tests[] = {
		{ "race: 4K", test_race, NULL, NULL, &kind_4k },
		{ "race: THP", test_race, NULL, NULL, &thp },
		{ "race: mlocked", test_race, NULL, NULL, &locked },
		{ "race: forked", test_race, NULL, NULL, &forked },
		cmocka_unit_test(test_ferry_killed),
	};

	return cmocka_run_group_tests_name("mover race", tests, NULL, NULL);
}
