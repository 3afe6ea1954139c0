/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A small log-linear histogram of nanoseconds (32 steps an octave: about 3 % error) that
 * can live in shared memory and be filled on the fault path. By hand, because a ferry
 * task may call no library.
 */
#ifndef MF_BASE_HIST_H
#define MF_BASE_HIST_H

#include "types.h"

#define MF_HIST_STEP_BITS 5
#define MF_HIST_STEPS (1u << MF_HIST_STEP_BITS)
#define MF_HIST_OCTAVES 32 /* up to 2^36 ns = 68 s */

struct mf_hist {
	u64 count;
	u64 max;
	u32 bucket[MF_HIST_OCTAVES * MF_HIST_STEPS];
};

static inline u32 mf_hist_index(u64 ns)
{
	u32 msb, shift, idx;

	if (ns < MF_HIST_STEPS)
		return (u32)ns;
	msb = 63 - (u32)__builtin_clzll(ns);
	shift = msb - MF_HIST_STEP_BITS;
	idx = ((shift + 1) << MF_HIST_STEP_BITS) + (u32)((ns >> shift) & (MF_HIST_STEPS - 1));
	return (u32)mf_min(idx, MF_HIST_OCTAVES * MF_HIST_STEPS - 1);
}

/* The middle of the bucket. */
static inline u64 mf_hist_value(u32 idx)
{
	u32 shift;

	if (idx < MF_HIST_STEPS)
		return idx;
	shift = (idx >> MF_HIST_STEP_BITS) - 1;
	return ((u64)(MF_HIST_STEPS + (idx & (MF_HIST_STEPS - 1))) << shift) +
	       ((u64)1 << shift) / 2;
}

/* One writer at a time; readers may look on. */
static inline void mf_hist_add(struct mf_hist *h, u64 ns)
{
	mf_add(&h->bucket[mf_hist_index(ns)], 1);
	if (ns > h->max)
		h->max = ns;
	mf_add(&h->count, 1);
}

/* @q in thousandths: 500 is the median. 0 if empty. */
static inline u64 mf_hist_quantile(const struct mf_hist *h, u32 q)
{
	u64 total = 0, seen = 0, want;
	u32 i;

	for (i = 0; i < MF_HIST_OCTAVES * MF_HIST_STEPS; i++)
		total += h->bucket[i];
	if (!total)
		return 0;
	want = (total * q + 999) / 1000;
	for (i = 0; i < MF_HIST_OCTAVES * MF_HIST_STEPS; i++) {
		seen += h->bucket[i];
		if (seen >= want && seen)
			return mf_min(mf_hist_value(i), h->max ? h->max : ~(u64)0);
	}
	return h->max;
}

#endif /* MF_BASE_HIST_H */
