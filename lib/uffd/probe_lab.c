/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What every item of the probe needs: answers, userfaultfds, mappings, messages. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#include "uffd/probe.h"

void mf_lab_say(struct mf_lab *lab, enum mf_probe_state state, const char *fmt, ...)
{
	va_list ap;

	lab->slot->state = state;
	va_start(ap, fmt);
	vsnprintf(lab->slot->why, sizeof(lab->slot->why), fmt, ap);
	va_end(ap);
}

void mf_lab_advise(struct mf_lab *lab, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(lab->slot->remedy, sizeof(lab->slot->remedy), fmt, ap);
	va_end(ap);
}

enum mf_probe_state mf_lab_judge(long err)
{
	switch (-err) {
	case EPERM:
	case EACCES:
		return MF_DENIED;
	case EINVAL:
	case ENOSYS:
	case ENOTTY:
	case EOPNOTSUPP:
		return MF_MISSING;
	default:
		return MF_UNKNOWN;
	}
}

void mf_lab_failed(struct mf_lab *lab, const char *what, long err)
{
	mf_lab_say(lab, mf_lab_judge(err), "%s: %s", what, mf_errno_text((int)err));
	if (err == -EMFILE || err == -ENFILE)
		mf_lab_advise(lab, "raise the descriptor limit (ulimit -n)");
	if (err == -ENOMEM)
		mf_lab_advise(lab, "free memory, or raise the memory limit of the cgroup");
}

static long bare_by_device(void)
{
	long dev = mf_sys_openat(AT_FDCWD, "/dev/userfaultfd", O_RDWR | O_CLOEXEC, 0);
	long fd;

	if (dev < 0)
		return dev;
	fd = mf_sys_ioctl((int)dev, USERFAULTFD_IOC_NEW, (void *)(O_CLOEXEC | O_NONBLOCK));
	mf_sys_close((int)dev);
	return fd;
}

long mf_lab_bare(enum mf_lab_access access)
{
	switch (access) {
	case MF_LAB_BY_SYSCALL:
		return mf_sys_userfaultfd(O_CLOEXEC | O_NONBLOCK);
	case MF_LAB_BY_DEVICE:
		return bare_by_device();
	case MF_LAB_BY_USER_MODE:
		return mf_sys_userfaultfd(O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	case MF_LAB_NO_ACCESS:
		break;
	}
	return -EPERM;
}

static int no_access(struct mf_lab *lab)
{
	if (lab->probe->no_userfaultfd) {
		mf_lab_say(lab, MF_MISSING, "this kernel has no userfaultfd at all");
		return -ENOSYS;
	}
	mf_lab_say(lab, MF_UNKNOWN, "there is no userfaultfd to try it on");
	mf_lab_advise(lab, "get access first: see access.syscall");
	return -EPERM;
}

static int refused(struct mf_lab *lab, u64 features, long err)
{
	if (err == -EINVAL && lab->probe->offer_known && (features & ~lab->probe->offer))
		mf_lab_say(lab, MF_MISSING,
			   "UFFDIO_API does not offer feature %#llx and refuses it: %s",
			   (unsigned long long)(features & ~lab->probe->offer),
			   mf_errno_text((int)err));
	else if (err == -EINVAL && lab->probe->offer_known)
		mf_lab_say(lab, MF_UNKNOWN,
			   "UFFDIO_API offers feature %#llx yet refuses it: %s",
			   (unsigned long long)features, mf_errno_text((int)err));
	else
		mf_lab_failed(lab, "UFFDIO_API", err);
	return (int)err;
}

int mf_lab_uffd(struct mf_lab *lab, u64 features)
{
	long fd, r;

	if (lab->probe->access == MF_LAB_NO_ACCESS)
		return no_access(lab);
	fd = mf_lab_bare(lab->probe->access);
	if (fd < 0) {
		mf_lab_failed(lab, "a userfaultfd to try it on", fd);
		return (int)fd;
	}
	r = mf_op_api((int)fd, features, NULL, NULL);
	if (r == 0)
		return (int)fd;
	mf_sys_close((int)fd);
	return refused(lab, features, r);
}

u8 *mf_lab_map(struct mf_lab *lab, size_t len)
{
	long p = mf_sys_mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			     0);

	if (!mf_is_err(p))
		return (u8 *)p;
	mf_lab_failed(lab, "memory to try it on", p);
	mf_lab_advise(lab, "raise ulimit -v, or free memory");
	return NULL;
}

int mf_spot_register(struct mf_lab *lab, struct mf_spot *spot, u64 features, u64 mode)
{
	int fd = mf_lab_uffd(lab, features);
	long r;

	if (fd < 0)
		return fd;
	spot->uffd = fd;
	r = mf_op_register(fd, (u64)spot->addr, spot->len, mode, &spot->ioctls);
	if (r)
		mf_lab_failed(lab, "UFFDIO_REGISTER", r);
	return (int)r;
}

int mf_spot_open(struct mf_lab *lab, struct mf_spot *spot, u64 features, u64 mode, size_t len)
{
	spot->addr = mf_lab_map(lab, len);
	if (!spot->addr)
		return -ENOMEM;
	spot->len = len;
	return mf_spot_register(lab, spot, features, mode);
}

void mf_spot_close(struct mf_spot *spot)
{
	if (spot->uffd >= 0)
		mf_sys_close(spot->uffd);
	if (spot->addr)
		mf_sys_munmap(spot->addr, spot->len);
	*spot = (struct mf_spot)MF_SPOT_INIT;
}

int mf_lab_message(int uffd, struct uffd_msg *ret_msg)
{
	struct pollfd p = { .fd = uffd, .events = POLLIN };
	long r = mf_sys_ppoll(&p, 1, (s64)MF_LAB_WAIT_MS * (s64)MF_NSEC_PER_MSEC);

	if (r == 0)
		return -ETIMEDOUT;
	if (r < 0)
		return (int)r;
	r = mf_sys_read(uffd, ret_msg, sizeof(*ret_msg));
	if (r < 0)
		return (int)r;
	return r == sizeof(*ret_msg) ? 0 : -EIO;
}

bool mf_lab_resident(const void *addr)
{
	unsigned char vec = 0;

	return mf_sys(__NR_mincore, addr, MF_PAGE_SIZE, &vec, 0, 0) == 0 && (vec & 1);
}
