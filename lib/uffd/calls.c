/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The public userfaultfd calls: one system call each, nothing else, so that tasks and
 * signal handlers may make them.
 */
#include "uffd/event.h"

#include "base/faultpath.h"

MF_API int mf_uffd_register(int uffd, void *addr, size_t len, uint64_t mode,
			    uint64_t *ret_ioctls)
{
	u64 ioctls;
	long r = mf_op_register(uffd, (u64)addr, len, mode, &ioctls);

	if (r == 0 && ret_ioctls)
		*ret_ioctls = ioctls;
	return (int)r;
}

MF_API int mf_uffd_unregister(int uffd, void *addr, size_t len)
{
	return (int)mf_op_unregister(uffd, (u64)addr, len);
}

MF_API int mf_uffd_copy(int uffd, void *dst, const void *src, size_t len, unsigned int flags,
			size_t *ret_done)
{
	u64 mode = 0, done;
	long r;

	if (flags & MF_UFFD_DONTWAKE)
		mode |= UFFDIO_COPY_MODE_DONTWAKE;
	if (flags & MF_UFFD_WP)
		mode |= UFFDIO_COPY_MODE_WP;
	r = mf_op_copy(uffd, (u64)dst, (u64)src, len, mode, &done);
	*ret_done = done;
	return (int)r;
}

MF_API int mf_uffd_zeropage(int uffd, void *dst, size_t len, unsigned int flags,
			    size_t *ret_done)
{
	u64 mode = flags & MF_UFFD_DONTWAKE ? UFFDIO_ZEROPAGE_MODE_DONTWAKE : 0;
	u64 done;
	long r = mf_op_zeropage(uffd, (u64)dst, len, mode, &done);

	*ret_done = done;
	return (int)r;
}

MF_API int mf_uffd_move(int uffd, void *dst, void *src, size_t len, unsigned int flags,
			size_t *ret_done)
{
	u64 mode = 0, done;
	long r;

	if (flags & MF_UFFD_DONTWAKE)
		mode |= MF_UFFDIO_MOVE_MODE_DONTWAKE;
	if (flags & MF_UFFD_ALLOW_SRC_HOLES)
		mode |= MF_UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES;
	r = mf_op_move(uffd, (u64)dst, (u64)src, len, mode, &done);
	*ret_done = done;
	return (int)r;
}

MF_API int mf_uffd_poison(int uffd, void *dst, size_t len, unsigned int flags, size_t *ret_done)
{
	u64 mode = flags & MF_UFFD_DONTWAKE ? MF_UFFDIO_POISON_MODE_DONTWAKE : 0;
	u64 done;
	long r = mf_op_poison(uffd, (u64)dst, len, mode, &done);

	*ret_done = done;
	return (int)r;
}

MF_API int mf_uffd_writeprotect(int uffd, void *addr, size_t len, int protect)
{
	return (int)mf_op_writeprotect(uffd, (u64)addr, len,
				       protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0);
}

MF_API int mf_uffd_wake(int uffd, void *addr, size_t len)
{
	return (int)mf_op_wake(uffd, (u64)addr, len);
}

MF_API int mf_uffd_read(int uffd, struct mf_event *ret_events, size_t max)
{
	return (int)mf_event_read(uffd, ret_events, max);
}
