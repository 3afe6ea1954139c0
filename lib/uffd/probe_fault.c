/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a faulting thread sees, and what the descriptor tells about it. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "uffd/probe.h"

#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif

/* Starts a task that touches spot->addr and reads the fault's message. 0, or it was said. */
static int provoke(struct mf_lab *lab, struct mf_spot *spot, struct mf_child *child,
		   struct mf_touch *touch, struct uffd_msg *ret_msg)
{
	int r;

	touch->addr = spot->addr;
	r = mf_child_task(lab, child, CLONE_FILES, mf_touch_run, touch);
	if (r)
		return r;
	r = mf_lab_message(spot->uffd, ret_msg);
	if (r == -ETIMEDOUT)
		mf_lab_say(lab, MF_MISSING, "no fault was reported");
	else if (r)
		mf_lab_failed(lab, "reading the fault", r);
	else if (ret_msg->event != UFFD_EVENT_PAGEFAULT) {
		mf_lab_say(lab, MF_UNKNOWN, "event %#x came instead of a fault",
			   ret_msg->event);
		r = -EPROTO;
	}
	return r;
}

void mf_probe_copy_wakes(struct mf_lab *lab)
{
	struct mf_child child = MF_CHILD_INIT;
	struct mf_spot spot = MF_SPOT_INIT;
	struct mf_touch touch = {};
	struct uffd_msg msg;
	u64 done;
	long r;

	if (mf_spot_open(lab, &spot, 0, UFFDIO_REGISTER_MODE_MISSING, MF_PAGE_SIZE) ||
	    provoke(lab, &spot, &child, &touch, &msg))
		goto out;
	r = mf_op_copy(spot.uffd, (u64)spot.addr, (u64)lab->page, MF_PAGE_SIZE, 0, &done);
	if (r)
		mf_lab_failed(lab, "UFFDIO_COPY", r);
	else if (mf_child_wait(&child, MF_LAB_WAIT_MS) == 0 && touch.seen == MF_LAB_BYTE)
		mf_lab_say(lab, MF_SUPPORTED,
			   "a task that waited for its page went on and read what was copied");
	else
		mf_lab_say(lab, MF_MISSING, "the faulting task did not go on");
out:
	mf_child_end(&child);
	mf_spot_close(&spot);
}

void mf_probe_copy_exist(struct mf_lab *lab)
{
	struct mf_spot spot = MF_SPOT_INIT;
	u64 done;
	long r;

	if (mf_spot_open(lab, &spot, 0, UFFDIO_REGISTER_MODE_MISSING, MF_PAGE_SIZE))
		goto out;
	r = mf_op_zeropage(spot.uffd, (u64)spot.addr, MF_PAGE_SIZE, 0, &done);
	if (r) {
		mf_lab_failed(lab, "UFFDIO_ZEROPAGE", r);
		goto out;
	}
	spot.addr[0] = 1;
	r = mf_op_copy(spot.uffd, (u64)spot.addr, (u64)lab->page, MF_PAGE_SIZE, 0, &done);
	if (r == -EEXIST && spot.addr[0] == 1)
		mf_lab_say(lab, MF_SUPPORTED,
			   "UFFDIO_COPY onto a present page: EEXIST, and untouched");
	else if (r == 0)
		mf_lab_say(lab, MF_MISSING, "UFFDIO_COPY overwrote a present page");
	else
		mf_lab_failed(lab, "UFFDIO_COPY onto a present page", r);
out:
	mf_spot_close(&spot);
}

/* The task shares our descriptors (CLONE_FILES), so that ours is the last. */
void mf_probe_close_reads_zero(struct mf_lab *lab)
{
	struct mf_child child = MF_CHILD_INIT;
	struct mf_spot spot = MF_SPOT_INIT;
	struct mf_touch touch = { .seen = 0xff };
	struct uffd_msg msg;

	if (mf_spot_open(lab, &spot, 0, UFFDIO_REGISTER_MODE_MISSING, MF_PAGE_SIZE) ||
	    provoke(lab, &spot, &child, &touch, &msg))
		goto out;
	mf_sys_close(spot.uffd);
	spot.uffd = -1;
	if (mf_child_wait(&child, MF_LAB_WAIT_MS))
		mf_lab_say(lab, MF_MISSING, "a waiting task still waits after the last close");
	else if (touch.seen == 0)
		mf_lab_say(lab, MF_SUPPORTED,
			   "the last close let a waiting task go on, and it read zeros");
	else
		mf_lab_say(lab, MF_UNKNOWN, "the waiting task read %#x", touch.seen);
out:
	mf_child_end(&child);
	mf_spot_close(&spot);
}

void mf_probe_thread_id(struct mf_lab *lab)
{
	struct mf_child child = MF_CHILD_INIT;
	struct mf_spot spot = MF_SPOT_INIT;
	struct mf_touch touch = {};
	struct uffd_msg msg;

	if (mf_spot_open(lab, &spot, MF_UFFD_FEATURE_THREAD_ID, UFFDIO_REGISTER_MODE_MISSING,
			 MF_PAGE_SIZE) ||
	    provoke(lab, &spot, &child, &touch, &msg))
		goto out;
	if (msg.arg.pagefault.feat.ptid == (u32)child.pid)
		mf_lab_say(lab, MF_SUPPORTED, "the message named the thread that faulted");
	else
		mf_lab_say(lab, MF_MISSING, "the message named thread %u, it was %d",
			   msg.arg.pagefault.feat.ptid, child.pid);
out:
	mf_child_end(&child);
	mf_spot_close(&spot);
}

static void unprotect(struct mf_lab *lab, struct mf_spot *spot, struct mf_child *child,
		      const struct uffd_msg *msg, u8 wrote)
{
	long r;

	if (!(msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP)) {
		mf_lab_say(lab, MF_MISSING, "the fault came with flags %#llx, without WP",
			   (unsigned long long)msg->arg.pagefault.flags);
		return;
	}
	r = mf_op_writeprotect(spot->uffd, (u64)spot->addr, MF_PAGE_SIZE, 0);
	if (r)
		mf_lab_failed(lab, "taking the protection away", r);
	else if (mf_child_wait(child, MF_LAB_WAIT_MS) == 0 && spot->addr[0] == wrote)
		mf_lab_say(lab, MF_SUPPORTED,
			   "a write to a protected page was reported, and "
			   "went through once it was unprotected");
	else
		mf_lab_say(lab, MF_UNKNOWN, "the writing task did not go on");
}

void mf_probe_wp_anon(struct mf_lab *lab)
{
	struct mf_child child = MF_CHILD_INIT;
	struct mf_spot spot = MF_SPOT_INIT;
	struct mf_touch touch = { .write = 7 };
	struct uffd_msg msg;
	long r;

	spot.addr = mf_lab_map(lab, MF_PAGE_SIZE);
	if (!spot.addr)
		return;
	spot.len = MF_PAGE_SIZE;
	spot.addr[0] = 1;
	if (mf_spot_register(lab, &spot, MF_UFFD_FEATURE_PAGEFAULT_FLAG_WP,
			     UFFDIO_REGISTER_MODE_WP))
		goto out;
	r = mf_op_writeprotect(spot.uffd, (u64)spot.addr, MF_PAGE_SIZE,
			       UFFDIO_WRITEPROTECT_MODE_WP);
	if (r)
		mf_lab_failed(lab, "UFFDIO_WRITEPROTECT", r);
	else if (provoke(lab, &spot, &child, &touch, &msg) == 0)
		unprotect(lab, &spot, &child, &msg, touch.write);
out:
	mf_child_end(&child);
	mf_spot_close(&spot);
}

/* ---- signals: tried in a forked child, which may have handlers */

#define CAME_BY_HANDLER 64 /* + si_code */
#define WENT_THROUGH 1
#define COULD_NOT_TRY 2 /* the answer is in the slot already */

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	_exit(CAME_BY_HANDLER + (info->si_code & 31));
}

static int await_sigbus(volatile u8 *addr)
{
	struct sigaction act = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
	sigset_t set;

	sigemptyset(&act.sa_mask);
	if (sigaction(SIGBUS, &act, NULL))
		return COULD_NOT_TRY;
	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	if (sigprocmask(SIG_UNBLOCK, &set, NULL))
		return COULD_NOT_TRY;
	(void)*addr;
	return WENT_THROUGH;
}

static int touch_poisoned(void *arg)
{
	struct mf_lab *lab = arg;
	struct mf_spot spot = MF_SPOT_INIT;
	u64 done;
	long r;

	if (mf_spot_open(lab, &spot, MF_UFFD_FEATURE_POISON, UFFDIO_REGISTER_MODE_MISSING,
			 MF_PAGE_SIZE))
		return COULD_NOT_TRY;
	r = mf_op_poison(spot.uffd, (u64)spot.addr, MF_PAGE_SIZE, 0, &done);
	if (r) {
		mf_lab_failed(lab, "UFFDIO_POISON", r);
		return COULD_NOT_TRY;
	}
	return await_sigbus(spot.addr);
}

static int touch_missing(void *arg)
{
	struct mf_lab *lab = arg;
	struct mf_spot spot = MF_SPOT_INIT;

	if (mf_spot_open(lab, &spot, MF_UFFD_FEATURE_SIGBUS, UFFDIO_REGISTER_MODE_MISSING,
			 MF_PAGE_SIZE))
		return COULD_NOT_TRY;
	return await_sigbus(spot.addr);
}

static void expect_sigbus(struct mf_lab *lab, mf_child_fn fn, const char *what)
{
	struct mf_child child = MF_CHILD_INIT;
	int r;

	mf_lab_say(lab, MF_UNKNOWN,
		   "%s: the process that should get SIGBUS could not be set up", what);
	if (mf_child_fork(lab, &child, fn, lab))
		return;
	r = mf_child_wait(&child, MF_LAB_WAIT_MS);
	mf_child_end(&child);
	if (r >= CAME_BY_HANDLER && r < CAME_BY_HANDLER + 32)
		mf_lab_say(lab, MF_SUPPORTED, "touching %s gave SIGBUS, si_code %d", what,
			   r - CAME_BY_HANDLER);
	else if (r == WENT_THROUGH)
		mf_lab_say(lab, MF_MISSING, "touching %s went through without a signal", what);
	else if (r == -ETIMEDOUT)
		mf_lab_say(lab, MF_MISSING, "touching %s blocked", what);
	else if (r != COULD_NOT_TRY)
		mf_lab_say(lab, MF_UNKNOWN, "the process that touched %s ended with %d", what,
			   r);
}

void mf_probe_poison_sigbus(struct mf_lab *lab)
{
	expect_sigbus(lab, touch_poisoned, "a poisoned page");
}

void mf_probe_sigbus_mode(struct mf_lab *lab)
{
	expect_sigbus(lab, touch_missing, "a missing page in SIGBUS mode");
}

/* ---- hugetlb */

static u8 *map_hugetlb(struct mf_lab *lab)
{
	long p = mf_sys_mmap(NULL, MF_PMD_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB, -1, 0);

	if (!mf_is_err(p))
		return (u8 *)p;
	if (p == -ENOMEM) {
		mf_lab_say(lab, MF_UNKNOWN, "no 2 MiB page in the hugetlb pool to try it on");
		mf_lab_advise(lab,
			      "sysctl -w vm.nr_hugepages=8, if hugetlb regions are to move");
	} else {
		mf_lab_failed(lab, "mmap with MAP_HUGETLB", p);
	}
	return NULL;
}

static void fill_huge(struct mf_lab *lab, struct mf_spot *spot, struct mf_child *child,
		      const struct mf_touch *touch)
{
	u8 *src = mf_lab_map(lab, MF_PMD_SIZE);
	u64 done;
	long r;

	if (!src)
		return;
	memset(src, MF_LAB_BYTE, MF_PMD_SIZE);
	r = mf_op_copy(spot->uffd, (u64)spot->addr, (u64)src, MF_PMD_SIZE, 0, &done);
	if (r)
		mf_lab_failed(lab, "UFFDIO_COPY of 2 MiB", r);
	else if (mf_child_wait(child, MF_LAB_WAIT_MS) == 0 && touch->seen == MF_LAB_BYTE)
		mf_lab_say(lab, MF_SUPPORTED, "a missing hugetlb page was reported and filled");
	else
		mf_lab_say(lab, MF_UNKNOWN, "the faulting task did not go on");
	mf_sys_munmap(src, MF_PMD_SIZE);
}

void mf_probe_hugetlb_missing(struct mf_lab *lab)
{
	struct mf_child child = MF_CHILD_INIT;
	struct mf_spot spot = MF_SPOT_INIT;
	struct mf_touch touch = {};
	struct uffd_msg msg;

	spot.addr = map_hugetlb(lab);
	if (!spot.addr)
		return;
	spot.len = MF_PMD_SIZE;
	if (mf_spot_register(lab, &spot, MF_UFFD_FEATURE_MISSING_HUGETLBFS,
			     UFFDIO_REGISTER_MODE_MISSING) == 0 &&
	    provoke(lab, &spot, &child, &touch, &msg) == 0)
		fill_huge(lab, &spot, &child, &touch);
	mf_child_end(&child);
	mf_spot_close(&spot);
}
