/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The regions in the successor: where they go and how they are prepared. */
#include <errno.h>
#include <linux/mman.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fail.h"
#include "base/sys.h"
#include "handover/limits.h"
#include "handover/successor.h"
#include "uffd/op.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

static int map_flags(const struct mf_msg_region *w)
{
	int flags = w->kind == MF_WIRE_SHARED_FD ? MAP_SHARED
						 : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

	if (w->kind == MF_WIRE_HUGETLB)
		flags |= MAP_HUGETLB | (__builtin_ctzll(w->page_size) << MAP_HUGE_SHIFT);
	return flags;
}

/*
 * Mapped without any right at first: it must not be touched before the source has
 * stopped writing. A wish for relocation still tries the old address first.
 */
static long map_at(const struct mf_incoming *in, bool relocate)
{
	const struct mf_msg_region *w = &in->w;
	void *want = (void *)w->addr;
	long p;

	p = mf_sys_mmap(want, w->len, PROT_NONE, map_flags(w) | MAP_FIXED_NOREPLACE, in->fd,
			w->fd_offset);
	/* before 4.17 the flag is only a hint */
	if (!mf_is_err(p) && p != (long)want) {
		mf_sys_munmap((void *)p, w->len);
		p = -EEXIST;
	}
	if (p == -EEXIST && relocate)
		p = mf_sys_mmap(NULL, w->len, PROT_NONE, map_flags(w), in->fd, w->fd_offset);
	return p;
}

static int explain(const struct mf_incoming *in, long err)
{
	const struct mf_msg_region *w = &in->w;

	if (err == -EEXIST)
		return mf_fail(
			-EEXIST,
			"region %s: its address %#llx (%llu MiB) is taken in this process; "
			"map it earlier, choose a less crowded address in the source, or "
			"declare it relocatable",
			w->name, (unsigned long long)w->addr,
			(unsigned long long)(w->len / MF_MIB));
	if (err == -ENOMEM)
		return mf_fail(-ENOMEM,
			       "region %s: no room for %llu MiB: see ulimit -v, "
			       "vm.max_map_count, vm.overcommit_memory%s",
			       w->name, (unsigned long long)(w->len / MF_MIB),
			       w->kind == MF_WIRE_HUGETLB ? " and vm.nr_hugepages" : "");
	return mf_fail((int)err, "region %s: mmap: %s", w->name, mf_errno_text((int)err));
}

/* Like the source's, as far as that matters; THP and locking are refused softly. */
static int advise(const struct mf_msg_region *w, u64 addr)
{
	void *p = (void *)addr;
	long r;

	if (w->flags & MF_WIRE_REGION_THP)
		mf_sys_madvise(p, w->len, MADV_HUGEPAGE);
	if (w->flags & MF_WIRE_REGION_NOTHP)
		mf_sys_madvise(p, w->len, MADV_NOHUGEPAGE);
	if (w->flags & MF_WIRE_REGION_DONTDUMP)
		mf_sys_madvise(p, w->len, MADV_DONTDUMP);
	if (!(w->flags & MF_WIRE_REGION_LOCKED))
		return 0;
	/* on fault: pages are locked as they arrive, and the source's holes stay holes */
	r = mf_sys_mlock2(p, w->len, MLOCK_ONFAULT);
	if (r)
		return mf_fail((int)r,
			       "region %s is locked in memory, which this process may "
			       "not do: raise RLIMIT_MEMLOCK (ulimit -l) to %llu KiB",
			       w->name, (unsigned long long)(w->len / MF_KIB));
	return 0;
}

/* A child of fork() would read zeros where nothing has arrived: it gets no such mapping. */
static int register_range(struct mf_successor *s, const struct mf_msg_region *w, u64 addr)
{
	long r = mf_op_register(s->uffd, addr, w->len, UFFDIO_REGISTER_MODE_MISSING, NULL);

	if (!r)
		r = mf_sys_madvise((void *)addr, w->len, MADV_DONTFORK);
	if (r)
		return mf_fail((int)r, "region %s: cannot register with userfaultfd: %s",
			       w->name, mf_errno_text((int)r));
	return 0;
}

int mf_suc_map(struct mf_successor *s, struct mf_incoming *in, unsigned int flags)
{
	bool relocate = (flags & MF_MAP_RELOCATE) && (in->w.flags & MF_WIRE_REGION_RELOCATABLE);
	long p;
	int r = 0;

	if (in->w.kind == MF_WIRE_HUGETLB)
		r = mf_huge_pages_fit(in->w.page_size);
	if (r)
		return mf_fail_in(r, "region %s", in->w.name);
	p = map_at(in, relocate);

	if (mf_is_err(p))
		return explain(in, p);
	if (mf_region_moves(&in->w)) {
		r = advise(&in->w, (u64)p);
		if (!r)
			r = register_range(s, &in->w, (u64)p);
	}
	if (r) {
		mf_sys_munmap((void *)p, in->w.len);
		return r;
	}
	in->addr = (u64)p;
	return 0;
}

int mf_suc_unlock(struct mf_successor *s)
{
	const struct mf_incoming *in;
	u32 i;
	long r;

	for (i = 0; i < s->n_regions; i++) {
		in = &s->region[i];
		r = mf_sys_mprotect((void *)in->addr, in->w.len, (int)in->w.prot);
		if (r)
			return mf_fail((int)r, "region %s: mprotect: %s", in->w.name,
				       mf_errno_text((int)r));
	}
	return 0;
}

void mf_suc_unmap_all(struct mf_successor *s)
{
	u32 i;

	for (i = 0; i < s->n_regions; i++) {
		struct mf_incoming *in = &s->region[i];

		if (!in->addr)
			continue;
		mf_sys_munmap((void *)in->addr, in->w.len);
		/* a thread that waits for a page of it finds that there is no such page */
		if (mf_region_moves(&in->w))
			mf_op_wake(s->uffd, in->addr, in->w.len);
		in->addr = 0;
	}
}
