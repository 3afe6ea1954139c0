/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What UFFDIO_MOVE promises: in one space, from a task, across spaces, huge, shared. */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "uffd/probe.h"

#define CROSS_BITS (MF_UFFD_FEATURE_MOVE | MF_UFFD_FEATURE_MOVE_CROSS_MM)
#define TAKE_BITS (CROSS_BITS | MF_UFFD_FEATURE_MOVE_TAKE)

/* the child's answer when the ioctl succeeded but the bytes are wrong */
#define BAD_BYTES 200

static bool all_bytes(const u8 *p, size_t len, u8 value)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (p[i] != value)
			return false;
	return true;
}

/* Only bits that the kernel offers: the attempt without them has an answer to give too. */
static u64 offered(const struct mf_lab *lab, u64 bits)
{
	return (lab->probe->offer & bits) == bits ? bits : 0;
}

void mf_probe_move_same_space(struct mf_lab *lab)
{
	struct mf_spot spot = MF_SPOT_INIT;
	u8 *src = mf_lab_map(lab, MF_PAGE_SIZE);
	u64 done;
	long r;

	if (!src)
		return;
	memset(src, MF_LAB_BYTE, MF_PAGE_SIZE);
	if (mf_spot_open(lab, &spot, MF_UFFD_FEATURE_MOVE, UFFDIO_REGISTER_MODE_MISSING,
			 MF_PAGE_SIZE))
		goto out;
	r = mf_op_move(spot.uffd, (u64)spot.addr, (u64)src, MF_PAGE_SIZE, 0, &done);
	if (r)
		mf_lab_failed(lab, "UFFDIO_MOVE", r);
	else if (!all_bytes(spot.addr, MF_PAGE_SIZE, MF_LAB_BYTE))
		mf_lab_say(lab, MF_UNKNOWN, "the page arrived with other contents");
	else if (mf_lab_resident(src))
		mf_lab_say(lab, MF_UNKNOWN, "the page arrived, but its source is still there");
	else
		mf_lab_say(lab, MF_SUPPORTED,
			   "the page arrived with its contents, and its old "
			   "place is empty");
out:
	mf_sys_munmap(src, MF_PAGE_SIZE);
	mf_spot_close(&spot);
}

/* ---- from a task or process with the descriptor */

struct mover {
	int uffd;
	u64 dst, src;
};

static int task_moves(void *arg)
{
	const struct mover *m = arg;
	u64 done;

	return (int)-mf_op_move(m->uffd, m->dst, m->src, MF_PAGE_SIZE, 0, &done);
}

void mf_probe_move_task(struct mf_lab *lab)
{
	struct mf_child child = MF_CHILD_INIT;
	struct mf_spot spot = MF_SPOT_INIT;
	u8 *src = mf_lab_map(lab, MF_PAGE_SIZE);
	struct mover m;
	int r;

	if (!src)
		return;
	memset(src, MF_LAB_BYTE, MF_PAGE_SIZE);
	if (mf_spot_open(lab, &spot, MF_UFFD_FEATURE_MOVE, UFFDIO_REGISTER_MODE_MISSING,
			 MF_PAGE_SIZE))
		goto out;
	m = (struct mover){ spot.uffd, (u64)spot.addr, (u64)src };
	if (mf_child_task(lab, &child, 0, task_moves, &m))
		goto out;
	r = mf_child_wait(&child, MF_LAB_WAIT_MS);
	if (r == 0 && all_bytes(spot.addr, MF_PAGE_SIZE, MF_LAB_BYTE))
		mf_lab_say(lab, MF_SUPPORTED,
			   "a clone(CLONE_VM) task with a pid and "
			   "descriptors of its own moved a page");
	else if (r > 0 && r < BAD_BYTES)
		mf_lab_failed(lab, "UFFDIO_MOVE by a clone(CLONE_VM) task", -r);
	else
		mf_lab_say(lab, MF_UNKNOWN, "the clone(CLONE_VM) task ended with %d", r);
out:
	mf_child_end(&child);
	mf_sys_munmap(src, MF_PAGE_SIZE);
	mf_spot_close(&spot);
}

static void *own_page(u8 value)
{
	long p = mf_sys_mmap(NULL, MF_PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mf_is_err(p))
		mf_sys_exit_group(ENOMEM);
	if (value)
		memset((void *)p, value, MF_PAGE_SIZE);
	return (void *)p;
}

/* The source is mapped after the fork: a page shared by it would be EBUSY. */
static int foreign_gives(void *arg)
{
	const struct mover *m = arg;
	u64 done;

	return (int)-mf_op_move(m->uffd, m->dst, (u64)own_page(MF_LAB_BYTE), MF_PAGE_SIZE, 0,
				&done);
}

static int foreign_takes(void *arg)
{
	const struct mover *m = arg;
	u8 *dst = own_page(0);
	u64 done;
	long r;

	r = mf_op_move(m->uffd, (u64)dst, m->src, MF_PAGE_SIZE, MF_UFFDIO_MOVE_MODE_TAKE,
		       &done);
	if (r)
		return (int)-r;
	return all_bytes(dst, MF_PAGE_SIZE, MF_LAB_BYTE) ? 0 : BAD_BYTES;
}

static int foreign_copies(void *arg)
{
	const struct mover *m = arg;
	u64 done;

	return (int)-mf_op_copy(m->uffd, m->dst, (u64)own_page(MF_LAB_BYTE), MF_PAGE_SIZE, 0,
				&done);
}

/* What a foreign process came back with; true if it did the deed. */
static bool foreign_done(struct mf_lab *lab, struct mf_child *child, const char *what,
			 bool feature)
{
	int r = mf_child_wait(child, MF_LAB_WAIT_MS);

	if (r == 0)
		return true;
	if (r < 0 || r >= BAD_BYTES)
		mf_lab_say(lab, MF_UNKNOWN, "%s: the process ended with %d", what, r);
	else if (r == EINVAL)
		mf_lab_say(lab, MF_MISSING, "%s from another process: %s; feature %s", what,
			   mf_errno_text(-r), feature ? "enabled" : "not offered");
	else
		mf_lab_failed(lab, what, -r);
	return false;
}

void mf_probe_move_cross_give(struct mf_lab *lab)
{
	u64 bits = offered(lab, CROSS_BITS);
	struct mf_child child = MF_CHILD_INIT;
	struct mf_spot spot = MF_SPOT_INIT;
	struct mover m;

	if (mf_spot_open(lab, &spot, bits, UFFDIO_REGISTER_MODE_MISSING, MF_PAGE_SIZE))
		goto out;
	m = (struct mover){ spot.uffd, (u64)spot.addr, 0 };
	if (mf_child_fork(lab, &child, foreign_gives, &m) ||
	    !foreign_done(lab, &child, "UFFDIO_MOVE", bits))
		goto out;
	if (mf_lab_resident(spot.addr) && all_bytes(spot.addr, MF_PAGE_SIZE, MF_LAB_BYTE))
		mf_lab_say(lab, MF_SUPPORTED, "another process moved its page into this one");
	else
		mf_lab_say(lab, MF_UNKNOWN, "the call succeeded but the page did not arrive");
out:
	mf_child_end(&child);
	mf_spot_close(&spot);
}

void mf_probe_move_cross_take(struct mf_lab *lab)
{
	u64 bits = offered(lab, TAKE_BITS);
	struct mf_child child = MF_CHILD_INIT;
	struct mf_spot spot = MF_SPOT_INIT;
	struct mover m;
	u64 done;
	long r;

	if (mf_spot_open(lab, &spot, bits, UFFDIO_REGISTER_MODE_MISSING, MF_PAGE_SIZE))
		goto out;
	m = (struct mover){ spot.uffd, 0, (u64)spot.addr };
	/* the child must not share the page, so it does not get the mapping */
	mf_sys_madvise(spot.addr, MF_PAGE_SIZE, MADV_DONTFORK);
	r = mf_op_copy(spot.uffd, (u64)spot.addr, (u64)lab->page, MF_PAGE_SIZE, 0, &done);
	if (r) {
		mf_lab_failed(lab, "UFFDIO_COPY of a page to take", r);
		goto out;
	}
	if (mf_child_fork(lab, &child, foreign_takes, &m) ||
	    !foreign_done(lab, &child, "UFFDIO_MOVE with TAKE", bits))
		goto out;
	if (mf_lab_resident(spot.addr))
		mf_lab_say(lab, MF_UNKNOWN, "taken, and still there");
	else
		mf_lab_say(lab, MF_SUPPORTED, "another process took a page out of this one");
out:
	mf_child_end(&child);
	mf_spot_close(&spot);
}

void mf_probe_copy_cross(struct mf_lab *lab)
{
	struct mf_child child = MF_CHILD_INIT;
	struct mf_spot spot = MF_SPOT_INIT;
	struct mover m;

	if (mf_spot_open(lab, &spot, 0, UFFDIO_REGISTER_MODE_MISSING, MF_PAGE_SIZE))
		goto out;
	m = (struct mover){ spot.uffd, (u64)spot.addr, 0 };
	if (mf_child_fork(lab, &child, foreign_copies, &m) ||
	    !foreign_done(lab, &child, "UFFDIO_COPY", true))
		goto out;
	if (mf_lab_resident(spot.addr) && all_bytes(spot.addr, MF_PAGE_SIZE, MF_LAB_BYTE))
		mf_lab_say(lab, MF_SUPPORTED, "another process filled a missing page here");
	else
		mf_lab_say(lab, MF_UNKNOWN, "the call succeeded but the page did not arrive");
out:
	mf_child_end(&child);
	mf_spot_close(&spot);
}

/* ---- shared pages */

static int sleep_on(void *arg)
{
	mf_sys_ppoll(NULL, 0, -1);
	return 0;
}

void mf_probe_move_busy(struct mf_lab *lab)
{
	struct mf_child child = MF_CHILD_INIT;
	struct mf_spot spot = MF_SPOT_INIT;
	u8 *src = mf_lab_map(lab, MF_PAGE_SIZE);
	u64 done;
	long r;

	if (!src)
		return;
	memset(src, MF_LAB_BYTE, MF_PAGE_SIZE);
	if (mf_spot_open(lab, &spot, MF_UFFD_FEATURE_MOVE, UFFDIO_REGISTER_MODE_MISSING,
			 MF_PAGE_SIZE) ||
	    mf_child_fork(lab, &child, sleep_on, NULL))
		goto out;
	r = mf_op_move(spot.uffd, (u64)spot.addr, (u64)src, MF_PAGE_SIZE, 0, &done);
	if (r == -EBUSY && all_bytes(src, MF_PAGE_SIZE, MF_LAB_BYTE))
		mf_lab_say(lab, MF_SUPPORTED,
			   "a page shared with a forked child: EBUSY, and untouched");
	else if (r == 0)
		mf_lab_say(lab, MF_MISSING, "a page shared with a forked child was moved away");
	else
		mf_lab_failed(lab, "UFFDIO_MOVE of a shared page", r);
out:
	mf_child_end(&child);
	mf_sys_munmap(src, MF_PAGE_SIZE);
	mf_spot_close(&spot);
}

/* ---- huge pages */

/* @len of memory at a multiple of PMD size inside a mapping of len + PMD, not populated */
static u8 *aligned(u8 *map)
{
	return (u8 *)mf_align_up((u64)map, MF_PMD_SIZE);
}

/* 0: [p, p + 2 MiB) is one huge page now. Otherwise the answer was said. */
static int make_huge(struct mf_lab *lab, u8 *p)
{
	long r = mf_sys_madvise(p, MF_PMD_SIZE, MADV_HUGEPAGE);
	int huge;

	if (r) {
		mf_lab_failed(lab, "MADV_HUGEPAGE", r);
		return (int)r;
	}
	memset(p, MF_LAB_BYTE, MF_PMD_SIZE);
	huge = mf_pagemap_huge(p, MF_PMD_SIZE);
	if (huge == 1)
		return 0;
	if (huge < 0) {
		mf_lab_say(lab, MF_UNKNOWN,
			   "cannot tell whether a page is huge: PAGEMAP_SCAN: %s",
			   mf_errno_text(huge));
		return huge;
	}
	mf_lab_say(lab, MF_UNKNOWN, "MADV_HUGEPAGE gave no huge page to try it on");
	mf_lab_advise(lab,
		      "echo madvise >/sys/kernel/mm/transparent_hugepage/enabled; if it is "
		      "so already, no 2 MiB of memory were free in one piece: echo 1 "
		      ">/proc/sys/vm/compact_memory");
	return -ENOENT;
}

static void move_huge(struct mf_lab *lab, struct mf_spot *spot, u8 *dst, u8 *src)
{
	u64 done;
	long r;
	int huge;

	if (make_huge(lab, src))
		return;
	r = mf_op_move(spot->uffd, (u64)dst, (u64)src, MF_PMD_SIZE, 0, &done);
	if (r) {
		mf_lab_failed(lab, "UFFDIO_MOVE of 2 MiB", r);
		return;
	}
	huge = mf_pagemap_huge(dst, MF_PMD_SIZE);
	if (!all_bytes(dst, MF_PMD_SIZE, MF_LAB_BYTE))
		mf_lab_say(lab, MF_UNKNOWN, "the 2 MiB arrived with other contents");
	else if (huge == 1)
		mf_lab_say(lab, MF_SUPPORTED,
			   "a huge page moved in one call and is mapped huge "
			   "at its new place (PAGEMAP_SCAN)");
	else
		mf_lab_say(lab, MF_MISSING, "the 2 MiB arrived, but as small pages");
}

void mf_probe_move_thp(struct mf_lab *lab)
{
	struct mf_spot spot = MF_SPOT_INIT;
	u8 *src = mf_lab_map(lab, 2 * MF_PMD_SIZE);

	if (!src)
		return;
	if (mf_spot_open(lab, &spot, MF_UFFD_FEATURE_MOVE, UFFDIO_REGISTER_MODE_MISSING,
			 2 * MF_PMD_SIZE) == 0)
		move_huge(lab, &spot, aligned(spot.addr), aligned(src));
	mf_sys_munmap(src, 2 * MF_PMD_SIZE);
	mf_spot_close(&spot);
}
