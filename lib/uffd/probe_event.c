/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Events: a task changes its mappings, sleeps in the kernel until the event is read, and
 * goes on. That it went on is part of the answer.
 */
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "uffd/probe.h"

#ifndef MREMAP_MAYMOVE
#define MREMAP_MAYMOVE 1
#define MREMAP_FIXED 2
#endif

#define LEN (4 * MF_PAGE_SIZE)

struct change {
	u64 addr, to;
	long result;
};

static int discard(void *arg)
{
	struct change *c = arg;

	c->result = mf_sys_madvise((void *)c->addr, LEN, MADV_DONTNEED);
	return 0;
}

static int remap(void *arg)
{
	struct change *c = arg;

	c->result =
		mf_sys(__NR_mremap, c->addr, LEN, LEN, MREMAP_MAYMOVE | MREMAP_FIXED, c->to);
	return 0;
}

static int unmap(void *arg)
{
	struct change *c = arg;

	c->result = mf_sys_munmap((void *)c->addr, LEN);
	return 0;
}

static int fork_once(void *arg)
{
	struct change *c = arg;
	long pid = mf_sys(__NR_clone, 0, 0, 0, 0, 0);

	if (pid == 0)
		mf_sys_exit_group(0);
	c->result = pid < 0 ? pid : 0;
	if (pid > 0)
		mf_sys_wait4((pid_t)pid, NULL, __WALL);
	return 0;
}

/* The event that @fn causes, of kind @event, in *ret_msg; 0, or it was said. */
static int deliver(struct mf_lab *lab, struct mf_spot *spot, mf_child_fn fn,
		   struct change *change, u8 event, struct uffd_msg *ret_msg)
{
	struct mf_child child = MF_CHILD_INIT;
	int r = mf_child_task(lab, &child, CLONE_FILES, fn, change);

	if (r)
		return r;
	r = mf_lab_message(spot->uffd, ret_msg);
	if (r == -ETIMEDOUT) {
		mf_lab_say(lab, MF_MISSING, "no event was delivered");
	} else if (r) {
		mf_lab_failed(lab, "reading the event", r);
	} else if (ret_msg->event != event) {
		mf_lab_say(lab, MF_UNKNOWN, "event %#x came instead", ret_msg->event);
		r = -EPROTO;
	} else if (mf_child_wait(&child, MF_LAB_WAIT_MS)) {
		mf_lab_say(lab, MF_UNKNOWN,
			   "the event came, but the task that caused it did not go on");
		r = -ETIMEDOUT;
	}
	mf_child_end(&child);
	return r;
}

static void compare(struct mf_lab *lab, const char *what, bool as_done)
{
	if (as_done)
		mf_lab_say(lab, MF_SUPPORTED,
			   "%s was reported with its range, and the task "
			   "went on once the event was read",
			   what);
	else
		mf_lab_say(lab, MF_UNKNOWN, "%s was reported with another range", what);
}

void mf_probe_event_remove(struct mf_lab *lab)
{
	struct mf_spot spot = MF_SPOT_INIT;
	struct change change = {};
	struct uffd_msg msg;

	if (mf_spot_open(lab, &spot, MF_UFFD_FEATURE_EVENT_REMOVE, UFFDIO_REGISTER_MODE_MISSING,
			 LEN) == 0) {
		change.addr = (u64)spot.addr;
		if (deliver(lab, &spot, discard, &change, UFFD_EVENT_REMOVE, &msg) == 0)
			compare(lab, "madvise(MADV_DONTNEED)",
				msg.arg.remove.start == change.addr &&
					msg.arg.remove.end == change.addr + LEN);
	}
	mf_spot_close(&spot);
}

void mf_probe_event_unmap(struct mf_lab *lab)
{
	struct mf_spot spot = MF_SPOT_INIT;
	struct change change = {};
	struct uffd_msg msg;

	if (mf_spot_open(lab, &spot, MF_UFFD_FEATURE_EVENT_UNMAP, UFFDIO_REGISTER_MODE_MISSING,
			 LEN) == 0) {
		change.addr = (u64)spot.addr;
		if (deliver(lab, &spot, unmap, &change, UFFD_EVENT_UNMAP, &msg) == 0)
			compare(lab, "munmap()",
				msg.arg.remove.start == change.addr &&
					msg.arg.remove.end == change.addr + LEN);
	}
	mf_spot_close(&spot);
}

void mf_probe_event_remap(struct mf_lab *lab)
{
	struct mf_spot spot = MF_SPOT_INIT;
	struct change change = {};
	struct uffd_msg msg;
	u8 *to = mf_lab_map(lab, LEN);

	if (!to)
		return;
	if (mf_spot_open(lab, &spot, MF_UFFD_FEATURE_EVENT_REMAP, UFFDIO_REGISTER_MODE_MISSING,
			 LEN) == 0) {
		change.addr = (u64)spot.addr;
		change.to = (u64)to;
		if (deliver(lab, &spot, remap, &change, UFFD_EVENT_REMAP, &msg) == 0)
			compare(lab, "mremap()",
				msg.arg.remap.from == change.addr &&
					msg.arg.remap.to == change.to &&
					msg.arg.remap.len == LEN);
	}
	mf_sys_munmap(to, LEN);
	mf_spot_close(&spot);
}

void mf_probe_event_fork(struct mf_lab *lab)
{
	struct mf_spot spot = MF_SPOT_INIT;
	struct change change = {};
	struct uffd_msg msg;

	if (mf_spot_open(lab, &spot, MF_UFFD_FEATURE_EVENT_FORK, UFFDIO_REGISTER_MODE_MISSING,
			 LEN)) {
		if (lab->slot->state == MF_DENIED)
			mf_lab_advise(lab,
				      "run it as root, or setcap cap_sys_ptrace+ep PROGRAM");
	} else if (deliver(lab, &spot, fork_once, &change, UFFD_EVENT_FORK, &msg) == 0) {
		mf_sys_close((int)msg.arg.fork.ufd);
		mf_lab_say(lab, MF_SUPPORTED,
			   "a fork was reported with a descriptor for the child's space");
	}
	mf_spot_close(&spot);
}
