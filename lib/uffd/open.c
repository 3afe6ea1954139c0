/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a userfaultfd is had, and what to tell the user when it is not. */
#include <errno.h>
#include <fcntl.h>

#include "base/fail.h"
#include "memferry.h"
#include "uffd/open.h"
#include "uffd/op.h"

static long from_device(unsigned int flags)
{
	long dev = mf_sys_openat(AT_FDCWD, "/dev/userfaultfd", O_RDWR | O_CLOEXEC, 0);
	long fd;

	if (dev < 0)
		return dev;
	fd = mf_sys_ioctl((int)dev, USERFAULTFD_IOC_NEW, (void *)(unsigned long)flags);
	mf_sys_close((int)dev);
	return fd;
}

static int explain(long by_syscall, long by_device)
{
	if (by_syscall == -ENOSYS)
		return mf_fail(-ENOSYS, "this kernel has no userfaultfd (CONFIG_USERFAULTFD), "
					"or a seccomp filter hides it");
	if (by_syscall == -EPERM)
		return mf_fail(-EPERM,
			       "not allowed to create a userfaultfd that serves faults from "
			       "kernel mode: run as root, or grant CAP_SYS_PTRACE, or set "
			       "sysctl vm.unprivileged_userfaultfd=1, or give this user "
			       "access to /dev/userfaultfd (opening it: %s); in a container "
			       "also allow userfaultfd in the seccomp profile",
			       mf_errno_text((int)by_device));
	return mf_fail((int)by_syscall, "cannot create a userfaultfd: %s",
		       mf_errno_text((int)by_syscall));
}

/* A bare descriptor, before its UFFDIO_API handshake. */
static int bare(unsigned int flags, int *ret_fd)
{
	unsigned int kflags = O_CLOEXEC;
	long fd, dev;

	if (!(flags & MF_UFFD_BLOCKING))
		kflags |= O_NONBLOCK;
	if (flags & MF_UFFD_USER_MODE_ONLY)
		kflags |= UFFD_USER_MODE_ONLY;
	fd = mf_sys_userfaultfd((int)kflags);
	if (fd == -EPERM) {
		dev = from_device(kflags);
		if (dev < 0)
			return explain(fd, dev);
		fd = dev;
	}
	if (fd < 0)
		return explain(fd, -ENOENT);
	*ret_fd = (int)fd;
	return 0;
}

/*
 * The handshake happens once in a descriptor's life, and a refused one leaves it
 * unusable: ask one descriptor what there is, and use another.
 */
static int features_on_offer(unsigned int flags, u64 *ret_features)
{
	int fd = -1, r = bare(flags, &fd);
	long api;

	if (r)
		return r;
	api = mf_op_api(fd, 0, ret_features, NULL);
	mf_sys_close(fd);
	if (api)
		return mf_fail((int)api, "UFFDIO_API: %s", mf_errno_text((int)api));
	return 0;
}

int mf_uffd_create(u64 required, u64 wanted, unsigned int flags, int *ret_fd, u64 *ret_features)
{
	u64 offer = 0, use;
	int fd = -1, r;
	long api;

	r = features_on_offer(flags, &offer);
	if (r)
		return r;
	if (required & ~offer)
		return mf_fail(-EINVAL,
			       "this kernel's userfaultfd lacks the features %#llx; "
			       "`memferry probe` lists what it has",
			       (unsigned long long)(required & ~offer));
	use = required | (wanted & offer);
	r = bare(flags, &fd);
	if (r)
		return r;
	api = mf_op_api(fd, use, NULL, NULL);
	if (api) {
		mf_sys_close(fd);
		return mf_fail((int)api,
			       "the kernel refused the userfaultfd features %#llx: %s",
			       (unsigned long long)use, mf_errno_text((int)api));
	}
	*ret_fd = fd;
	if (ret_features)
		*ret_features = use;
	return 0;
}

MF_API int mf_uffd_open(uint64_t features, unsigned int flags, int *ret_fd)
{
	if (!ret_fd || (flags & ~(MF_UFFD_USER_MODE_ONLY | MF_UFFD_BLOCKING)))
		return mf_fail(-EINVAL, "mf_uffd_open: unknown flags %#x", flags);
	return mf_uffd_create(features, 0, flags, ret_fd, NULL);
}
