/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* UFFDIO_COPY: reaches any space whose userfaultfd we hold; our pages stay. */
#include "mover/route.h"

#include "base/faultpath.h"

/* The kernel returns EAGAIN with a count where it got somewhere, else the real reason. */
static int outcome(long r, u64 done, u64 len)
{
	if (done)
		return done == len ? MF_MOVED : MF_PARTLY;
	switch (r) {
	case -EEXIST:
		return MF_EXISTS;
	case -EAGAIN:
		return MF_CHANGING;
	case -ENOENT: /* not one registered mapping */
	case -ESRCH:  /* nobody left in the space */
		return MF_GONE;
	case -ENOMEM:
		return MF_NO_MEMORY;
	case -EFAULT: /* of the source: poisoned, or not mapped */
		return MF_UNREADABLE;
	default:
		return (int)r;
	}
}

/*
 * ENOENT is also the answer where the range runs across two mappings, which the other
 * process makes of one whenever it likes, with mprotect() or madvise(). What is said to be
 * gone must be gone: halve, down to the page that it is about, in whole huge pages first.
 */
static long copy_in_mapping(int uffd, u64 dst, u64 src, u64 len, u64 mode, u64 *ret_done)
{
	long r;

	for (;;) {
		r = mf_op_copy(uffd, dst, src, len, mode, ret_done);
		if (r != -ENOENT || len <= MF_PAGE_SIZE)
			return r;
		len = mf_align_down(len / 2,
				    len >= 2 * MF_PMD_SIZE ? MF_PMD_SIZE : MF_PAGE_SIZE);
	}
}

int mf_route_copy_give(struct mf_mover *m, u64 dst, u64 src, u64 len, unsigned int flags,
		       u64 *ret_done)
{
	u64 mode = flags & MF_GIVE_DONTWAKE ? UFFDIO_COPY_MODE_DONTWAKE : 0;
	long r = copy_in_mapping(m->uffd, dst, src, len, mode, ret_done);

	return outcome(r, *ret_done, len);
}
