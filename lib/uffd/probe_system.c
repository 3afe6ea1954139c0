/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What memferry needs of the kernel besides userfaultfd. */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "uffd/probe.h"

/* newer than the headers that distributions install */
#define ADVICE_POPULATE_WRITE 23
#define ADVICE_DONTNEED_LOCKED 24
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_SEAL_SEAL 1
#define F_SEAL_SHRINK 2
#define F_SEAL_GROW 4
#endif

struct page_region {
	u64 start, end, categories;
};

struct scan_arg {
	u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
	u64 category_inverted, category_mask, category_anyof_mask, return_mask;
};

_Static_assert(sizeof(struct scan_arg) == 96, "pm_scan_arg is ABI");

#define PAGEMAP_SCAN_REQ _IOWR('f', 16, struct scan_arg)
#define CATEGORY_PRESENT ((u64)1 << 3)
#define CATEGORY_HUGE ((u64)1 << 6)

/* The first run of pages in @category; how many runs were found (0, 1), or -errno. */
static long scan(const void *addr, size_t len, u64 category, struct page_region *ret_first)
{
	struct scan_arg arg = { .size = sizeof(arg),
				.start = (u64)addr,
				.end = (u64)addr + len,
				.vec = (u64)ret_first,
				.vec_len = 1,
				.category_mask = category,
				.return_mask = category };
	long fd = mf_sys_openat(AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
	long r;

	if (fd < 0)
		return fd;
	r = mf_sys_ioctl((int)fd, PAGEMAP_SCAN_REQ, &arg);
	mf_sys_close((int)fd);
	return r;
}

int mf_pagemap_huge(const void *addr, size_t len)
{
	struct page_region run = {};
	long r = scan(addr, len, CATEGORY_HUGE, &run);

	if (r < 0)
		return (int)r;
	return r == 1 && run.start == (u64)addr && run.end == (u64)addr + len;
}

void mf_probe_pagemap_scan(struct mf_lab *lab)
{
	struct page_region run = {};
	u8 *p = mf_lab_map(lab, 4 * MF_PAGE_SIZE);
	long r;

	if (!p)
		return;
	mf_sys_madvise(p, 4 * MF_PAGE_SIZE, MADV_NOHUGEPAGE);
	p[2 * MF_PAGE_SIZE] = 1;
	r = scan(p, 4 * MF_PAGE_SIZE, CATEGORY_PRESENT, &run);
	if (r < 0)
		mf_lab_failed(lab, "PAGEMAP_SCAN on /proc/self/pagemap", r);
	else if (r == 1 && run.start == (u64)p + 2 * MF_PAGE_SIZE &&
		 run.end == (u64)p + 3 * MF_PAGE_SIZE)
		mf_lab_say(lab, MF_SUPPORTED, "found the one page of four that is present");
	else
		mf_lab_say(lab, MF_UNKNOWN, "found other pages than the one that is present");
	mf_sys_munmap(p, 4 * MF_PAGE_SIZE);
}

static int sleep_on(void *arg)
{
	mf_sys_ppoll(NULL, 0, -1);
	return 0;
}

static void pidfd_of(struct mf_lab *lab, struct mf_child *child)
{
	long fd = mf_sys_pidfd_open(child->pid);
	struct pollfd p = { .fd = (int)fd, .events = POLLIN };
	long r;

	if (fd < 0) {
		mf_lab_failed(lab, "pidfd_open", fd);
		return;
	}
	r = mf_sys_ppoll(&p, 1, 0);
	if (r != 0)
		mf_lab_say(lab, MF_UNKNOWN, "the pidfd of a living process polls readable");
	else {
		r = mf_sys_pidfd_send_signal((int)fd, SIGKILL);
		if (r)
			mf_lab_failed(lab, "pidfd_send_signal", r);
		else if (mf_sys_ppoll(&p, 1, MF_LAB_WAIT_MS * (s64)MF_NSEC_PER_MSEC) == 1)
			mf_lab_say(
				lab, MF_SUPPORTED,
				"a process was killed by its pidfd, which polled readable then");
		else
			mf_lab_say(lab, MF_MISSING, "the pidfd did not tell of the exit");
	}
	mf_sys_close((int)fd);
}

void mf_probe_pidfd(struct mf_lab *lab)
{
	struct mf_child child = MF_CHILD_INIT;

	if (mf_child_fork(lab, &child, sleep_on, NULL) == 0)
		pidfd_of(lab, &child);
	mf_child_end(&child);
}

void mf_probe_memfd_seal(struct mf_lab *lab)
{
	long fd = mf_sys_memfd_create("memferry-probe", 3 /* CLOEXEC | ALLOW_SEALING */);
	long r;

	if (fd < 0) {
		mf_lab_failed(lab, "memfd_create", fd);
		return;
	}
	r = mf_sys_ftruncate((int)fd, MF_PAGE_SIZE);
	if (r == 0)
		r = mf_sys(__NR_fcntl, fd, F_ADD_SEALS,
			   F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, 0, 0);
	if (r)
		mf_lab_failed(lab, "sealing a memfd", r);
	else if (mf_sys_ftruncate((int)fd, 0) == -EPERM)
		mf_lab_say(lab, MF_SUPPORTED, "a sealed memfd refused to shrink");
	else
		mf_lab_say(lab, MF_MISSING, "a sealed memfd could still be shrunk");
	mf_sys_close((int)fd);
}

void mf_probe_process_vm_readv(struct mf_lab *lab)
{
	struct mf_child child = MF_CHILD_INIT;
	u8 buf[64] = {};
	struct iovec local = { buf, sizeof(buf) }, remote = { lab->page, sizeof(buf) };
	long r;

	if (mf_child_fork(lab, &child, sleep_on, NULL))
		return;
	r = mf_sys_process_vm_readv(child.pid, &local, 1, &remote, 1);
	if (r == (long)sizeof(buf) && buf[0] == MF_LAB_BYTE)
		mf_lab_say(lab, MF_SUPPORTED, "read the memory of a child process");
	else if (r >= 0)
		mf_lab_say(lab, MF_UNKNOWN, "read %ld bytes of %zu", r, sizeof(buf));
	else
		mf_lab_failed(lab, "process_vm_readv of a child process", r);
	if (r == -EPERM)
		mf_lab_advise(lab, "allow process_vm_readv in the seccomp profile, and see "
				   "sysctl kernel.yama.ptrace_scope (2 and 3 forbid it)");
	mf_child_end(&child);
}

void mf_probe_dontneed_locked(struct mf_lab *lab)
{
	volatile u8 *p = mf_lab_map(lab, MF_PAGE_SIZE);
	long r;

	if (!p)
		return;
	p[0] = 1;
	r = mf_sys_mlock2((void *)p, MF_PAGE_SIZE, 0);
	if (r) {
		mf_lab_say(lab, MF_UNKNOWN, "mlock of one page to try it on: %s",
			   mf_errno_text((int)r));
		mf_lab_advise(lab, "raise ulimit -l");
		goto out;
	}
	r = mf_sys_madvise((void *)p, MF_PAGE_SIZE, ADVICE_DONTNEED_LOCKED);
	if (r)
		mf_lab_failed(lab, "MADV_DONTNEED_LOCKED", r);
	else if (p[0] == 0)
		mf_lab_say(lab, MF_SUPPORTED, "a locked page was dropped");
	else
		mf_lab_say(lab, MF_MISSING, "a locked page stayed");
out:
	mf_sys_munmap((void *)p, MF_PAGE_SIZE);
}

void mf_probe_populate_write(struct mf_lab *lab)
{
	u8 *p = mf_lab_map(lab, MF_PAGE_SIZE);
	long r;

	if (!p)
		return;
	r = mf_sys_madvise(p, MF_PAGE_SIZE, ADVICE_POPULATE_WRITE);
	if (r)
		mf_lab_failed(lab, "MADV_POPULATE_WRITE", r);
	else if (mf_lab_resident(p))
		mf_lab_say(lab, MF_SUPPORTED, "an untouched page became resident");
	else
		mf_lab_say(lab, MF_MISSING, "the page is not resident after it");
	mf_sys_munmap(p, MF_PAGE_SIZE);
}

/* A kernel without the flag takes the address for a hint and maps elsewhere. */
void mf_probe_fixed_noreplace(struct mf_lab *lab)
{
	u8 *p = mf_lab_map(lab, MF_PAGE_SIZE);
	long r;

	if (!p)
		return;
	r = mf_sys_mmap(p, MF_PAGE_SIZE, PROT_READ,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (r == -EEXIST)
		mf_lab_say(lab, MF_SUPPORTED, "mapping over a mapping was refused: EEXIST");
	else if (mf_is_err(r))
		mf_lab_failed(lab, "mmap with MAP_FIXED_NOREPLACE", r);
	else {
		mf_sys_munmap((void *)r, MF_PAGE_SIZE);
		mf_lab_say(lab, MF_MISSING, "the kernel mapped elsewhere instead of refusing");
	}
	mf_sys_munmap(p, MF_PAGE_SIZE);
}
