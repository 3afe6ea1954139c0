/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The outcomes that a mover meets when something is in the way: each named, and each with
 * every page still where it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "foreign.h"
#include "uffd/event.h"
#include "uffd/op.h"

#define SEED 77

struct rig {
	struct foreign f;
	struct mf_mover m;
	struct space ours;
};

static void rig_up(struct rig *rig, const struct foreign_opts *o)
{
	struct mf_mover_caps caps = { .ferry = o->ferry };
	const char *why = foreign_start(&rig->f, o);

	if (!why)
		why = space_make(&rig->ours, KIND_4K, SEED);
	if (why)
		fail_msg("%s", why);
	rig->m = (struct mf_mover){
		.uffd = rig->f.uffd,
		.mem = rig->f.mem,
		.pagemap = rig->f.pagemap,
		.ring = &rig->f.ring,
	};
	mf_mover_pick(&rig->m, &caps);
}

static void rig_down(struct rig *rig)
{
	foreign_stop(&rig->f);
	space_drop(&rig->ours);
}

static int give(struct rig *rig, u64 page, u64 n, u64 *ret_done)
{
	u64 off = page * MF_PAGE_SIZE;

	return mf_mover_give(&rig->m, (u64)rig->f.addr + off, (u64)rig->ours.addr + off,
			     n * MF_PAGE_SIZE, 0, ret_done);
}

static int take(struct rig *rig, u64 n, u64 bits[8])
{
	return mf_mover_take(&rig->m, (u64)rig->ours.addr, (u64)rig->f.addr, n * MF_PAGE_SIZE,
			     bits);
}

/* After a take that failed: everything is there, and it is writable. */
static void check_untouched(struct rig *rig, const u64 bits[8])
{
	u64 there[SPACE_WORDS];

	assert_int_equal(bits_count(bits), 0);
	space_present(rig->f.pagemap, (u64)rig->f.addr, there);
	assert_int_equal(bits_count(there), SPACE_PAGES);
	assert_int_equal(foreign_do(&rig->f, FOREIGN_POKE, 0), 0);
	assert_int_equal(foreign_do(&rig->f, FOREIGN_VERIFY, SEED), -1);
}

/* ------------------------------------------------------------------- give */

static void test_give_partly_then_exists(void **state)
{
	struct foreign_opts o = { .kind = KIND_4K };
	struct rig rig;
	u64 done;

	rig_up(&rig, &o);
	assert_int_equal(give(&rig, 5, 1, &done), MF_MOVED);
	assert_int_equal(done, MF_PAGE_SIZE);
	assert_int_equal(give(&rig, 0, 8, &done), MF_PARTLY);
	assert_int_equal(done, 5 * MF_PAGE_SIZE);
	assert_int_equal(give(&rig, 5, 3, &done), MF_EXISTS);
	assert_int_equal(done, 0);
	assert_int_equal(give(&rig, 6, SPACE_PAGES - 6, &done), MF_MOVED);
	assert_int_equal(rig.m.pages[MF_ROUTE_COPY], SPACE_PAGES);
	assert_int_equal(foreign_do(&rig.f, FOREIGN_VERIFY, SEED), -1);
	rig_down(&rig);
}

static void test_give_gone(void **state)
{
	struct foreign_opts o = { .kind = KIND_4K };
	struct rig rig;
	u64 done;

	rig_up(&rig, &o);
	assert_int_equal(mf_op_unregister(rig.f.uffd, (u64)rig.f.addr, SPACE_LEN / 2), 0);
	assert_int_equal(give(&rig, 0, 4, &done), MF_GONE);
	assert_int_equal(give(&rig, SPACE_PAGES / 2, 4, &done), MF_MOVED);
	kill(rig.f.pid, SIGKILL);
	waitpid(rig.f.pid, NULL, 0);
	rig.f.pid = 0;
	assert_int_equal(give(&rig, SPACE_PAGES / 2 + 8, 4, &done), MF_GONE);
	assert_int_equal(done, 0);
	rig_down(&rig);
}

/* They may cut a mapping in two at any time: that is not the end of it. */
static void test_give_across_mappings(void **state)
{
	struct foreign_opts o = { .kind = KIND_4K };
	u64 done, at, cut = 301;
	struct rig rig;
	int r;

	rig_up(&rig, &o);
	assert_int_equal(foreign_do(&rig.f, FOREIGN_SPLIT, cut), 0);
	for (at = 0; at < cut; at += done / MF_PAGE_SIZE) {
		r = give(&rig, at, SPACE_PAGES - at, &done);
		assert_int_equal(r, MF_PARTLY);
		assert_true(done > 0 && done <= (cut - at) * MF_PAGE_SIZE);
	}
	assert_int_equal(give(&rig, cut, SPACE_PAGES - cut, &done), MF_MOVED);
	assert_int_equal(rig.m.pages[MF_ROUTE_COPY], SPACE_PAGES);
	assert_int_equal(foreign_do(&rig.f, FOREIGN_VERIFY, SEED), -1);
	rig_down(&rig);
}

static void test_give_unreadable(void **state)
{
	struct foreign_opts o = { .kind = KIND_4K };
	struct rig rig;
	u64 done;

	rig_up(&rig, &o);
	munmap(rig.ours.addr + 4 * MF_PAGE_SIZE, MF_PAGE_SIZE);
	assert_int_equal(give(&rig, 0, 8, &done), MF_PARTLY);
	assert_int_equal(done, 4 * MF_PAGE_SIZE);
	assert_int_equal(give(&rig, 4, 4, &done), MF_UNREADABLE);
	assert_int_equal(done, 0);
	rig_down(&rig);
}

/* A discard of theirs waits until its event is read; nothing can be placed meanwhile. */
static void test_give_changing(void **state)
{
	struct foreign_opts o = {
		.kind = KIND_4K,
		.seed = SEED,
		.populated = true,
		.uffd_features = MF_UFFD_FEATURE_EVENT_REMOVE,
	};
	struct pollfd p = { .events = POLLIN };
	struct mf_event ev;
	struct rig rig;
	u64 done;

	rig_up(&rig, &o);
	p.fd = rig.f.uffd;
	foreign_ask(&rig.f, FOREIGN_DISCARD, 3);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(give(&rig, 3, 1, &done), MF_CHANGING);
	assert_int_equal(done, 0);
	assert_int_equal(mf_event_read(rig.f.uffd, &ev, 1), 1);
	assert_int_equal(ev.kind, MF_EVENT_REMOVE);
	assert_int_equal(ev.addr, (u64)rig.f.addr + 3 * MF_PAGE_SIZE);
	assert_int_equal(foreign_answer(&rig.f), 0);
	assert_int_equal(give(&rig, 3, 1, &done), MF_MOVED);
	assert_int_equal(foreign_do(&rig.f, FOREIGN_VERIFY, SEED), -1);
	rig_down(&rig);
}

static void test_give_dontwake(void **state)
{
	struct foreign_opts o = { .kind = KIND_4K };
	struct pollfd p = { .events = POLLIN };
	struct rig rig;
	u64 done;

	rig_up(&rig, &o);
	p.fd = rig.f.sock;
	/* it faults on the first page and waits */
	foreign_ask(&rig.f, FOREIGN_VERIFY, SEED);
	usleep(50000);
	assert_int_equal(mf_mover_give(&rig.m, (u64)rig.f.addr, (u64)rig.ours.addr, SPACE_LEN,
				       MF_GIVE_DONTWAKE, &done),
			 MF_MOVED);
	assert_int_equal(poll(&p, 1, 100), 0);
	assert_int_equal(mf_op_wake(rig.f.uffd, (u64)rig.f.addr, SPACE_LEN), 0);
	assert_int_equal(foreign_answer(&rig.f), -1);
	rig_down(&rig);
}

/* ------------------------------------------------------------------- take */

static const struct foreign_opts with_ferry = {
	.kind = KIND_4K,
	.seed = SEED,
	.populated = true,
	.ferry = true,
	.spin_ns = 20000,
};

static void test_take_no_consent(void **state)
{
	struct foreign_opts o = with_ferry;
	struct rig rig;
	u64 bits[8];

	o.no_consent = true;
	rig_up(&rig, &o);
	assert_int_equal(take(&rig, SPACE_PAGES, bits), MF_BUSY);
	check_untouched(&rig, bits);
	rig_down(&rig);
}

static void test_take_ferry_dead(void **state)
{
	struct pollfd p = { .events = POLLIN };
	struct rig rig;
	u64 bits[8];

	rig_up(&rig, &with_ferry);
	p.fd = rig.f.ferry_pidfd;
	mf_sys_pidfd_send_signal(rig.f.ferry_pidfd, SIGKILL);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(take(&rig, SPACE_PAGES, bits), MF_BUSY);
	check_untouched(&rig, bits);
	rig_down(&rig);
}

static void test_take_ferry_stopped(void **state)
{
	struct rig rig;
	u64 bits[8];

	rig_up(&rig, &with_ferry);
	mf_sys_pidfd_send_signal(rig.f.ferry_pidfd, SIGSTOP);
	assert_int_equal(take(&rig, SPACE_PAGES, bits), MF_BUSY);
	mf_sys_pidfd_send_signal(rig.f.ferry_pidfd, SIGCONT);
	check_untouched(&rig, bits);
	/* the order that was given up does not run late; the next one does */
	assert_int_equal(take(&rig, SPACE_PAGES, bits), MF_MOVED);
	assert_int_equal(bits_count(bits), SPACE_PAGES);
	assert_int_equal(space_first_wrong(rig.ours.addr, KIND_4K, SEED), -1);
	rig_down(&rig);
}

static void test_take_gone(void **state)
{
	struct pollfd p = { .events = POLLIN };
	struct rig rig;
	u64 bits[8];

	rig_up(&rig, &with_ferry);
	assert_int_equal(mf_op_unregister(rig.f.uffd, (u64)rig.f.addr, SPACE_LEN / 2), 0);
	assert_int_equal(take(&rig, SPACE_PAGES, bits), MF_GONE);
	check_untouched(&rig, bits);
	p.fd = rig.f.ferry_pidfd;
	kill(rig.f.pid, SIGKILL);
	waitpid(rig.f.pid, NULL, 0);
	rig.f.pid = 0;
	mf_sys_pidfd_send_signal(rig.f.ferry_pidfd, SIGKILL);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(take(&rig, SPACE_PAGES, bits), MF_GONE);
	assert_int_equal(bits_count(bits), 0);
	rig_down(&rig);
}

/* The main process is gone, its ferry holds the space: the pages are still to be had. */
static void test_take_outlives_main(void **state)
{
	struct rig rig;
	u64 bits[8];

	rig_up(&rig, &with_ferry);
	kill(rig.f.pid, SIGKILL);
	waitpid(rig.f.pid, NULL, 0);
	rig.f.pid = 0;
	memset(rig.ours.addr, 0, SPACE_LEN);
	assert_int_equal(take(&rig, SPACE_PAGES, bits), MF_MOVED);
	assert_int_equal(bits_count(bits), SPACE_PAGES);
	assert_int_equal(space_first_wrong(rig.ours.addr, KIND_4K, SEED), -1);
	rig_down(&rig);
}

/* A page whose contents are lost looks like a swapped one to pagemap. */
static void test_take_unreadable(void **state)
{
	struct foreign_opts o = with_ferry;
	struct rig rig;
	u64 bits[8], done;

	o.populated = false;
	o.uffd_features = MF_UFFD_FEATURE_POISON;
	rig_up(&rig, &o);
	if (!(rig.f.features & MF_UFFD_FEATURE_POISON)) {
		rig_down(&rig);
		print_message("# skipped: no UFFDIO_POISON on this kernel\n");
		skip();
	}
	rig.m.give = MF_ROUTE_COPY;
	assert_int_equal(give(&rig, 0, 3, &done), MF_MOVED);
	assert_int_equal(mf_op_poison(rig.f.uffd, (u64)rig.f.addr + 3 * MF_PAGE_SIZE,
				      MF_PAGE_SIZE, 0, &done),
			 0);
	assert_int_equal(take(&rig, 8, bits), MF_UNREADABLE);
	assert_int_equal(bits_count(bits), 0);
	assert_int_equal(take(&rig, 3, bits), MF_MOVED);
	assert_int_equal(bits_count(bits), 3);
	assert_int_equal(space_first_wrong(rig.ours.addr, KIND_4K, SEED), -1);
	rig_down(&rig);
}

struct reader {
	int uffd;
	u32 stop;
	u64 removed;
	u64 at;
};

static void *read_events(void *arg)
{
	struct reader *r = arg;
	struct pollfd p = { .fd = r->uffd, .events = POLLIN };
	struct mf_event ev;

	while (!mf_load(&r->stop)) {
		if (poll(&p, 1, 10) != 1 || mf_event_read(r->uffd, &ev, 1) != 1)
			continue;
		if (ev.kind == MF_EVENT_REMOVE) {
			r->removed += ev.len;
			r->at = ev.addr;
		}
	}
	return NULL;
}

/* Where discards are events, the drop is one, and is done when it has been read. */
static void test_take_with_events(void **state)
{
	struct foreign_opts o = with_ferry;
	struct reader reader = { 0 };
	pthread_t thread;
	struct rig rig;
	u64 bits[8];

	o.uffd_features = MF_UFFD_FEATURE_EVENT_REMOVE;
	rig_up(&rig, &o);
	memset(rig.ours.addr, 0, SPACE_LEN);
	reader.uffd = rig.f.uffd;
	assert_int_equal(pthread_create(&thread, NULL, read_events, &reader), 0);
	assert_int_equal(take(&rig, SPACE_PAGES, bits), MF_MOVED);
	mf_store(&reader.stop, 1);
	pthread_join(thread, NULL);
	assert_int_equal(reader.removed, SPACE_LEN);
	assert_int_equal(reader.at, (u64)rig.f.addr);
	assert_int_equal(bits_count(bits), SPACE_PAGES);
	assert_int_equal(space_first_wrong(rig.ours.addr, KIND_4K, SEED), -1);
	rig_down(&rig);
}

/*
 * Nobody reads the event: the ferry hangs in the drop and is killed for it. Where the
 * pages are tells the truth, and none is in neither place.
 */
static void test_take_hung(void **state)
{
	struct foreign_opts o = with_ferry;
	u64 bits[8], there[SPACE_WORDS], i;
	struct rig rig;
	int r;

	o.uffd_features = MF_UFFD_FEATURE_EVENT_REMOVE;
	rig_up(&rig, &o);
	memset(rig.ours.addr, 0, SPACE_LEN);
	r = take(&rig, SPACE_PAGES, bits);
	space_present(rig.f.pagemap, (u64)rig.f.addr, there);
	print_message("# outcome %d, %lu pages taken, %lu left\n", r,
		      (unsigned long)bits_count(bits), (unsigned long)bits_count(there));
	assert_true(r == MF_PARTLY || r == MF_BUSY);
	for (i = 0; i < SPACE_PAGES; i++) {
		assert_int_not_equal(bit_of(bits, i), bit_of(there, i));
		if (bit_of(bits, i))
			assert_true(
				page_right(rig.ours.addr + i * MF_PAGE_SIZE, KIND_4K, SEED, i));
	}
	rig_down(&rig);
}

#ifdef MF_ENABLE_INJECT
/* Whichever call of a take fails: all of it here, or all of it there and writable. */
static void test_take_injected(void **state)
{
	static const u32 kinds[] = { MF_INJECT_IOCTL, MF_INJECT_READ, MF_INJECT_POLL };
	u64 bits[8];
	struct rig rig;
	size_t k;
	u32 nth;
	int r;

	for (k = 0; k < ARRAY_SIZE(kinds); k++) {
		for (nth = 1; nth <= 3; nth++) {
			rig_up(&rig, &with_ferry);
			memset(rig.ours.addr, 0, SPACE_LEN);
			mf_inject_plan = (struct mf_inject_plan){
				.kind = kinds[k],
				.nth = nth,
				.error = EIO,
			};
			r = take(&rig, SPACE_PAGES, bits);
			mf_inject_plan.kind = MF_INJECT_NONE;
			if (r == MF_MOVED)
				assert_int_equal(
					space_first_wrong(rig.ours.addr, KIND_4K, SEED), -1);
			else
				check_untouched(&rig, bits);
			assert_int_equal(r == MF_MOVED,
					 kinds[k] == MF_INJECT_POLL || !mf_inject_plan.fired);
			rig_down(&rig);
		}
	}
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef MF_ENABLE_INJECT
		cmocka_unit_test(test_take_injected),
#endif
		cmocka_unit_test(test_give_partly_then_exists),
		cmocka_unit_test(test_give_gone),
		cmocka_unit_test(test_give_across_mappings),
		cmocka_unit_test(test_give_unreadable),
		cmocka_unit_test(test_give_changing),
		cmocka_unit_test(test_give_dontwake),
		cmocka_unit_test(test_take_no_consent),
		cmocka_unit_test(test_take_ferry_dead),
		cmocka_unit_test(test_take_ferry_stopped),
		cmocka_unit_test(test_take_gone),
		cmocka_unit_test(test_take_outlives_main),
		cmocka_unit_test(test_take_unreadable),
		cmocka_unit_test(test_take_with_events),
		cmocka_unit_test(test_take_hung),
	};

	return cmocka_run_group_tests_name("mover weather", tests, NULL, NULL);
}
