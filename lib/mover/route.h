/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What each route offers to mover.c. Signatures and results as in mover.h. */
#ifndef MF_MOVER_ROUTE_H
#define MF_MOVER_ROUTE_H

#include "mover/mover.h"
#include "uffd/op.h"

#define MF_TAKE_PAGES 512

int mf_route_copy_give(struct mf_mover *m, u64 dst, u64 src, u64 len, unsigned int flags,
		       u64 *ret_done);
int mf_route_move_give(struct mf_mover *m, u64 dst, u64 src, u64 len, unsigned int flags,
		       u64 *ret_done);
/* @mode: MF_UFFDIO_MOVE_MODE_TAKE across spaces, 0 within one */
int mf_route_move_take(struct mf_mover *m, u64 dst, u64 src, u64 len, u64 mode,
		       u64 ret_present[8]);
int mf_route_ferry_take(struct mf_mover *m, u64 dst, u64 src, u64 len, u64 ret_present[8]);

static inline bool mf_bit(const u64 *bits, u64 i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

/* [from, to), bit by bit: at most 512 of them */
static inline void mf_bits_set(u64 *bits, u64 from, u64 to)
{
	for (; from < to; from++)
		bits[from / 64] |= (u64)1 << (from % 64);
}

#endif /* MF_MOVER_ROUTE_H */
