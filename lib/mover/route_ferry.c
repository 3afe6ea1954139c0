/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking pages with the help of a ferry task, on a kernel that lets only the owner of a
 * space drop its pages:
 *
 *	write-protect the window	its writers wait, what we read stays true
 *	read what is present		/proc/PID/pagemap says what, /proc/PID/mem gives it
 *	the ferry drops the window	one call, one flush
 *
 * The reading must not fault on a missing page: that fault would be ours to serve. pagemap
 * tells what is there, but a page can be discarded between the look and the read, and
 * process_vm_readv() would then wait for us for ever. /proc/PID/mem has no way to wait in
 * a userfault: it returns EIO. It also stays with the address space that it was opened on,
 * where a pid may be another process's by now. It costs a quarter more per page.
 */
#include "ferry/ring.h"
#include "mover/route.h"

#include "base/faultpath.h"

#define PM_PRESENT ((u64)1 << 63)
#define PM_SWAP ((u64)1 << 62)

#define MF_DROP_TIMEOUT_NS (2 * (s64)MF_NSEC_PER_SEC)

static void lift(struct mf_mover *m, u64 src, u64 len)
{
	mf_op_writeprotect(m->uffd, src, len, 0);
}

static int protect(struct mf_mover *m, u64 src, u64 len)
{
	long r = mf_op_writeprotect(m->uffd, src, len, UFFDIO_WRITEPROTECT_MODE_WP);

	switch (r) {
	case 0:
		return 0;
	case -EAGAIN:
		return MF_CHANGING;
	case -ENOENT: /* it may have got to the end of one mapping and not into the next */
		lift(m, src, len);
		return MF_GONE;
	case -ESRCH:
		return MF_GONE;
	default:
		return (int)r;
	}
}

/* Which pages of the window hold something: one bit each. */
static int look(struct mf_mover *m, u64 src, u64 len, u64 bits[8])
{
	u64 entry[MF_TAKE_PAGES], n = len / MF_PAGE_SIZE, i;
	long r = mf_sys_pread(m->pagemap, entry, n * sizeof(entry[0]),
			      src / MF_PAGE_SIZE * sizeof(entry[0]));

	if (r < 0)
		return (int)r;
	if ((u64)r != n * sizeof(entry[0])) /* nobody left in the space */
		return MF_GONE;
	for (i = 0; i < MF_TAKE_PAGES / 64; i++)
		bits[i] = 0;
	for (i = 0; i < n; i++)
		if (entry[i] & (PM_PRESENT | PM_SWAP))
			mf_bits_set(bits, i, i + 1);
	return 0;
}

/* A page that was there could not be read: is it still there? */
static int unreadable(struct mf_mover *m, u64 src)
{
	u64 bits[8];
	int r = look(m, src, MF_PAGE_SIZE, bits);

	if (r)
		return r;
	return mf_bit(bits, 0) ? MF_UNREADABLE : MF_CHANGING;
}

static int read_run(struct mf_mover *m, u64 dst, u64 src, u64 len)
{
	u64 at = 0;
	long r;

	while (at < len) {
		r = mf_sys_pread(m->mem, (void *)(dst + at), len - at, src + at);
		if (r == 0)
			return MF_GONE;
		if (r == -EIO || r == -EFAULT)
			return unreadable(m, mf_align_down(src + at, MF_PAGE_SIZE));
		if (r < 0)
			return (int)r;
		at += (u64)r;
	}
	return 0;
}

static int read_present(struct mf_mover *m, u64 dst, u64 src, u64 n, const u64 *bits)
{
	u64 from, to;
	int r;

	for (from = 0; from < n; from = to) {
		for (to = from; to < n && mf_bit(bits, to) == mf_bit(bits, from); to++)
			;
		if (!mf_bit(bits, from))
			continue;
		r = read_run(m, dst + from * MF_PAGE_SIZE, src + from * MF_PAGE_SIZE,
			     (to - from) * MF_PAGE_SIZE);
		if (r)
			return r;
	}
	return 0;
}

static int drop(struct mf_mover *m, u64 src, u64 len)
{
	struct mf_ring_order order = { .op = MF_RING_DROP, .addr = src, .len = len };
	s64 result;
	int r = mf_ring_call(m->ring, &order, MF_DROP_TIMEOUT_NS, &result);

	if (r)
		return r;
	return result == 0 ? 0 : -EBUSY;
}

/*
 * The drop did not succeed, or its ferry died on the way. Each page has one owner, and
 * where it is tells who: what is gone from there is ours. Nobody can have filled it again
 * or written to it: what is there is protected, what is not is missing.
 */
static int settle(struct mf_mover *m, u64 src, u64 len, u64 bits[8])
{
	u64 left[8], taken = 0;
	int r, i;

	r = look(m, src, len, left);
	if (r)
		return r;
	for (i = 0; i < MF_TAKE_PAGES / 64; i++) {
		bits[i] &= ~left[i];
		taken |= bits[i];
	}
	lift(m, src, len);
	return taken ? MF_PARTLY : MF_BUSY;
}

static void forget(u64 bits[8])
{
	int i;

	for (i = 0; i < MF_TAKE_PAGES / 64; i++)
		bits[i] = 0;
}

int mf_route_ferry_take(struct mf_mover *m, u64 dst, u64 src, u64 len, u64 ret_present[8])
{
	int r = protect(m, src, len);

	if (r)
		return r;
	r = look(m, src, len, ret_present);
	if (r == 0)
		r = read_present(m, dst, src, len / MF_PAGE_SIZE, ret_present);
	if (r) {
		lift(m, src, len);
		forget(ret_present);
		return r;
	}
	r = drop(m, src, len);
	if (r == 0)
		return MF_MOVED;
	if (r != -EINPROGRESS)
		r = settle(m, src, len, ret_present);
	if (r == MF_BUSY || r == MF_GONE)
		forget(ret_present);
	return r;
}
