/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The userfaultfd ioctls one to one. Inline and raw, so that the fault path may use
 * them. Each fill operation reports its progress in *ret_done, which is always written.
 *
 * The kernel has two ways to say EAGAIN: the count field holds -EAGAIN (nothing was done,
 * the mappings are changing) or a positive number of bytes (part was done). mf_uffd_done()
 * is the one place that tells them apart, so that nobody takes -11 for a length.
 */
#ifndef MF_UFFD_OP_H
#define MF_UFFD_OP_H

#include <asm/errno.h>

#include "base/sys.h"
#include "memferry_uffd.h"

static inline u64 mf_uffd_done(s64 field)
{
	return field > 0 ? (u64)field : 0;
}

static inline long mf_op_api(int uffd, u64 features, u64 *ret_features, u64 *ret_ioctls)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	long r = mf_sys_ioctl(uffd, UFFDIO_API, &api);

	if (ret_features)
		*ret_features = api.features;
	if (ret_ioctls)
		*ret_ioctls = api.ioctls;
	return r;
}

static inline long mf_op_register(int uffd, u64 start, u64 len, u64 mode, u64 *ret_ioctls)
{
	struct uffdio_register reg = { .range = { start, len }, .mode = mode };
	long r = mf_sys_ioctl(uffd, UFFDIO_REGISTER, &reg);

	if (ret_ioctls)
		*ret_ioctls = reg.ioctls;
	return r;
}

static inline long mf_op_unregister(int uffd, u64 start, u64 len)
{
	struct uffdio_range range = { start, len };

	return mf_sys_ioctl(uffd, UFFDIO_UNREGISTER, &range);
}

static inline long mf_op_wake(int uffd, u64 start, u64 len)
{
	struct uffdio_range range = { start, len };

	return mf_sys_ioctl(uffd, UFFDIO_WAKE, &range);
}

static inline long mf_op_copy(int uffd, u64 dst, u64 src, u64 len, u64 mode, u64 *ret_done)
{
	struct uffdio_copy c = { .dst = dst, .src = src, .len = len, .mode = mode };
	long r = mf_sys_ioctl(uffd, UFFDIO_COPY, &c);

	*ret_done = r == 0 ? len : mf_uffd_done(c.copy);
	return r;
}

static inline long mf_op_zeropage(int uffd, u64 dst, u64 len, u64 mode, u64 *ret_done)
{
	struct uffdio_zeropage z = { .range = { dst, len }, .mode = mode };
	long r = mf_sys_ioctl(uffd, UFFDIO_ZEROPAGE, &z);

	*ret_done = r == 0 ? len : mf_uffd_done(z.zeropage);
	return r;
}

static inline long mf_op_move(int uffd, u64 dst, u64 src, u64 len, u64 mode, u64 *ret_done)
{
	struct mf_uffdio_move m = { .dst = dst, .src = src, .len = len, .mode = mode };
	long r = mf_sys_ioctl(uffd, MF_UFFDIO_MOVE, &m);

	*ret_done = r == 0 ? len : mf_uffd_done(m.move);
	return r;
}

static inline long mf_op_poison(int uffd, u64 dst, u64 len, u64 mode, u64 *ret_done)
{
	struct mf_uffdio_poison p = { .range = { dst, len }, .mode = mode };
	long r = mf_sys_ioctl(uffd, MF_UFFDIO_POISON, &p);

	*ret_done = r == 0 ? len : mf_uffd_done(p.updated);
	return r;
}

static inline long mf_op_writeprotect(int uffd, u64 start, u64 len, u64 mode)
{
	struct uffdio_writeprotect wp = { .range = { start, len }, .mode = mode };

	return mf_sys_ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
}

#endif /* MF_UFFD_OP_H */
