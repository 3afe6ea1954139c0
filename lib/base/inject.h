/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fault injection: the Nth call of a kind fails with a chosen errno. Compiled in only
 * with -Dinject=true (tests); otherwise mf_inject() is the constant 0 and costs nothing.
 *
 * A test sets mf_inject_plan directly, or MF_INJECT="ioctl:7:ENOMEM" in the environment
 * of a program (kind:nth:errno, nth counted from 1; "kind:nth+:errno" for every call
 * from the nth on). The plan is plain memory, so ferry tasks of the process obey it too.
 */
#ifndef MF_BASE_INJECT_H
#define MF_BASE_INJECT_H

#include "types.h"

enum mf_inject_kind {
	MF_INJECT_NONE = 0,
	MF_INJECT_IOCTL,
	MF_INJECT_MMAP,
	MF_INJECT_READ,
	MF_INJECT_SEND,
	MF_INJECT_RECV,
	MF_INJECT_CLONE,
	MF_INJECT_MADVISE,
	MF_INJECT_POLL,
	MF_INJECT_FD, /* memfd_create, eventfd, socket, open, dup, pidfd_open */
	MF_INJECT_ALLOC,
	MF_INJECT_KINDS,
};

#ifdef MF_ENABLE_INJECT
struct mf_inject_plan {
	u32 kind;
	u32 nth;     /* 1 = the next call */
	u32 forever; /* fail from the nth on */
	s32 error;   /* positive errno */
	u32 seen;    /* calls of the kind so far */
	u32 fired;   /* how many were failed */
};

extern struct mf_inject_plan mf_inject_plan;

/* Reads MF_INJECT; 0, or -EINVAL if it cannot be understood. */
int mf_inject_from_env(void);

static inline long mf_inject(enum mf_inject_kind kind)
{
	struct mf_inject_plan *p = &mf_inject_plan;
	u32 n;

	if (likely(p->kind != (u32)kind))
		return 0;
	n = __atomic_add_fetch(&p->seen, 1, __ATOMIC_RELAXED);
	if (n != p->nth && !(p->forever && n > p->nth))
		return 0;
	__atomic_add_fetch(&p->fired, 1, __ATOMIC_RELAXED);
	return -(long)p->error;
}
#else
static inline long mf_inject(enum mf_inject_kind kind)
{
	(void)kind;
	return 0;
}
#endif

#endif /* MF_BASE_INJECT_H */
