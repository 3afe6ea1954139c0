/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Each feature enabled, and each ioctl done, on a userfaultfd of its own. */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "uffd/probe.h"

#define PAGES 4
#define LEN (PAGES * MF_PAGE_SIZE)
#define STILL_BLOCKED_MS 2

void mf_probe_feature(struct mf_lab *lab)
{
	u64 bits = lab->spec->bits;
	int fd = mf_lab_uffd(lab, bits);

	if (fd >= 0) {
		mf_sys_close(fd);
		mf_lab_say(lab, MF_SUPPORTED, "UFFDIO_API enabled %#llx",
			   (unsigned long long)bits);
	} else if (fd == -EPERM && lab->slot->state == MF_DENIED &&
		   bits == MF_UFFD_FEATURE_EVENT_FORK) {
		mf_lab_advise(lab, "run it as root, or setcap cap_sys_ptrace+ep PROGRAM");
	}
}

/*
 * An ioctl that the range does not offer is missing, whatever errno a try would give;
 * offered and failing is for the errno to say.
 */
static void ioctl_failed(struct mf_lab *lab, const struct mf_spot *spot, const char *what,
			 unsigned int nr, long err)
{
	mf_lab_failed(lab, what, err);
	if (lab->slot->state == MF_MISSING && (spot->ioctls >> nr & 1))
		lab->slot->state = MF_UNKNOWN;
}

void mf_probe_register(struct mf_lab *lab)
{
	struct mf_spot spot = MF_SPOT_INIT;

	if (mf_spot_open(lab, &spot, 0, UFFDIO_REGISTER_MODE_MISSING, LEN) == 0)
		mf_lab_say(lab, MF_SUPPORTED,
			   "16 KiB of private anonymous memory registered, the range offers "
			   "ioctls %#llx",
			   (unsigned long long)spot.ioctls);
	mf_spot_close(&spot);
}

void mf_probe_unregister(struct mf_lab *lab)
{
	struct mf_spot spot = MF_SPOT_INIT;
	volatile u8 *addr;
	long r;

	if (mf_spot_open(lab, &spot, 0, UFFDIO_REGISTER_MODE_MISSING, LEN))
		goto out;
	r = mf_op_unregister(spot.uffd, (u64)spot.addr, spot.len);
	if (r) {
		mf_lab_failed(lab, "UFFDIO_UNREGISTER", r);
		goto out;
	}
	addr = spot.addr;
	if (addr[0] == 0)
		mf_lab_say(lab, MF_SUPPORTED,
			   "after UFFDIO_UNREGISTER the range is ordinary memory again");
out:
	mf_spot_close(&spot);
}

/* A task faults; the page comes with DONTWAKE, so that only the wake can free it. */
static void wake_blocked(struct mf_lab *lab, struct mf_spot *spot, struct mf_child *child)
{
	struct uffd_msg msg;
	long r;
	u64 done;

	r = mf_lab_message(spot->uffd, &msg);
	if (r) {
		mf_lab_failed(lab, "waiting for the fault", r);
		return;
	}
	r = mf_op_copy(spot->uffd, (u64)spot->addr, (u64)lab->page, MF_PAGE_SIZE,
		       UFFDIO_COPY_MODE_DONTWAKE, &done);
	if (r) {
		mf_lab_failed(lab, "UFFDIO_COPY with DONTWAKE", r);
		return;
	}
	r = mf_child_wait(child, STILL_BLOCKED_MS);
	if (r != -ETIMEDOUT) {
		mf_lab_say(lab, MF_UNKNOWN, "DONTWAKE woke the faulting task already");
		return;
	}
	r = mf_op_wake(spot->uffd, (u64)spot->addr, MF_PAGE_SIZE);
	if (r)
		mf_lab_failed(lab, "UFFDIO_WAKE", r);
	else if (mf_child_wait(child, MF_LAB_WAIT_MS) == 0)
		mf_lab_say(lab, MF_SUPPORTED,
			   "a task that waited for its page went on after "
			   "UFFDIO_WAKE, not before");
	else
		mf_lab_say(lab, MF_UNKNOWN,
			   "the faulting task still sleeps %d ms after "
			   "UFFDIO_WAKE",
			   MF_LAB_WAIT_MS);
}

void mf_probe_wake(struct mf_lab *lab)
{
	struct mf_child child = MF_CHILD_INIT;
	struct mf_spot spot = MF_SPOT_INIT;
	struct mf_touch touch = {};

	if (mf_spot_open(lab, &spot, 0, UFFDIO_REGISTER_MODE_MISSING, LEN))
		goto out;
	touch.addr = spot.addr;
	if (mf_child_task(lab, &child, CLONE_FILES, mf_touch_run, &touch) == 0)
		wake_blocked(lab, &spot, &child);
out:
	mf_child_end(&child);
	mf_spot_close(&spot);
}

void mf_probe_copy(struct mf_lab *lab)
{
	struct mf_spot spot = MF_SPOT_INIT;
	u64 done;
	long r;

	if (mf_spot_open(lab, &spot, 0, UFFDIO_REGISTER_MODE_MISSING, LEN))
		goto out;
	r = mf_op_copy(spot.uffd, (u64)spot.addr, (u64)lab->page, MF_PAGE_SIZE, 0, &done);
	if (r)
		ioctl_failed(lab, &spot, "UFFDIO_COPY", 0x03, r);
	else if (memcmp(spot.addr, lab->page, MF_PAGE_SIZE))
		mf_lab_say(lab, MF_UNKNOWN, "the copied page differs from its source");
	else
		mf_lab_say(lab, MF_SUPPORTED, "a page copied, contents compared");
out:
	mf_spot_close(&spot);
}

void mf_probe_zeropage(struct mf_lab *lab)
{
	struct mf_spot spot = MF_SPOT_INIT;
	u64 done;
	long r;

	if (mf_spot_open(lab, &spot, 0, UFFDIO_REGISTER_MODE_MISSING, LEN))
		goto out;
	r = mf_op_zeropage(spot.uffd, (u64)spot.addr, MF_PAGE_SIZE, 0, &done);
	if (r)
		ioctl_failed(lab, &spot, "UFFDIO_ZEROPAGE", 0x04, r);
	else if (spot.addr[0] || spot.addr[MF_PAGE_SIZE - 1])
		mf_lab_say(lab, MF_UNKNOWN, "the zero page is not zero");
	else
		mf_lab_say(lab, MF_SUPPORTED, "a missing page became a page of zeros");
out:
	mf_spot_close(&spot);
}

void mf_probe_writeprotect(struct mf_lab *lab)
{
	struct mf_spot spot = MF_SPOT_INIT;
	long r;

	spot.addr = mf_lab_map(lab, LEN);
	if (!spot.addr)
		return;
	spot.len = LEN;
	memset(spot.addr, 1, LEN);
	if (mf_spot_register(lab, &spot, MF_UFFD_FEATURE_PAGEFAULT_FLAG_WP,
			     UFFDIO_REGISTER_MODE_WP))
		goto out;
	r = mf_op_writeprotect(spot.uffd, (u64)spot.addr, LEN, UFFDIO_WRITEPROTECT_MODE_WP);
	if (r)
		ioctl_failed(lab, &spot, "UFFDIO_WRITEPROTECT", 0x06, r);
	else
		mf_lab_say(lab, MF_SUPPORTED,
			   "16 KiB write-protected (sem.wp_anon tries a write to it)");
out:
	mf_spot_close(&spot);
}

/* spot: a second mapping of a memfd whose page is in the page cache already */
static int open_minor(struct mf_lab *lab, struct mf_spot *spot)
{
	long fd = mf_sys_memfd_create("memferry-probe", 1 /* MFD_CLOEXEC */);
	long first, second, r;

	if (fd < 0) {
		mf_lab_failed(lab, "memfd_create", fd);
		return (int)fd;
	}
	r = mf_sys_ftruncate((int)fd, LEN);
	first = mf_sys_mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0);
	second = mf_sys_mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0);
	mf_sys_close((int)fd);
	if (!mf_is_err(second)) {
		spot->addr = (u8 *)second;
		spot->len = LEN;
	}
	if (r || mf_is_err(first) || mf_is_err(second)) {
		r = r ? r : mf_is_err(first) ? first : second;
		mf_lab_failed(lab, "a shared mapping to try it on", r);
	} else {
		memset((void *)first, MF_LAB_BYTE, LEN);
		r = mf_spot_register(lab, spot, MF_UFFD_FEATURE_MINOR_SHMEM,
				     UFFDIO_REGISTER_MODE_MINOR);
	}
	if (!mf_is_err(first))
		mf_sys_munmap((void *)first, LEN);
	return (int)r;
}

static long op_continue(const struct mf_spot *spot)
{
	struct uffdio_continue c = { .range = { (u64)spot->addr, MF_PAGE_SIZE } };

	return mf_sys_ioctl(spot->uffd, UFFDIO_CONTINUE, &c);
}

void mf_probe_continue(struct mf_lab *lab)
{
	struct mf_spot spot = MF_SPOT_INIT;
	long r;

	if (open_minor(lab, &spot))
		goto out;
	r = op_continue(&spot);
	if (r)
		ioctl_failed(lab, &spot, "UFFDIO_CONTINUE", 0x07, r);
	else if (spot.addr[0] != MF_LAB_BYTE)
		mf_lab_say(lab, MF_UNKNOWN, "the page that was mapped in has other contents");
	else
		mf_lab_say(lab, MF_SUPPORTED,
			   "a page of a memfd mapped in without a fault, contents compared");
out:
	mf_spot_close(&spot);
}

static void minor_fault(struct mf_lab *lab, struct mf_spot *spot, struct mf_child *child,
			const struct mf_touch *touch)
{
	struct uffd_msg msg;
	long r = mf_lab_message(spot->uffd, &msg);

	if (r) {
		mf_lab_failed(lab, "waiting for the minor fault", r);
		return;
	}
	if (!(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR)) {
		mf_lab_say(lab, MF_MISSING,
			   "the fault was reported with flags %#llx, not as minor",
			   (unsigned long long)msg.arg.pagefault.flags);
		return;
	}
	r = op_continue(spot);
	if (r)
		mf_lab_failed(lab, "UFFDIO_CONTINUE", r);
	else if (mf_child_wait(child, MF_LAB_WAIT_MS) == 0 && touch->seen == MF_LAB_BYTE)
		mf_lab_say(lab, MF_SUPPORTED,
			   "a page in the page cache but not in the mapping "
			   "gave a minor fault, CONTINUE resolved it");
	else
		mf_lab_say(lab, MF_UNKNOWN, "CONTINUE did not let the faulting task go on");
}

void mf_probe_minor_shmem(struct mf_lab *lab)
{
	struct mf_child child = MF_CHILD_INIT;
	struct mf_spot spot = MF_SPOT_INIT;
	struct mf_touch touch = {};

	if (open_minor(lab, &spot))
		goto out;
	touch.addr = spot.addr;
	if (mf_child_task(lab, &child, CLONE_FILES, mf_touch_run, &touch) == 0)
		minor_fault(lab, &spot, &child, &touch);
out:
	mf_child_end(&child);
	mf_spot_close(&spot);
}

void mf_probe_poison(struct mf_lab *lab)
{
	struct mf_spot spot = MF_SPOT_INIT;
	u64 done;
	long r;

	if (mf_spot_open(lab, &spot, MF_UFFD_FEATURE_POISON, UFFDIO_REGISTER_MODE_MISSING, LEN))
		goto out;
	r = mf_op_poison(spot.uffd, (u64)spot.addr, MF_PAGE_SIZE, 0, &done);
	if (r)
		ioctl_failed(lab, &spot, "UFFDIO_POISON", 0x08, r);
	else
		mf_lab_say(lab, MF_SUPPORTED,
			   "a missing page poisoned (sem.poison_sigbus touches one)");
out:
	mf_spot_close(&spot);
}

void mf_probe_move(struct mf_lab *lab)
{
	struct mf_spot spot = MF_SPOT_INIT;
	u8 *src = mf_lab_map(lab, MF_PAGE_SIZE);
	u64 done;
	long r;

	if (!src)
		return;
	memset(src, MF_LAB_BYTE, MF_PAGE_SIZE);
	if (mf_spot_open(lab, &spot, MF_UFFD_FEATURE_MOVE, UFFDIO_REGISTER_MODE_MISSING, LEN))
		goto out;
	r = mf_op_move(spot.uffd, (u64)spot.addr, (u64)src, MF_PAGE_SIZE, 0, &done);
	if (r)
		ioctl_failed(lab, &spot, "UFFDIO_MOVE", 0x05, r);
	else
		mf_lab_say(lab, MF_SUPPORTED,
			   "a page moved (sem.move_same_space looks at what arrived)");
out:
	mf_sys_munmap(src, MF_PAGE_SIZE);
	mf_spot_close(&spot);
}
