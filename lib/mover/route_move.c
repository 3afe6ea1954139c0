/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * UFFDIO_MOVE: the page itself changes hands. Within one space on any kernel since 6.8;
 * across spaces with the kernel series of this project, to which the same ioctl means
 * "from the caller to the userfaultfd's space" or, in TAKE mode, the other way.
 */
#include "mover/route.h"

#include "base/faultpath.h"

static int outcome(long r, u64 done)
{
	if (done)
		return r == 0 ? MF_MOVED : MF_PARTLY;
	switch (r) {
	case -EEXIST:
		return MF_EXISTS;
	case -ENOENT:
		return MF_HOLE;
	case -EBUSY:
		return MF_BUSY;
	case -EAGAIN:
		return MF_CHANGING;
	case -ESRCH:
		return MF_GONE;
	case -ENOMEM:
		return MF_NO_MEMORY;
	case -EFAULT:
		return MF_UNREADABLE;
	default:
		return (int)r;
	}
}

int mf_route_move_give(struct mf_mover *m, u64 dst, u64 src, u64 len, unsigned int flags,
		       u64 *ret_done)
{
	u64 mode = flags & MF_GIVE_DONTWAKE ? MF_UFFDIO_MOVE_MODE_DONTWAKE : 0;
	long r = mf_op_move(m->uffd, dst, src, len, mode, ret_done);

	return outcome(r, *ret_done);
}

/*
 * Run by run, because the caller wants to know which pages were holes and a move that
 * allows holes counts them as moved. A take never wakes: whoever waits in the source
 * waits for a page to come, not to go.
 */
int mf_route_move_take(struct mf_mover *m, u64 dst, u64 src, u64 len, u64 mode,
		       u64 ret_present[8])
{
	u64 at = 0, done, taken = 0;
	long e;
	int r;

	mode |= MF_UFFDIO_MOVE_MODE_DONTWAKE;
	while (at < len) {
		e = mf_op_move(m->uffd, dst + at, src + at, len - at, mode, &done);
		r = outcome(e, done);
		if (r == MF_HOLE) {
			at += MF_PAGE_SIZE;
			continue;
		}
		if (r != MF_MOVED && r != MF_PARTLY)
			return taken ? MF_PARTLY : r;
		mf_bits_set(ret_present, at / MF_PAGE_SIZE, (at + done) / MF_PAGE_SIZE);
		taken += done;
		at += done;
	}
	return MF_MOVED;
}
